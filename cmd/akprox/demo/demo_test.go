package demo

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

const callback = "http://wiki.localhost:9000/akprox/callback"

// stage is the issuer on a real listener, the outpost's Provider for it, and
// a browser that follows nothing.
type stage struct {
	*httptest.Server
	provider *oidc.Provider
	browser  *http.Client
}

func set(t *testing.T, path string) *stage {
	t.Helper()
	client := Client{ID: "akprox", Secret: "a secret:of/the demo", Redirects: []string{"http://wiki.localhost:9000/akprox/callback", "http://wiki.localhost:9000/after"}}
	server := httptest.NewUnstartedServer(nil)
	name := "http://" + server.Listener.Addr().String() + path
	h, err := NewIssuer(name, client, Users())
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = h
	server.Start()
	t.Cleanup(server.Close)
	p, err := oidc.New(oidc.Options{Name: "demo", Issuer: name, ClientID: client.ID, ClientSecret: client.Secret, Scopes: []string{"openid", "groups"}})
	if err != nil {
		t.Fatal(err)
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &stage{Server: server, provider: p, browser: &http.Client{CheckRedirect: stay, Timeout: 10 * time.Second}}
}

func ask() outpost.AuthQuery {
	return outpost.AuthQuery{RedirectURL: callback, State: "state+1", Nonce: "nonce", Verifier: oauth2.GenerateVerifier()}
}

// enter signs in on the page at u, by the form that the page holds, and
// answers where the browser is sent.
func (s *stage) enter(t *testing.T, u, username, password string) (*http.Response, url.Values) {
	t.Helper()
	resp, err := s.browser.Get(u)
	if err != nil {
		t.Fatal(err)
	}
	page := read(t, resp)
	_, page, found := strings.Cut(page, `id="user-`+username+`"`)
	if resp.StatusCode != http.StatusOK || !found {
		t.Fatalf("no sign-in page: %d", resp.StatusCode)
	}
	page, _, _ = strings.Cut(page, "</form>")
	action := regexp.MustCompile(`action="([^"]+)"`).FindStringSubmatch(page)[1]
	form := url.Values{}
	for _, m := range regexp.MustCompile(`name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		form.Set(m[1], strings.NewReplacer("&#43;", "+", "&amp;", "&").Replace(m[2]))
	}
	if password != "" {
		form.Set("password", password)
	}
	resp, err = s.browser.PostForm(action, form)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	to, _ := resp.Location()
	if to == nil {
		return resp, nil
	}
	return resp, to.Query()
}

func (s *stage) code(t *testing.T, q outpost.AuthQuery, username string) string {
	t.Helper()
	u, err := s.provider.AuthURL(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	resp, v := s.enter(t, u, username, "")
	if resp.StatusCode != http.StatusSeeOther || v.Get("state") != q.State || v.Get("iss") != s.provider.IssuerURL() ||
		!strings.HasPrefix(resp.Header.Get("Location"), callback+"?") {
		t.Fatalf("got %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	return v.Get("code")
}

func TestAPersonSignsInByAkproxsOwnProvider(t *testing.T) {
	for _, path := range []string{"", "/", "/id", "/id/"} {
		t.Run("issuer at "+path, func(t *testing.T) {
			s := set(t, path)
			q := ask()
			grant, err := s.provider.Exchange(context.Background(), q, s.code(t, q, "alice"))
			if err != nil {
				t.Fatal(err)
			}
			id := grant.Identity
			if id.Username != "alice" || id.Name != "Alice Adams" || id.Email != "alice@example.com" || !reflect.DeepEqual(id.Groups, []string{"admin", "staff"}) {
				t.Errorf("got %+v", id)
			}
			end, err := s.provider.EndSessionURL(context.Background(), id.IDToken, "http://wiki.localhost:9000/after")
			if err != nil {
				t.Fatal(err)
			}
			resp, err := s.browser.Get(end)
			if err != nil {
				t.Fatal(err)
			}
			if _ = read(t, resp); resp.Header.Get("Location") != "http://wiki.localhost:9000/after" {
				t.Errorf("sign-out led to %q", resp.Header.Get("Location"))
			}
		})
	}
}

func TestACodeIsForOneUseByWhoAskedForIt(t *testing.T) {
	s := set(t, "")
	tests := []struct {
		name  string
		spoil func(*outpost.AuthQuery)
	}{
		{"another verifier", func(q *outpost.AuthQuery) { q.Verifier = oauth2.GenerateVerifier() }},
		{"another redirect address", func(q *outpost.AuthQuery) { q.RedirectURL += "/x" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			q := ask()
			code := s.code(t, q, "bob")
			other := q
			tt.spoil(&other)
			for _, try := range []outpost.AuthQuery{other, q} { // a wrong try spends the code
				var refusal *oidc.ResponseError
				if _, err := s.provider.Exchange(context.Background(), try, code); !errors.As(err, &refusal) || refusal.Code != "invalid_grant" {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	t.Run("replayed", func(t *testing.T) {
		q := ask()
		code := s.code(t, q, "bob")
		if _, err := s.provider.Exchange(context.Background(), q, code); err != nil {
			t.Fatal(err)
		}
		if _, err := s.provider.Exchange(context.Background(), q, code); err == nil {
			t.Error("the code served twice")
		}
	})
	t.Run("another nonce", func(t *testing.T) {
		q := ask()
		code := s.code(t, q, "bob")
		q.Nonce = "another"
		if _, err := s.provider.Exchange(context.Background(), q, code); err == nil || !strings.Contains(err.Error(), "nonce") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("another client", func(t *testing.T) {
		wrong, err := oidc.New(oidc.Options{Issuer: s.URL, ClientID: "akprox", ClientSecret: "wrong"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wrong.Exchange(context.Background(), ask(), "x"); !errors.Is(err, outpost.ErrUnavailable) || !strings.Contains(err.Error(), "client_secret") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAWrongPasswordGetsThePageAgain(t *testing.T) {
	s := set(t, "")
	u, err := s.provider.AuthURL(context.Background(), ask())
	if err != nil {
		t.Fatal(err)
	}
	if resp, v := s.enter(t, u, "alice", "wrong"); resp.StatusCode != http.StatusUnauthorized || v != nil {
		t.Errorf("got %d %v", resp.StatusCode, v)
	}
}

func TestWhatTheAuthorizationEndpointRefuses(t *testing.T) {
	s := set(t, "")
	good, err := s.provider.AuthURL(context.Background(), ask())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, key, value string
		back             string // the error that is sent back; "" is a page
	}{
		{"another client", "client_id", "other", ""},
		{"another redirect host", "redirect_uri", "http://evil.example/akprox/callback", ""},
		{"another redirect port", "redirect_uri", "http://wiki.localhost:90001/akprox/callback", ""},
		{"a redirect host as a user", "redirect_uri", "http://wiki.localhost:9000@evil.example/akprox/callback", ""},
		{"a redirect path that begins alike", "redirect_uri", callback + "x", ""},
		{"a redirect path that climbs", "redirect_uri", callback + "/../../x", ""},
		{"a redirect script", "redirect_uri", "javascript:alert(1)", ""},
		{"a backslash", "redirect_uri", callback + `\..`, ""},
		{"no redirect", "redirect_uri", "", ""},
		{"a token at once", "response_type", "token", "unsupported_response_type"},
		{"no PKCE", "code_challenge", "", "invalid_request"},
		{"plain PKCE", "code_challenge_method", "plain", "invalid_request"},
		{"no openid", "scope", "email", "invalid_request"},
		{"no page wanted", "prompt", "none", "login_required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, _ := url.Parse(good)
			v := u.Query()
			v.Set(tt.key, tt.value)
			u.RawQuery = v.Encode()
			resp, err := s.browser.Get(u.String())
			if err != nil {
				t.Fatal(err)
			}
			_ = read(t, resp)
			to, _ := resp.Location()
			switch {
			case tt.back == "" && (resp.StatusCode != http.StatusBadRequest || to != nil):
				t.Errorf("got %d to %v", resp.StatusCode, to)
			case tt.back != "" && (to == nil || to.Query().Get("error") != tt.back || to.Query().Get("state") != "state+1"):
				t.Errorf("got %d to %v", resp.StatusCode, to)
			}
		})
	}
}

func TestTheOtherEndpointsRefuse(t *testing.T) {
	s := set(t, "")
	get := func(path string) *http.Response {
		resp, err := s.browser.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = read(t, resp)
		return resp
	}
	for path, want := range map[string]int{
		"/userinfo":    http.StatusUnauthorized,
		"/token":       http.StatusMethodNotAllowed,
		"/nothing":     http.StatusNotFound,
		"/end_session": http.StatusOK,
		"/end_session?post_logout_redirect_uri=http://evil.example/": http.StatusBadRequest,
	} {
		if got := get(path); got.StatusCode != want || got.Header.Get("Location") != "" {
			t.Errorf("%s: got %d, want %d", path, got.StatusCode, want)
		}
	}
	form := url.Values{"client_id": {"akprox"}, "client_secret": {"a secret:of/the demo"}, "grant_type": {"password"}}
	resp, err := s.browser.PostForm(s.URL+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, resp); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "unsupported_grant_type") {
		t.Errorf("got %d %s", resp.StatusCode, body)
	}
}

func TestAnIssuerThatCannotBeIsRefused(t *testing.T) {
	good := Client{ID: "a", Secret: "b", Redirects: []string{callback}}
	for name, try := range map[string]func() (http.Handler, error){
		"no address": func() (http.Handler, error) { return NewIssuer("nothing", good, Users()) },
		"a query":    func() (http.Handler, error) { return NewIssuer("http://x/?a", good, Users()) },
		"no secret": func() (http.Handler, error) {
			return NewIssuer("http://x", Client{ID: "a", Redirects: good.Redirects}, Users())
		},
		"no redirect": func() (http.Handler, error) { return NewIssuer("http://x", Client{ID: "a", Secret: "b"}, Users()) },
		"nobody":      func() (http.Handler, error) { return NewIssuer("http://x", good, nil) },
	} {
		if h, err := try(); err == nil || h != nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAShelfIsBoundedInNumberAndTime(t *testing.T) {
	clock := time.Now()
	s := newShelf[int](time.Minute, 2, func() time.Time { return clock })
	one, two := s.put(1), s.put(2)
	if one == "" || two == "" || one == two || s.put(3) != "" {
		t.Error("the shelf holds another number than two")
	}
	if v, ok := s.take(one); !ok || v != 1 {
		t.Error("what was put cannot be taken")
	}
	if _, ok := s.take(one); ok {
		t.Error("it was taken twice")
	}
	clock = clock.Add(61 * time.Second)
	if _, ok := s.get(two); ok {
		t.Error("it outlives its time")
	}
	if s.put(4) == "" || s.put(5) == "" {
		t.Error("what is over is not swept")
	}
}

func TestTheProgramShowsWhoIsThere(t *testing.T) {
	get := func(path string, header http.Header) (string, *httptest.ResponseRecorder) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header = header
		w := httptest.NewRecorder()
		Program("Wiki").ServeHTTP(w, r)
		return w.Body.String(), w
	}
	alice := http.Header{"X-Auth-Username": {"alice"}, "X-Auth-Groups": {"admin|staff"}, "X-Forwarded-Email": {"a@x.com"}}
	tests := []struct {
		name, path string
		header     http.Header
		want, not  []string
	}{
		{"somebody", "/", alice, []string{`<span id="username">alice</span>`, ">admin<", ">staff<", "a@x.com", `href="/akprox/sign_out"`, "Wiki", `href="/" aria-current="page"`}, []string{"Nobody"}},
		{"nobody", "/public", http.Header{}, []string{"Nobody is signed in", "public page"}, []string{"Sign out"}},
		{"an administrator", "/admin", alice, []string{"administrators&#39; page"}, nil},
		{"markup in a name", "/", http.Header{"X-Auth-Username": {"<script>"}, "X-Auth-Groups": {`"><b>`}}, []string{"&lt;script&gt;"}, []string{"<script>", "<b>"}},
		{"markup in the path", "/%3Cscript%3E", alice, []string{"&lt;script&gt;"}, []string{"<script>"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page, w := get(tt.path, tt.header)
			for _, s := range tt.want {
				if !strings.Contains(page, s) {
					t.Errorf("the page lacks %q", s)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(page, s) {
					t.Errorf("the page holds %q", s)
				}
			}
			if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("got %d, %v", w.Code, w.Header())
			}
			_, css, _ := strings.Cut(page, "<style>")
			css, _, _ = strings.Cut(css, "</style>")
			hash := sha256.Sum256([]byte(css))
			if want := fmt.Sprintf("'sha256-%s'", base64.StdEncoding.EncodeToString(hash[:])); !strings.Contains(w.Header().Get("Content-Security-Policy"), want) || len(css) < 500 {
				t.Error("the policy does not allow the page's own style")
			}
		})
	}
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
