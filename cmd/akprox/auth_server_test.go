package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/apikey"
	"github.com/akprox/akprox/providers/password"
)

// The capabilities of the example auth server for Caddy's forward_auth, by
// their numbers, over HTTP. e2e has them through a real Caddy.

const authServerDocument = `
version: 1
server: { http: "127.0.0.1:0", https: "", metrics: "", compat: [auth-server] }
store: { kind: memory }
providers:
  - { name: service, kind: apikey, keys: [ { name: Service Account, hash: "HASH", groups: [service-account] } ] }
  - name: people
    kind: password
    throttle: { tries: 5, window: 2m, ban: 5m }
    users:
      - { username: "30000", name: "John Smıth", email: john@example.com, groups: [admin], password: "JOHN" }
      - { username: "1", name: Mary Jones, email: mary@example.com, groups: [user], password: "MARY" }
      - { username: Service Account, groups: [service-account] }
applications:
  - name: example
    mode: forward_single
    external_url: https://localhost
    credentials: [service, people]
    headers: { preset: user-json }
    rules:
      - { paths: [/admin/**], groups: [admin] }
  - name: domain
    mode: forward_domain
    external_url: https://auth.example.test
    cookie_domain: example.test
    credentials: [people]
    headers: { preset: user-json }
`

// authServer is the program with compat: [auth-server].
type authServer struct {
	*world
	token string
}

func newAuthServer(t *testing.T, edits ...string) *authServer {
	t.Helper()
	token, hash, err := apikey.Generate()
	if err != nil {
		t.Fatal(err)
	}
	john, errJohn := password.Hash("password1")
	mary, errMary := password.Hash("password2")
	if errJohn != nil || errMary != nil {
		t.Fatal(errJohn, errMary)
	}
	text := strings.NewReplacer(append(edits, "HASH", hash, "JOHN", john, "MARY", mary)...).Replace(authServerDocument)
	doc, problems := config.Parse([]byte(text), "akprox.yaml", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := &world{t: t, log: &lockedBuffer{}}
	log, closeLog := telemetry.NewLogger(w.log)
	t.Cleanup(closeLog)
	if w.running, err = start(t.Context(), log, doc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	server := httptest.NewServer(w.live)
	t.Cleanup(server.Close)
	w.url = server.URL
	return &authServer{w, token}
}

// check asks as Caddy does about a URI of the example.
func (s *authServer) check(uri string, lines ...string) (*http.Response, string) {
	s.t.Helper()
	return s.do(s.browser(), "GET", s.url+"/auth/check", append([]string{
		"X-Forwarded-Proto: https", "X-Forwarded-Host: localhost", "X-Forwarded-Uri: " + uri, "X-Forwarded-Method: GET", "X-Forwarded-For: 198.51.100.7",
	}, lines...)...)
}

// page asks for one of our pages, as Caddy passes it on.
func (s *authServer) page(method, path, body string, lines ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Host = "localhost"
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header.Add(name, value)
	}
	resp, err := s.browser().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(text)
}

func credentials(email, password, redirect string) string {
	return url.Values{"email": {email}, "password": {password}, "redirect": {redirect}}.Encode()
}

// session signs somebody in as curl would, and answers the cookie line.
func (s *authServer) session(email, password string) string {
	s.t.Helper()
	resp, body := s.page("POST", "/auth/password-authenticate", credentials(email, password, "/test"))
	for _, c := range resp.Cookies() {
		if strings.HasPrefix(c.Name, "akprox_") && c.Path == "/" {
			return "Cookie: " + c.Name + "=" + c.Value
		}
	}
	s.t.Fatalf("no session for %s: %d %s", email, resp.StatusCode, body)
	return ""
}

func TestE1_TheCheckDecidesAlikeForEveryMethod(t *testing.T) {
	s := newAuthServer(t)
	cookie := s.session("john@example.com", "password1")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
		for _, row := range []struct {
			line string
			want int
		}{{cookie, 200}, {"Cookie: x=y", 302}} {
			resp, _ := s.do(s.browser(), method, s.url+"/auth/check", "X-Forwarded-Proto: https", "X-Forwarded-Host: localhost",
				"X-Forwarded-Uri: /test", "X-Forwarded-Method: GET", "Accept: text/html", row.line)
			if resp.StatusCode != row.want || resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d, want %d", method, resp.StatusCode, row.want)
			}
		}
	}
}

