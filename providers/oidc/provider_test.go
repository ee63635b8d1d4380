package oidc_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

func TestOptionsAreCheckedAtOnce(t *testing.T) {
	good := oidc.Options{Issuer: "https://id.example.com/realms/a", ClientID: "akprox"}
	tests := []struct {
		name   string
		change func(*oidc.Options)
		want   string // "" is good
	}{
		{"the least", func(*oidc.Options) {}, ""},
		{"a slash at the end of the issuer is kept", func(o *oidc.Options) { o.Issuer += "/" }, ""},
		{"no issuer", func(o *oidc.Options) { o.Issuer = "" }, "issuer: it is empty"},
		{"an issuer without a scheme", func(o *oidc.Options) { o.Issuer = "id.example.com" }, "does not begin with https://"},
		{"an issuer of another scheme", func(o *oidc.Options) { o.Issuer = "ldap://id.example.com" }, "does not begin with https://"},
		{"an issuer without a host", func(o *oidc.Options) { o.Issuer = "https:///x" }, "names no host"},
		{"an issuer with a query", func(o *oidc.Options) { o.Issuer += "?a=b" }, "query or a fragment"},
		{"an issuer with an empty query", func(o *oidc.Options) { o.Issuer += "?" }, "query or a fragment"},
		{"an issuer with an empty fragment", func(o *oidc.Options) { o.Issuer += "#" }, "query or a fragment"},
		{"an issuer with a password", func(o *oidc.Options) { o.Issuer = "https://u:hush@id.example.com" }, "leave them out"},
		{"an issuer that is no URL", func(o *oidc.Options) { o.Issuer = "https://u:hush@%zz" }, "no URL"},
		{"a bad backchannel", func(o *oidc.Options) { o.BackchannelURL = "id:5556" }, "backchannel_url: "},
		{"no client", func(o *oidc.Options) { o.ClientID = "" }, "client_id: "},
		{"no openid", func(o *oidc.Options) { o.Scopes = []string{"email"} }, "scopes: openid"},
		{"two scopes in one", func(o *oidc.Options) { o.Scopes = []string{"openid", "profile email"} }, "one scope for each"},
		{"an endless timeout", func(o *oidc.Options) { o.Timeout = time.Hour }, "timeout: "},
		{"a timeout before the beginning", func(o *oidc.Options) { o.Timeout = -1 }, "timeout: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := good
			tt.change(&o)
			p, err := oidc.New(o)
			if tt.want == "" {
				if err != nil || p.IssuerURL() != o.Issuer {
					t.Errorf("got %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
	_, err := oidc.New(oidc.Options{Scopes: []string{"a b"}})
	if got := len(strings.Split(err.Error(), "\n")); got != 4 {
		t.Errorf("got %d problems, want all 4: %v", got, err)
	}
}

func TestTheBrowserIsSentWithEverythingThatBindsTheSignIn(t *testing.T) {
	i := newIssuer(t)
	i.document = func(d object) { d["authorization_endpoint"] = i.URL + "/authorize?tenant=a" }
	q := query()
	q.Prompt = "login"
	u, err := i.provider(t).AuthURL(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	v := i.visit(t, u)
	for name, want := range map[string]string{
		"tenant": "a", "response_type": "code", "client_id": clientID, "redirect_uri": callbackURL, "scope": "openid groups",
		"state": q.State, "nonce": q.Nonce, "prompt": "login",
		"code_challenge_method": "S256", "code_challenge": oauth2.S256ChallengeFromVerifier(q.Verifier),
	} {
		if got := v.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if strings.Contains(u, q.Verifier) || strings.Contains(u, url.QueryEscape(clientSecret)) {
		t.Error("the URL holds a secret")
	}
}

func TestTheEndOfASession(t *testing.T) {
	ask := func(i *issuer, token, back string) url.Values {
		t.Helper()
		u, err := i.provider(t).EndSessionURL(context.Background(), token, back)
		if err != nil {
			t.Fatal(err)
		}
		if u == "" {
			return nil
		}
		if !strings.HasPrefix(u, i.URL+"/end?") {
			t.Errorf("got %s", u)
		}
		return i.visit(t, u)
	}
	i := newIssuer(t)
	v := ask(i, "an.id.token", "https://wiki.example.com/")
	for name, want := range map[string]string{
		"x": "1", "id_token_hint": "an.id.token", "client_id": clientID, "post_logout_redirect_uri": "https://wiki.example.com/",
	} {
		if got := v.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if v := ask(i, strings.Repeat("x", 7<<10), ""); v.Has("id_token_hint") || v.Has("post_logout_redirect_uri") {
		t.Errorf("a long hint or an empty target was sent: %d parameters", len(v))
	}
	i.document = func(d object) { delete(d, "end_session_endpoint") }
	if v := ask(i, "an.id.token", ""); v != nil {
		t.Errorf("got %v of an issuer without the endpoint", v)
	}
}

func TestADiscoveryDocumentThatCannotServeSaysWhy(t *testing.T) {
	set := func(name string, v any) func(*issuer) {
		return func(i *issuer) { i.document = func(d object) { d[name] = v } }
	}
	const path = "/.well-known/openid-configuration"
	tests := []struct {
		name string
		lie  func(*issuer)
		want string
	}{
		{"it names another issuer", set("issuer", "https://evil.example"), `it calls itself "https://evil.example"`},
		{"it names itself with a slash at the end", func(i *issuer) { i.document = func(d object) { d["issuer"] = i.URL + "/" } }, "the slash at the end counts; write issuer: http"},
		{"it names no issuer", set("issuer", ""), "names no issuer"},
		{"it is not there", at(path, 404, "text/html", "secret words"), "404 Not Found"},
		{"the issuer fails", at(path, 500, "text/html", "secret words"), "500 Internal Server Error"},
		{"it is a page", at(path, 200, "text/html", "<html>"), "not JSON"},
		{"it is a list", at(path, 200, "application/json", "[]"), "discovery"},
		{"it is huge", at(path, 200, "application/json", `"`+strings.Repeat("x", 2<<20)+`"`), "larger than 1024 KiB"},
		{"it is elsewhere", redirect(path, "https://new.example.com/x?code=secret words"), "to https://new.example.com/x, and redirects are not followed"},
		{"the issuer hangs", hang(path), "no answer in time"},
		{"it has no token endpoint", set("token_endpoint", ""), "token_endpoint is no http(s) URL"},
		{"its authorization endpoint is a script", set("authorization_endpoint", "javascript:alert(1)"), "authorization_endpoint is no http(s) URL"},
		{"its keys are a file", set("jwks_uri", "file:///etc/passwd"), "jwks_uri is no http(s) URL"},
		{"its end is relative", set("end_session_endpoint", "/end"), "end_session_endpoint is no http(s) URL"},
		{"its end is a number", set("end_session_endpoint", 7), "discovery document"},
		{"it signs with the client's secret only", set("id_token_signing_alg_values_supported", []string{"HS256", "none"}), "signs ID tokens only with HS256, none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			tt.lie(i)
			p := i.provider(t)
			_, err := authURL(p, query())
			if !errors.Is(err, outpost.ErrUnavailable) {
				t.Fatalf("got %v, want unavailable", err)
			}
			if ready := p.Ready(); ready == nil || ready.Error() != err.Error() {
				t.Errorf("ready: got %v, want %v", ready, err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), i.URL) || strings.Contains(err.Error(), "secret words") {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestAnHttpsIssuerMayNotAnnouncePlainHttp(t *testing.T) {
	i := newIssuer(t)
	secure := httptest.NewTLSServer(i)
	defer secure.Close()
	i.document = func(d object) {
		for name, v := range d {
			if s, ok := v.(string); ok {
				d[name] = strings.Replace(s, i.URL, secure.URL, 1)
			}
		}
		d["token_endpoint"] = i.URL + "/token"
	}
	roots := secure.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	p := i.provider(t, func(o *oidc.Options) { o.Issuer, o.RootCAs = secure.URL, roots })
	if _, err := authURL(p, query()); err == nil || !strings.Contains(err.Error(), "token_endpoint is plain http") {
		t.Errorf("got %v", err)
	}
	p = i.provider(t, func(o *oidc.Options) { o.Issuer, o.RootCAs, o.BackchannelURL = secure.URL, roots, i.URL })
	if _, err := authURL(p, query()); err != nil {
		t.Errorf("at the backchannel: %v", err)
	}
	p = i.provider(t, func(o *oidc.Options) { o.Issuer = secure.URL })
	if _, err := authURL(p, query()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: got %v", err)
	}
}

func TestABackchannelIsCalledAndBrowsersNeverSeeIt(t *testing.T) {
	const public = "https://id.example.invalid/realms/a"
	for _, announce := range []string{"the public address", "the Host that it was asked by"} {
		t.Run("the issuer announces "+announce, func(t *testing.T) {
			i := newIssuer(t)
			inside := httptest.NewServer(http.StripPrefix("/realms/a", i))
			defer inside.Close()
			from := public
			if announce != "the public address" {
				from = inside.URL + "/realms/a"
			}
			i.document = func(d object) {
				for name, v := range d {
					if s, ok := v.(string); ok {
						d[name] = strings.Replace(s, i.URL, from, 1)
					}
				}
				d["issuer"] = public
			}
			i.claims = func(c object) { c["iss"] = public; delete(c, "groups") }
			p := i.provider(t, func(o *oidc.Options) { o.Issuer, o.BackchannelURL = public, inside.URL })
			if _, err := i.signIn(t, p); err != nil {
				t.Fatal(err)
			}
			u, _ := p.AuthURL(context.Background(), query())
			end, _ := p.EndSessionURL(context.Background(), "", "")
			for _, got := range []string{u, end, p.JWKS()} {
				if !strings.HasPrefix(got, public+"/") {
					t.Errorf("got %s, want it under %s", got, public)
				}
			}
		})
	}
}

func TestABackchannelMayBeAReverseProxy(t *testing.T) {
	i := newIssuer(t)
	target, _ := url.Parse(i.URL)
	between := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	defer between.Close()
	if _, err := i.signIn(t, i.provider(t, func(o *oidc.Options) { o.BackchannelURL = between.URL })); err != nil {
		t.Error(err)
	}
}

func TestAnIssuerThatIsDownAtStartIsUnavailableUntilItIsUp(t *testing.T) {
	i := newIssuer(t)
	i.down.Store(true)
	changes := make(chan error, 10)
	p := i.provider(t, func(o *oidc.Options) { o.Changed = func(err error) { changes <- err } })
	if err := p.Ready(); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("before it was asked: got %v", err)
	}
	if p.JWKS() != "" {
		t.Error("the keys' address is known before discovery")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { p.Follow(ctx); close(ended) }()
	if err := <-changes; !errors.Is(err, outpost.ErrUnavailable) || p.Ready() == nil {
		t.Errorf("while it is down: got %v", err)
	}
	if _, err := p.EndSessionURL(ctx, "", ""); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("EndSessionURL while it is down: got %v", err)
	}
	i.down.Store(false)
	select {
	case err := <-changes:
		if err != nil || p.Ready() != nil || p.JWKS() != i.URL+"/keys" {
			t.Errorf("after it came up: got %v", err)
		}
	case <-time.After(10 * time.Second): // about 2 s on a machine that is not busy
		t.Error("it did not recover within 10 s")
	}
	cancel()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("Follow goes on after its context ended")
	}
}

func TestNobodyIsSentToAnIssuerThatDiedSince(t *testing.T) {
	i := newIssuer(t)
	clock := newClock()
	p := i.provider(t, func(o *oidc.Options) { o.Now = clock.now })
	ask := func() error {
		_, err := p.AuthURL(context.Background(), query())
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	i.down.Store(true)
	clock.add(4 * time.Second)
	if err := ask(); err != nil {
		t.Errorf("an answer of 4 s ago was not believed: %v", err)
	}
	clock.add(2 * time.Second)
	if err := ask(); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("an answer of 6 s ago was believed: %v", err)
	}
	asked := i.count("/.well-known/openid-configuration")
	i.down.Store(false)
	if err := ask(); err == nil || i.count("/.well-known/openid-configuration") != asked {
		t.Errorf("a failure of this moment was not believed: %v", err)
	}
	clock.add(time.Second)
	if err := ask(); err != nil || p.Ready() != nil {
		t.Errorf("it did not recover: %v", err)
	}
}

func TestAHundredPeopleAskOnce(t *testing.T) {
	i := newIssuer(t)
	release := make(chan struct{})
	i.instead["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) {
		<-release
		write(w, i.discovery())
	}
	p := i.provider(t, func(o *oidc.Options) { o.Timeout = 2 * time.Second })
	var people sync.WaitGroup
	for range 100 {
		people.Go(func() {
			if _, err := p.AuthURL(context.Background(), query()); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	people.Wait()
	if n := i.count("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestAPersonWaitsTwoSecondsAtMostAndTheProbeGoesOn(t *testing.T) {
	i := newIssuer(t)
	release := make(chan struct{})
	i.instead["/.well-known/openid-configuration"] = func(w http.ResponseWriter, _ *http.Request) {
		<-release
		write(w, i.discovery())
	}
	changes := make(chan error, 10)
	p := i.provider(t, func(o *oidc.Options) {
		o.Timeout = 30 * time.Second
		o.Changed = func(err error) { changes <- err }
	})
	began := time.Now()
	_, err := p.AuthURL(context.Background(), query())
	if took := time.Since(began); !errors.Is(err, outpost.ErrUnavailable) || took > 4*time.Second {
		t.Errorf("got %v after %s", err, took)
	}
	close(release)
	if err := <-changes; err != nil || p.Ready() != nil {
		t.Errorf("the slow answer was not taken: %v", err)
	}
}

// An issuer that was well at the last look and is slow now is one that people
// are sent to, until the look has failed.
func TestASlowIssuerIsNotGoneUntilItDoesNotAnswer(t *testing.T) {
	i := newIssuer(t)
	clock := newClock()
	p := i.provider(t, func(o *oidc.Options) { o.Now = clock.now; o.Timeout = 4 * time.Second })
	ask := func() error {
		_, err := p.AuthURL(context.Background(), query())
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	i.instead["/.well-known/openid-configuration"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	clock.add(time.Minute)
	if err := ask(); err != nil {
		t.Errorf("while it is slow: %v", err)
	}
	for end := time.Now().Add(30 * time.Second); p.Ready() == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is well although it does not answer")
		}
	}
	if err := ask(); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("once it did not answer: %v", err)
	}
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}
