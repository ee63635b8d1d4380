package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/demo"
	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/config"
)

// world is the program as it runs, without its process: a document, the demo's
// issuer, a listener on loopback.
type world struct {
	*running
	t         testing.TB
	document  *config.Document
	url       string // of the outpost
	log       *lockedBuffer
	issuer    *switchable
	issuerURL string
}

// switchable is an issuer that can be turned off.
type switchable struct {
	mu   sync.Mutex
	h    http.Handler
	down bool
}

func (s *switchable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		panic(http.ErrAbortHandler)
	}
	s.h.ServeHTTP(w, r)
}

func (s *switchable) turn(down bool) { s.mu.Lock(); s.down = down; s.mu.Unlock() }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *lockedBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

const contractDocument = `
version: 1
server: { http: "127.0.0.1:0", https: "", metrics: "", nginx_original_url: true }
store: { kind: memory }
providers:
  - { name: company, kind: oidc, issuer: "ISSUER", client_id: akprox, client_secret: { value: the-client-secret }, scopes: [openid, profile, email, groups] }
applications:
  - name: wiki
    mode: forward_single
    external_url: http://wiki.example.test
    credentials: [company]
    rules:
      - { paths: [/health], allow: anyone }
      - { paths: [/admin/**], groups: [admin] }
      - { paths: [/old/**], allow: nobody }
  - name: everything
    mode: forward_domain
    external_url: http://auth.example.test
    cookie_domain: example.test
    credentials: [company]
  - name: legacy
    mode: proxy
    external_url: http://legacy.test
    upstream: UPSTREAM
    credentials: [company]
    rules:
      - { paths: [/public/**], allow: anyone }
`

// newWorld runs the contract's document, changed by edits: pairs of old and new.
func newWorld(t testing.TB, edits ...string) *world {
	t.Helper()
	return newWorldOf(t, contractDocument, start, edits...)
}

// newWorldOf runs document, changed by edits, as begin starts it.
func newWorldOf(t testing.TB, document string, begin func(context.Context, *logrus.Logger, *config.Document) (*running, error), edits ...string) *world {
	t.Helper()
	w := &world{t: t, log: &lockedBuffer{}, issuer: &switchable{}}
	issuer := httptest.NewServer(w.issuer)
	t.Cleanup(issuer.Close)
	h, err := demo.NewIssuer(issuer.URL, demo.Client{
		ID: "akprox", Secret: "the-client-secret",
		Redirects: []string{"http://wiki.example.test", "http://auth.example.test", "http://legacy.test"},
	}, append(demo.Users(), manyPeople()...))
	if err != nil {
		t.Fatal(err)
	}
	w.issuer.h, w.issuerURL = h, issuer.URL
	upstream := httptest.NewServer(demo.Program("legacy"))
	t.Cleanup(upstream.Close)
	text := strings.NewReplacer(append(edits, "ISSUER", issuer.URL, "UPSTREAM", upstream.URL)...).Replace(document)
	doc, problems := config.Parse([]byte(text), "akprox.yaml", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log, closeLog := telemetry.NewLogger(w.log)
	t.Cleanup(closeLog)
	w.document = doc
	if w.running, err = begin(t.Context(), log, doc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	server := httptest.NewServer(w.live)
	t.Cleanup(server.Close)
	w.url = server.URL
	w.waitIssuer(false)
	return w
}

// waitIssuer waits until the issuer is known to be down, or up.
func (w *world) waitIssuer(down bool) {
	w.t.Helper()
	for range 200 {
		if err := w.readiness(w.t.Context()).Issuers["company"]; (err != nil) == down {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	w.t.Fatal("the issuer's state did not become known")
}

// logs waits until the log, which is written behind the requests, has text n
// times.
func (w *world) logs(text string, n int) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); strings.Count(w.log.String(), text) < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("the log has %q %d times, not %d:\n%s", text, strings.Count(w.log.String(), text), n, w.log.String())
		}
	}
}

// browser is a client whose host names all lead to the outpost, or to the
// issuer by its port.
func (w *world) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	outpost := strings.TrimPrefix(w.url, "http://")
	return &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasSuffix(addr, ".test:80") {
				addr = outpost
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}},
	}
}