func TestE3_XUserTellsWhoItIs(t *testing.T) {
	s := newAuthServer(t)
	resp, _ := s.check("/test", s.session("john@example.com", "password1"))
	user := resp.Header.Get("X-User")
	if resp.StatusCode != 200 || user != `{"name":"John Sm\u0131th","email":"john@example.com","roles":["admin"],"user_id":"30000"}` {
		t.Errorf("%d %s", resp.StatusCode, user)
	}
	var keys map[string]any
	if err := json.Unmarshal([]byte(user), &keys); err != nil || len(keys) != 4 {
		t.Errorf("%v %v", keys, err)
	}
	if resp, _ := s.check("/test", s.session("john@example.com", "password1"), `X-User: {"roles":["admin"]}`); resp.StatusCode != 200 || resp.Header.Get("X-User") != user {
		t.Errorf("a forged one beside a session: %d %s", resp.StatusCode, resp.Header.Get("X-User"))
	}
	if resp, _ := s.check("/auth/sign-in", `X-User: {"roles":["admin"]}`); resp.StatusCode != 400 {
		t.Errorf("a forged one of nobody: %d", resp.StatusCode)
	}
}

func TestE4_E18_TheOriginalURIComesBackAsItWas(t *testing.T) {
	s := newAuthServer(t)
	for _, uri := range []string{"/test?x=1", "/a,b?c=d,e", "/%C3%A9"} {
		resp, _ := s.check(uri, "Authorization: Bearer "+s.token)
		if got := resp.Header["X-Forwarded-Uri"]; resp.StatusCode != 200 || !slices.Equal(got, []string{uri}) {
			t.Errorf("%s: %d %q", uri, resp.StatusCode, got)
		}
	}
}

func TestE5_ExactlyItsOwnPagesArePublic(t *testing.T) {
	s := newAuthServer(t)
	for uri, want := range map[string]int{
		"/auth/sign-in": 200, "/auth/sign-in?x=1": 200, "/auth/password-authenticate": 200, "/auth/sign-out": 200,
		"/auth/sign-inx": 302, "/auth/sign-in/": 302, "/auth/sign-in/../../admin": 302, "/auth/sign-in%2f..%2f..%2fadmin": 302,
		"/auth/sign-in;/admin": 302, "/auth//sign-in": 302, "/AUTH/sign-in": 302, "/auth/check": 302, "/auth": 302, "/auth/": 302, "/test?/auth/sign-in": 302,
	} {
		resp, _ := s.check(uri, "Accept: text/html")
		if user, there := resp.Header["X-User"]; resp.StatusCode != want || want == 200 && (!there || user[0] != "") {
			t.Errorf("%s: %d %q, want %d", uri, resp.StatusCode, user, want)
		}
	}
	plain := newAuthServer(t, "compat: [auth-server]", "compat: []")
	if resp, _ := plain.check("/test"); resp.StatusCode != 404 {
		t.Errorf("without compat there is a check: %d", resp.StatusCode)
	}
	if resp := plain.traefik("https://localhost/auth/sign-in"); resp.StatusCode != 302 {
		t.Errorf("without compat its pages are public: %d", resp.StatusCode)
	}
}

func TestE6_ABrowserIsSentToSignIn(t *testing.T) {
	s := newAuthServer(t)
	for uri, want := range map[string]string{
		"/test?a=1&b=2": "https://localhost/auth/sign-in?redirect=%2Ftest%3Fa%3D1%26b%3D2",
		"/":             "https://localhost/auth/sign-in?redirect=%2F",
		"/a,b":          "https://localhost/auth/sign-in?redirect=%2Fa%2Cb",
	} {
		resp, _ := s.check(uri, "Accept: text/html")
		if resp.StatusCode != 302 || resp.Header.Get("Location") != want || resp.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s", uri, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	resp, _ := s.do(s.browser(), "GET", s.url+"/auth/check", "X-Forwarded-Proto: https", "X-Forwarded-Host: git.example.test", "X-Forwarded-Uri: /x?y", "X-Forwarded-Method: GET")
	if want := "https://auth.example.test/auth/sign-in?redirect=https%3A%2F%2Fgit.example.test%2Fx%3Fy"; resp.Header.Get("Location") != want {
		t.Errorf("a member of a domain: %s", resp.Header.Get("Location"))
	}
	if resp, body := s.check("/test", "Accept: application/json"); resp.StatusCode != 401 || !strings.Contains(body, "no_session") {
		t.Errorf("a program: %d %s", resp.StatusCode, body)
	}
}

func TestE6_AFormThatIsPostedSignedOutIsNotLostWithoutAWord(t *testing.T) {
	s := newAuthServer(t)
	for _, lines := range [][]string{{"Accept: text/html"}, {"Sec-Fetch-Mode: navigate"}} {
		resp, body := s.do(s.browser(), "GET", s.url+"/auth/check", append([]string{
			"X-Forwarded-Proto: https", "X-Forwarded-Host: localhost", "X-Forwarded-Uri: /test", "X-Forwarded-Method: POST",
		}, lines...)...)
		if resp.StatusCode != 401 || !strings.Contains(body, "was not delivered") || !strings.Contains(body, `href="https://localhost/auth/sign-in?redirect=%2Ftest"`) ||
			strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Basic") {
			t.Errorf("%v: %d %v %s", lines, resp.StatusCode, resp.Header, body)
		}
	}
}