// do makes a request and answers it with its body read.
func (w *world) do(c *http.Client, method, url string, lines ...string) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Add(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		w.t.Fatal(err)
	}
	return resp, string(body)
}

var hidden = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

// signIn follows a sign-in that begins at start to its end, and answers where
// it ended.
func (w *world) signIn(c *http.Client, start, user string) string {
	w.t.Helper()
	next := start
	for range 10 {
		resp, body := w.do(c, "GET", next, "Accept: text/html")
		location := resp.Header.Get("Location")
		switch {
		case location != "" && !strings.Contains(location, "/akprox/") && !strings.Contains(location, "/authorize"):
			return location
		case location != "":
			next = location
		case resp.StatusCode == 200 && strings.Contains(body, `id="user-`+user+`"`):
			next = w.submit(c, next, body, user)
		default:
			w.t.Fatalf("%s: %d\n%s", next, resp.StatusCode, body)
		}
	}
	w.t.Fatal("the sign-in does not end")
	return ""
}

func (w *world) submit(c *http.Client, page, body, user string) string {
	w.t.Helper()
	_, form, _ := strings.Cut(body, `id="user-`+user+`"`)
	form, _, _ = strings.Cut(form, "</form>")
	values := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(form, -1) {
		values.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	page, _, _ = strings.Cut(page, "?")
	resp, err := c.PostForm(page, values)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Location")
}

// cookies answers what a browser sends to host, as a header line.
func cookies(c *http.Client, host string) string {
	var pairs []string
	for _, k := range c.Jar.Cookies(&url.URL{Scheme: "http", Host: host, Path: "/"}) {
		pairs = append(pairs, k.Name+"="+k.Value)
	}
	return "Cookie: " + strings.Join(pairs, "; ")
}

// traefik asks the outpost as Traefik does.
func (w *world) traefik(rawURL string, lines ...string) *http.Response {
	w.t.Helper()
	scheme, rest, _ := strings.Cut(rawURL, "://")
	host, path, _ := strings.Cut(rest, "/")
	resp, _ := w.do(w.browser(), "GET", w.url+"/akprox/auth/traefik", append([]string{
		"X-Forwarded-Proto: " + scheme, "X-Forwarded-Host: " + host, "X-Forwarded-Uri: /" + path, "X-Forwarded-Method: GET",
		"X-Forwarded-For: 198.51.100.7",
	}, lines...)...)
	return resp
}

func TestASignInServesItsApplicationAlone(t *testing.T) {
	w := newWorld(t)
	alice := w.browser()
	if end := w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/page?a=1&b=2", "alice"); end != "http://wiki.example.test/page?a=1&b=2" {
		t.Errorf("ended at %s", end)
	}
	resp := w.traefik("http://wiki.example.test/page", cookies(alice, "wiki.example.test"))
	if resp.StatusCode != 200 {
		t.Fatalf("signed in: %d", resp.StatusCode)
	}
	for name, want := range map[string]string{
		"X-Auth-Username": "alice", "X-Auth-Groups": "admin|staff", "X-Forwarded-Email": "alice@example.com",
		"X-Forwarded-Preferred-Username": "alice", "X-Forwarded-User": "alice", "Cache-Control": "no-store",
	} {
		if got := resp.Header[name]; len(got) != 1 || name != "X-Forwarded-User" && got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if resp := w.traefik("http://other.example.test/", cookies(alice, "other.example.test")); resp.StatusCode != 302 {
		t.Errorf("another host: %d", resp.StatusCode)
	}
}

func TestASignInAtDomainLevelServesEveryHost(t *testing.T) {
	w := newWorld(t)
	bob := w.browser()
	resp := w.traefik("http://a.example.test/x?y=z&q=1")
	start := resp.Header.Get("Location")
	if resp.StatusCode != 302 || !strings.HasPrefix(start, "http://auth.example.test/akprox/start?rd=") {
		t.Fatalf("%d %s", resp.StatusCode, start)
	}
	if end := w.signIn(bob, start, "bob"); end != "http://a.example.test/x?y=z&q=1" {
		t.Errorf("ended at %s", end)
	}
	for _, host := range []string{"a.example.test", "b.c.example.test", "example.test"} {
		if resp := w.traefik("http://"+host+"/", cookies(bob, host)); resp.StatusCode != 200 || resp.Header.Get("X-Auth-Username") != "bob" {
			t.Errorf("%s: %d", host, resp.StatusCode)
		}
	}
	if resp := w.traefik("http://wiki.example.test/", cookies(bob, "wiki.example.test")); resp.StatusCode != 302 {
		t.Errorf("an application of its own within the domain: %d", resp.StatusCode)
	}
	if resp := w.traefik("http://evil-example.test/", cookies(bob, "a.example.test")); resp.StatusCode != 404 {
		t.Errorf("a host that only ends like the domain: %d", resp.StatusCode)
	}
}

func TestEverySpellingOfEveryEndpoint(t *testing.T) {
	w := newWorld(t)
	c := w.browser()
	original := "X-Original-URL: http://wiki.example.test/page"
	forwarded := []string{"X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test", "X-Forwarded-Uri: /page", "Accept: text/html"}
	for _, prefix := range []string{"/akprox", "/outpost.goauthentik.io"} {
		for _, spelling := range []string{"/auth/nginx", "/auth?nginx", "/auth"} {
			resp, _ := w.do(c, "GET", w.url+prefix+spelling, original, "Accept: text/html")
			if want := "http://wiki.example.test" + prefix + "/start?rd="; resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("Location"), want) {
				t.Errorf("%s%s: %d %s", prefix, spelling, resp.StatusCode, resp.Header.Get("Location"))
			}
		}
		for _, spelling := range []string{"/auth/traefik", "/auth?traefik", "/auth/caddy", "/auth?caddy", "/auth/caddy?nginx", "/auth/traefik?caddy=1"} {
			if resp, _ := w.do(c, "GET", w.url+prefix+spelling, forwarded...); resp.StatusCode != 302 {
				t.Errorf("%s%s: %d", prefix, spelling, resp.StatusCode)
			}
		}
		if resp, _ := w.do(c, "GET", w.url+prefix+"/ping"); resp.StatusCode != 204 {
			t.Errorf("ping: %d", resp.StatusCode)
		}
	}
	for _, path := range []string{"/akproxfoo", "/akprox/../x", "/akprox", "/akprox/", "/akprox/nope", "/akprox/auth/nginx/x", "/akprox//start", "/AKPROX/ping", "/akprox/auth/nope"} {
		if resp, _ := w.do(c, "GET", w.url+path, append(forwarded, "Host: wiki.example.test")...); resp.StatusCode < 400 {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

func TestOurOwnPathsNeedNobody(t *testing.T) {
	w := newWorld(t)
	for uri, want := range map[string]int{
		"/akprox/start?rd=/": 200, "/akprox/callback?code=x": 200, "/akprox/sign_out": 200, "/akprox/static/akprox.css": 200,
		"/outpost.goauthentik.io/start": 200, "/akprox/ping": 200, "/akprox/userinfo": 200, "/akprox/backchannel_logout": 200,
		"/akprox/auth/nginx": 302, "/akproxfoo": 302, "/akprox/../x": 302, "/akprox/start/../../admin": 302, "/akprox/start/x": 302,
		"/akprox/static/../../admin": 302, "/akprox/%2e%2e/x": 302, "/AKPROX/start": 302,
	} {
		resp := w.traefik("http://wiki.example.test" + uri)
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", uri, resp.StatusCode, want)
		}
		if v, there := resp.Header["X-Auth-Username"]; want == 200 && (!there || v[0] != "") {
			t.Errorf("%s: identity %q", uri, v)
		}
	}
	if resp := w.traefik("http://nobody.test/akprox/start"); resp.StatusCode != 404 {
		t.Errorf("on a host that nobody guards: %d", resp.StatusCode)
	}
}

// nginx announces the client's body and does not send it: over a connection
// that is kept alive, a plain Go server would not answer.
func TestABodyThatNeverComesIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	for _, method := range []string{"POST", "PUT", "HEAD", "GET"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(conn, "%s /akprox/auth/nginx HTTP/1.1\r\nHost: x\r\nX-Original-URL: http://wiki.example.test/\r\nContent-Length: 6\r\n\r\n", method)
		resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		if resp.StatusCode != 401 || !resp.Close {
			t.Errorf("%s: %d, closed %v", method, resp.StatusCode, resp.Close)
		}
		_ = conn.Close()
	}
}

func TestAnIssuerThatIsDownIsUnavailableAndComesBack(t *testing.T) {
	w := newWorld(t)
	alice := w.browser()
	w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
	w.issuer.turn(true)
	w.waitIssuer(true)
	resp := w.traefik("http://wiki.example.test/")
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("a newcomer: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := w.do(w.browser(), "GET", w.url+"/akprox/auth/nginx", "X-Original-URL: http://wiki.example.test/"); resp.StatusCode != 403 || resp.Header.Get("X-Akprox-Status") != "503" {
		t.Errorf("a newcomer behind nginx: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := w.traefik("http://wiki.example.test/", cookies(alice, "wiki.example.test")); resp.StatusCode != 200 {
		t.Errorf("somebody signed in: %d", resp.StatusCode)
	}
	w.issuer.turn(false)
	w.waitIssuer(false)
	if resp := w.traefik("http://wiki.example.test/"); resp.StatusCode != 302 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

func TestProxyModeForwardsWhatMayPass(t *testing.T) {
	w := newWorld(t)
	c := w.browser()
	resp, _ := w.do(c, "GET", "http://legacy.test/page?a=1", "Accept: text/html")
	if resp.StatusCode != 302 {
		t.Fatalf("anonymous: %d", resp.StatusCode)
	}
	if end := w.signIn(c, resp.Header.Get("Location"), "bob"); end != "http://legacy.test/page?a=1" {
		t.Errorf("ended at %s", end)
	}
	if resp, body := w.do(c, "GET", "http://legacy.test/page", "X-Auth-Username: admin", "X_Auth_Username: admin"); resp.StatusCode != 200 || !strings.Contains(body, "bob") || strings.Contains(body, "<td>admin<") {
		t.Errorf("signed in: %d\n%s", resp.StatusCode, body)
	}
	if resp, body := w.do(w.browser(), "GET", "http://legacy.test/public/", "X-Auth-Username: admin"); resp.StatusCode != 200 || strings.Contains(body, "<td>admin<") {
		t.Errorf("public: %d\n%s", resp.StatusCode, body)
	}
	if resp, _ := w.do(c, "POST", "http://nobody.test/"); resp.StatusCode != 404 {
		t.Errorf("a host that nobody guards: %d", resp.StatusCode)
	}
	if resp, _ := w.do(c, "GET", "http://wiki.example.test/page"); resp.StatusCode != 404 {
		t.Errorf("a host that is guarded through another proxy: %d", resp.StatusCode)
	}
	if resp, body := w.do(w.browser(), "POST", "http://legacy.test/", "Accept: application/json"); resp.StatusCode != 401 || !strings.Contains(body, "no_session") {
		t.Errorf("a program: %d %s", resp.StatusCode, body)
	}
}

func TestTheDecisionLogHasExactlyItsKeys(t *testing.T) {
	w := newWorld(t)
	alice := w.browser()
	w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
	w.traefik("http://wiki.example.test/admin/x?secret=1", cookies(alice, "wiki.example.test"))
	w.traefik("http://nobody.test/\"quoted\"")
	w.logs(`"host":"nobody.test"`, 1)
	keys := []string{"application", "client", "dialect", "duration", "host", "identity", "level", "method", "msg", "outcome", "path", "reason", "rule", "time"}
	decisions := 0
	for line := range strings.Lines(w.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if entry["dialect"] == nil {
			continue
		}
		decisions++
		var got []string
		for k := range entry {
			got = append(got, k)
		}
		slices.Sort(got)
		if !slices.Equal(got, keys) {
			t.Errorf("got %v", got)
		}
	}
	if decisions < 2 || !strings.Contains(w.log.String(), `"outcome":"allow","rule":"rules[1]","reason":"allowed","identity":"alice","client":"198.51.100.7","method":"GET","host":"wiki.example.test","path":"/admin/x"`) {
		t.Errorf("%d decisions in\n%s", decisions, w.log.String())
	}
	if strings.Contains(w.log.String(), "secret=1") {
		t.Error("a query is logged")
	}
}

func TestABadDocumentLeavesTheOldOneServing(t *testing.T) {
	w := newWorld(t)
	w.reload(t.Context(), "akprox.yaml", []byte("version: 1\nnope: 2\n"), nil)
	if resp := w.traefik("http://wiki.example.test/health"); resp.StatusCode != 200 {
		t.Errorf("the old document: %d", resp.StatusCode)
	}
	w.logs("akprox.yaml:2: nope", 1)
	if err := w.readiness(t.Context()).Document; err == nil {
		t.Error("readyz does not tell")
	}
}

func TestAReloadTakesEffectAndKeepsSessions(t *testing.T) {
	w := newWorld(t)
	alice := w.browser()
	w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
	before := w.parties["company"]
	text := strings.Replace(strings.NewReplacer("ISSUER", w.issuerURL, "UPSTREAM", "http://127.0.0.1:1").Replace(contractDocument),
		"{ paths: [/old/**], allow: nobody }", "{ paths: [/page], allow: nobody }", 1)
	w.reload(t.Context(), "akprox.yaml", []byte(text), nil)
	if resp := w.traefik("http://wiki.example.test/page", cookies(alice, "wiki.example.test")); resp.StatusCode != 403 {
		t.Errorf("the new rule: %d", resp.StatusCode)
	}
	if resp := w.traefik("http://wiki.example.test/", cookies(alice, "wiki.example.test")); resp.StatusCode != 200 {
		t.Errorf("the session: %d", resp.StatusCode)
	}
	if w.parties["company"] != before {
		t.Error("a provider whose settings stay was opened again")
	}
}

// A document is served once its issuers had time to answer: the first who has
// to sign in is not told that nobody can.
func TestADocumentWaitsForANewIssuer(t *testing.T) {
	w := newWorld(t)
	issuer := httptest.NewServer(nil)
	t.Cleanup(issuer.Close)
	slow, err := demo.NewIssuer(issuer.URL, demo.Client{ID: "akprox", Secret: "s", Redirects: []string{"http://wiki.example.test"}}, demo.Users())
	if err != nil {
		t.Fatal(err)
	}
	issuer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		slow.ServeHTTP(w, r)
	})
	text := strings.NewReplacer("ISSUER", issuer.URL, "UPSTREAM", "http://127.0.0.1:1").Replace(contractDocument)
	w.reload(t.Context(), "akprox.yaml", []byte(text), nil)
	if resp := w.traefik("http://wiki.example.test/"); resp.StatusCode != 302 {
		t.Errorf("the first one: %d", resp.StatusCode)
	}
}

func TestTheFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "akprox.yaml")
	good := strings.NewReplacer("ISSUER", "http://127.0.0.1:1", "UPSTREAM", "http://127.0.0.1:1").Replace(contractDocument)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(good)
	out := &lockedBuffer{}
	log, closeLog := telemetry.NewLogger(out)
	done := make(chan error, 1)
	ctx, stop := contextWithCancel(t)
	go func() { done <- serve(ctx, log, path) }()
	await := func(text string, again func()) {
		t.Helper()
		for i := range 600 {
			if strings.Contains(out.String(), text) {
				return
			}
			if i%40 == 0 { // every 2 s, for a watch that did not stand yet
				again()
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Fatalf("the log lacks %q:\n%s", text, out.String())
	}
	await("serving", func() {})
	await("the new document is not served", func() { write(good + "nope: 1\n") })
	await("document loaded", func() { write(good + "log: { level: info, decisions: refused }\n") })
	stop()
	if err := <-done; err != nil {
		t.Errorf("ended with %v", err)
	}
	closeLog()
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}