func TestE7_TheSignInPage(t *testing.T) {
	s := newAuthServer(t)
	resp, body := s.page("GET", "/auth/sign-in?reason=%3Cscript%3E&redirect=/test", "")
	if resp.StatusCode != 200 || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{`action="/auth/password-authenticate"`, `name="email"`, `name="password"`, `name="redirect" value="https://localhost/test"`, `name="token"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, not := range []string{"<script", "src=", "script&gt;", "http://", "//cdn"} {
		if strings.Contains(strings.ReplaceAll(body, "http://www.w3.org/2000/svg", ""), not) {
			t.Errorf("the page has %s", not)
		}
	}
}

func TestE8_APasswordMakesASession(t *testing.T) {
	s := newAuthServer(t)
	resp, _ := s.page("POST", "/auth/password-authenticate", credentials("john@example.com", "password1", "/test?a=1"))
	cookie := resp.Header.Get("Set-Cookie")
	if resp.StatusCode != 303 || resp.Header.Get("Location") != "https://localhost/test?a=1" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, want := range []string{"; Path=/;", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
		if !strings.Contains(cookie, want) || strings.Contains(cookie, "Domain") {
			t.Errorf("the cookie %s lacks %s", cookie, want)
		}
	}
	for _, redirect := range []string{"https://evil.example/", "//evil", `/\evil`, "https:evil", "javascript:alert(1)", "https://localhost@evil.example/", ""} {
		resp, _ := s.page("POST", "/auth/password-authenticate", credentials("john@example.com", "password1", redirect))
		if got := resp.Header.Get("Location"); resp.StatusCode != 303 || got != "https://localhost/" {
			t.Errorf("%q: %d %s", redirect, resp.StatusCode, got)
		}
	}
	if resp, _ := s.page("POST", "/auth/password-authenticate", credentials("john@example.com", "password1", "/"), "Origin: https://evil.example"); resp.StatusCode != 403 {
		t.Errorf("another site's form: %d", resp.StatusCode)
	}
}

func TestE9_TwoUsersWithRoles(t *testing.T) {
	s := newAuthServer(t)
	for email, role := range map[string]string{"john@example.com password1": "admin", "MARY@example.com password2": "user"} {
		name, password, _ := strings.Cut(email, " ")
		resp, _ := s.check("/test", s.session(name, password))
		if got := resp.Header.Get("X-User"); !strings.Contains(got, `"roles":["`+role+`"]`) {
			t.Errorf("%s: %s", email, got)
		}
	}
}

func TestE10_WhatIsWrongGetsOneAnswerInOneTime(t *testing.T) {
	s := newAuthServer(t, "tries: 5", "tries: 100")
	answer := func(email, password string) (string, time.Duration) {
		began := time.Now()
		resp, body := s.page("POST", "/auth/password-authenticate", credentials(email, password, "/"))
		took := time.Since(began)
		if resp.StatusCode != 401 || resp.Header.Get("Set-Cookie") != "" && !strings.HasPrefix(resp.Header.Get("Set-Cookie"), "akprox_form=") {
			t.Errorf("%s: %d %v", email, resp.StatusCode, resp.Header)
		}
		for _, m := range []string{email, resp.Header.Get("Set-Cookie")} {
			body = strings.ReplaceAll(body, m, "")
		}
		body = hidden.ReplaceAllString(body, "")
		_, body, _ = strings.Cut(body, "<h1>")
		body, _, _ = strings.Cut(body, "<footer>")
		return body, took
	}
	known, took := answer("john@example.com", "wrong")
	unknown, tookToo := answer("jim0@example.com", "wrong")
	if known != unknown {
		t.Errorf("%s\n%s", known, unknown)
	}
	for range 6 { // the least of seven: what else the machine does is no difference
		_, again := answer("john@example.com", "wrong")
		_, againToo := answer("jim0@example.com", "wrong")
		took, tookToo = min(took, again), min(tookToo, againToo)
	}
	if tookToo < took/4 || took < tookToo/4 {
		t.Errorf("a known user takes %v, an unknown one %v", took, tookToo)
	}
}

func TestE10_GuessingEnds(t *testing.T) {
	s := newAuthServer(t)
	for _, email := range []string{"john@example.com", "nobody@example.com"} {
		var resp *http.Response
		for i := range 7 {
			resp, _ = s.page("POST", "/auth/password-authenticate", credentials(email, fmt.Sprint("guess", i), "/"), "X-Forwarded-For: 203.0.113."+fmt.Sprint(i))
		}
		if after, _ := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode != 429 || after < 270 || after > 300 {
			t.Errorf("%s: %d %v", email, resp.StatusCode, resp.Header)
		}
	}
	if resp, _ := s.page("POST", "/auth/password-authenticate", credentials("john@example.com", "password1", "/"), "X-Forwarded-For: 203.0.113.99"); resp.StatusCode != 429 {
		t.Errorf("the right one meanwhile: %d", resp.StatusCode)
	}
	if resp, _ := s.page("POST", "/auth/password-authenticate", credentials("mary@example.com", "password2", "/"), "X-Forwarded-For: 203.0.113.99"); resp.StatusCode != 303 {
		t.Errorf("somebody else: %d", resp.StatusCode)
	}
}

func TestE11_AdminNeedsTheRole(t *testing.T) {
	s := newAuthServer(t)
	john, mary := s.session("john@example.com", "password1"), s.session("mary@example.com", "password2")
	for _, row := range []struct {
		line string
		want int
	}{{john, 200}, {mary, 403}, {"Accept: text/html", 302}, {"Authorization: Bearer " + s.token, 403}} {
		if resp, _ := s.check("/admin", row.line); resp.StatusCode != row.want {
			t.Errorf("%.20s: %d, want %d", row.line, resp.StatusCode, row.want)
		}
	}
	if _, body := s.check("/admin", mary, "Accept: text/html"); !strings.Contains(body, `href="https://localhost/auth/sign-out"`) || !strings.Contains(body, "Mary Jones (1)") {
		t.Errorf("the refusal: %s", body)
	}
}

func TestE12_SignOut(t *testing.T) {
	s := newAuthServer(t)
	cookie := s.session("john@example.com", "password1")
	for _, lines := range [][]string{{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, {"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, nil} {
		resp, body := s.page("GET", "/auth/sign-out", "", append(lines, cookie)...)
		if resp.StatusCode != 200 || !strings.Contains(body, `action="/auth/sign-out"`) {
			t.Errorf("GET %v: %d", lines, resp.StatusCode)
		}
	}
	if resp, _ := s.page("POST", "/auth/sign-out", "", cookie, "Origin: https://evil.example"); resp.StatusCode != 403 {
		t.Errorf("another site: %d", resp.StatusCode)
	}
	if resp, _ := s.check("/test", cookie); resp.StatusCode != 200 {
		t.Fatalf("still signed in: %d", resp.StatusCode)
	}
	resp, body := s.page("POST", "/auth/sign-out", "", cookie)
	if resp.StatusCode != 200 || !strings.Contains(body, "You are signed out") || !strings.Contains(strings.Join(resp.Header["Set-Cookie"], "\n"), "Max-Age=0") {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	if resp, _ := s.check("/test", cookie); resp.StatusCode != 302 {
		t.Errorf("the old cookie: %d", resp.StatusCode)
	}
}

func TestE13_E17_ATokenIsTheServiceAccount(t *testing.T) {
	s := newAuthServer(t)
	resp, _ := s.check("/api-test", "Authorization: Bearer "+s.token)
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("X-User"), `"roles":["service-account"]`) {
		t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("X-User"))
	}
	for _, email := range []string{"", "Service Account", "service account"} {
		for _, password := range []string{"", "x", s.token} {
			if resp, _ := s.page("POST", "/auth/password-authenticate", credentials(email, password, "/")); resp.StatusCode != 401 && resp.StatusCode != 429 {
				t.Errorf("%q %q: %d", email, password, resp.StatusCode)
			}
		}
	}
}

func TestE14_ABadTokenIsNeverSentToSignIn(t *testing.T) {
	s := newAuthServer(t)
	for _, uri := range []string{"/api-test", "/test", "/auth/sign-in", "/auth/sign-out"} {
		for _, accept := range []string{"Accept: */*", "Accept: text/html", "Sec-Fetch-Mode: navigate"} {
			resp, body := s.check(uri, "Authorization: Bearer api-zzz", accept)
			if resp.StatusCode != 401 || resp.Header.Get("Location") != "" || !strings.Contains(resp.Header.Get("WWW-Authenticate"), `Bearer realm="example", error="invalid_token"`) {
				t.Errorf("%s, %s: %d %v", uri, accept, resp.StatusCode, resp.Header)
			}
			if accept == "Accept: */*" && !strings.HasPrefix(body, "unauthorized") {
				t.Errorf("curl is told %s", body)
			}
		}
	}
}

func TestE16_TheTokenIsKeptAsAHash(t *testing.T) {
	s := newAuthServer(t)
	if !strings.HasPrefix(s.token, "api-") || len(s.token) < len("api-")+26 {
		t.Errorf("token %s", s.token)
	}
	s.check("/api-test", "Authorization: Bearer "+s.token)
	s.logs(`"path":"/api-test"`, 1)
	if strings.Contains(s.log.String(), s.token) {
		t.Error("the token is logged")
	}
}

func TestE19_WhatIsMissingIsNoFaultOfOurs(t *testing.T) {
	s := newAuthServer(t)
	good := []string{"X-Forwarded-Proto: https", "X-Forwarded-Host: localhost", "X-Forwarded-Uri: /test", "Accept: text/html"}
	for i := range 3 {
		lines := slices.Delete(slices.Clone(good), i, i+1)
		if resp, _ := s.do(s.browser(), "GET", s.url+"/auth/check", lines...); resp.StatusCode != 400 {
			t.Errorf("without %s: %d", good[i], resp.StatusCode)
		}
	}
	for _, line := range []string{"Authorization: x", "Authorization: ", "Authorization: Bearer", "Authorization: Bearer ", "Cookie: Auth", "Cookie: akprox_00000000=%%%", "Authorization: Basic %%%"} {
		if resp, _ := s.do(s.browser(), "GET", s.url+"/auth/check", append(good, line)...); resp.StatusCode != 302 && resp.StatusCode != 401 {
			t.Errorf("%s: %d", line, resp.StatusCode)
		}
	}
	for _, body := range []string{"x", "email=john@example.com", "password=x", "%zz"} {
		if resp, _ := s.page("POST", "/auth/password-authenticate", body); resp.StatusCode != 400 && resp.StatusCode != 401 {
			t.Errorf("%s: %d", body, resp.StatusCode)
		}
	}
}

// A token of one kind is no credential of another: the example had one table
// for both.
func TestE13_CredentialsAreTyped(t *testing.T) {
	s := newAuthServer(t)
	_, session, _ := strings.Cut(s.session("john@example.com", "password1"), "=")
	for _, lines := range [][]string{{"Authorization: Bearer " + session}, {"Authorization: Basic " + s.token}, {"Authorization: Token " + s.token}, {"Cookie: Auth=" + s.token}} {
		if resp, _ := s.check("/test", append(lines, "Accept: text/html")...); resp.StatusCode < 300 {
			t.Errorf("%.30s: %d", lines[0], resp.StatusCode)
		}
	}
}

func TestAuthServerChangedPasswordEndsSessions(t *testing.T) {
	s := newAuthServer(t)
	cookie := s.session("mary@example.com", "password2")
	other, err := password.Hash("password3")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("HASH", apikey.Hash("api-x"), "JOHN", other, "MARY", other).Replace(authServerDocument)
	s.reload(t.Context(), "akprox.yaml", []byte(text), nil)
	if resp, _ := s.check("/test", cookie); resp.StatusCode != 302 {
		t.Errorf("%d", resp.StatusCode)
	}
	if resp, body := s.page("GET", "/auth/sign-in?redirect=/test", "", cookie); resp.StatusCode != 200 || !strings.Contains(body, `type="password"`) {
		t.Errorf("the page goes round in circles: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}
