package e2e_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/akprox/akprox/e2e/parts"
)

// authServer is the example of testdata/seed/auth-server.Caddyfile: akprox in
// the place of its auth server, a real Caddy and a small program.
type authServer struct {
	origin string // https://localhost:…
	token  string
	dir    string // Caddy's own
	akprox *parts.Process
}

const authServerDocument = `version: 1
server: { http: %q, https: "", metrics: "", compat: [auth-server] }
store: { kind: memory }
providers:
  - { name: service, kind: apikey, keys: [ { name: Service Account, hash: %q, groups: [service-account] } ] }
  - name: people
    kind: password
    throttle: { tries: 4, window: 2m, ban: 5m }
    users:
      - { username: "30000", name: John Smith, email: john@example.com, groups: [admin], password: %q }
      - { username: "30001", name: Mary Jones, email: mary@example.com, groups: [user], password: %q }
applications:
  - name: example
    mode: forward_single
    external_url: %s
    credentials: [service, people]
    headers: { preset: user-json }
    rules:
      - { paths: [/admin/**], groups: [admin] }
`

func newAuthServer(t *testing.T) *authServer {
	t.Helper()
	parts.Need(t)
	akproxPort, https := parts.Port(t), parts.Port(t)
	s := &authServer{origin: fmt.Sprintf("https://localhost:%d", https), dir: t.TempDir()}
	generated := strings.Fields(tell(t, "", "generate", "key"))
	hash := ""
	for _, word := range generated {
		switch {
		case strings.HasPrefix(word, "api-"):
			s.token = word
		case strings.HasPrefix(word, "sha256:"):
			hash = word
		}
	}
	john, mary := tell(t, "password1", "hash", "password"), tell(t, "password2", "hash", "password")
	address := fmt.Sprintf("127.0.0.1:%d", akproxPort)
	s.akprox = parts.Akprox(t, fmt.Sprintf(authServerDocument, address, hash, strings.TrimSpace(john), strings.TrimSpace(mary), s.origin), akproxPort, "")
	program := httptest.NewServer(exampleProgram())
	t.Cleanup(program.Close)
	_, programPort, _ := strings.Cut(strings.TrimPrefix(program.URL, "http://"), ":")
	s.caddy(t, https, seedFile(t, "auth-server.Caddyfile", "localhost:8001", fmt.Sprintf("localhost:%d", akproxPort), "localhost:8002", "localhost:"+programPort))
	return s
}

// caddy runs the seed's Caddyfile. Only ports are changed, and the two braces
// are closed that the seed's text has lost.
func (s *authServer) caddy(t *testing.T, https int, seed string) {
	t.Helper()
	seed = strings.Replace(seed, "X-Forwarded-Uri\n", "X-Forwarded-Uri\n    }\n", 1) + "}\n"
	file := filepath.Join(s.dir, "Caddyfile")
	text := fmt.Sprintf(`{
	admin off
	http_port %d
	https_port %d
	default_bind 127.0.0.1
	skip_install_trust
	storage file_system data
}
`, parts.Port(t), https) + seed
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	parts.Start(t, parts.Cmd{
		Name: "caddy", Path: parts.Path(t, parts.CaddyNew), Args: []string{"run", "--adapter", "caddyfile", "--config", file},
		Env: []string{"XDG_DATA_HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir}, Dir: s.dir, Port: https,
		Ready: func() error {
			_, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", https), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
			return err
		},
	})
}

// tell runs a verb of akprox.
func tell(t *testing.T, stdin string, words ...string) string {
	t.Helper()
	cmd := exec.Command(parts.AkproxPath(t), words...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("akprox %v: %v", words, err)
	}
	return string(out)
}

// exampleProgram is the guarded program: it says what it was told.
func exampleProgram() http.Handler {
	mux := http.NewServeMux()
	page := func(title string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<!doctype html><title>%s</title><h1>%s</h1><pre id=user>%s</pre><pre id=uri>%s</pre>",
				title, title, r.Header.Get("X-User"), strings.Join(r.Header["X-Forwarded-Uri"], "\n"))
		}
	}
	mux.HandleFunc("/{$}", page("Home"))
	mux.HandleFunc("/admin", page("Admin"))
	mux.HandleFunc("/test", page("Test Page"))
	mux.HandleFunc("/api-test", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"result": "ok", "title": "API Test Page"}`)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, "404: Not Found")
	})
	return mux
}

// client answers somebody new who believes Caddy's certificates.
func (s *authServer) client(t *testing.T) *person {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(s.dir, "data", "pki", "authorities", "local", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(root)
	c := parts.Client(t)
	c.Transport.(*parts.Watched).TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return &person{Client: c, t: t}
}

// curl is what curl sends of itself.
var curl = http.Header{"Accept": {"*/*"}, "User-Agent": {"curl/8.5.0"}}

// TestAuthServerCurl is the seed's curl lines, as they stand in it.
func TestAuthServerCurl(t *testing.T) {
	t.Parallel()
	s := newAuthServer(t)
	p := s.client(t)
	for _, line := range []struct {
		name, token, path string
		status            int
		body              string // its beginning
	}{
		{"E13 a good token", s.token, "/api-test", 200, `{"result": "ok", "title": "API Test Page"}`},
		{"E14 a bad token", "api-zzz", "/api-test", 401, "unauthorized"},
		{"E14 a bad token at the sign-in page", "api-zzz", "/auth/sign-in", 401, "unauthorized"},
		{"E15 an unknown page", s.token, "/zzz", 404, "404: Not Found"},
	} {
		r := p.send("GET", s.origin+line.path, with(curl, "Authorization", "Bearer "+line.token), nil)
		if r.status != line.status || !strings.HasPrefix(r.body, line.body) || r.header.Get("Location") != "" {
			t.Errorf("%s: %d %s", line.name, r.status, r.body)
		}
	}
	r := p.send("GET", s.origin+"/test?a=1,2&b=%2F", with(curl, "Authorization", "Bearer "+s.token, "X-User", `{"roles":["admin"]}`, "X-Forwarded-Uri", "/forged"), nil)
	if want := `<pre id=user>{"name":"","email":"","roles":["service-account"],"user_id":"Service Account"}</pre><pre id=uri>/test?a=1,2&b=%2F</pre>`; !strings.Contains(r.body, want) {
		t.Errorf("E3, E4, E18: %s", r.body)
	}
}

// TestAuthServerPerson is a person with a browser that runs no scripts.
func TestAuthServerPerson(t *testing.T) {
	t.Parallel()
	s := newAuthServer(t)
	p := s.client(t)
	r := p.get(s.origin + "/test?a=1&b=2")
	if want := s.origin + "/auth/sign-in?redirect=%2Ftest%3Fa%3D1%26b%3D2"; r.next() != want {
		t.Fatalf("E6: sent to %s, want %s", r.next(), want)
	}
	at := r.next()
	if r = p.get(at); r.status != 200 || !strings.Contains(r.body, `action="/auth/password-authenticate"`) || !strings.Contains(r.body, `name="email"`) {
		t.Fatalf("E7: %d %s", r.status, r.body)
	}
	form := url.Values{"email": {"John@Example.com"}, "password": {"password1"}}
	for _, m := range hiddenFields.FindAllStringSubmatch(r.body, -1) {
		form.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	r = p.send("POST", s.origin+"/auth/password-authenticate", with(navigation, "Content-Type", "application/x-www-form-urlencoded", "Origin", s.origin), []byte(form.Encode()))
	if r.status != 303 || r.next() != s.origin+"/test?a=1&b=2" {
		t.Fatalf("E8: %d %s %s", r.status, r.next(), r.body)
	}
	cookie := r.header.Get("Set-Cookie")
	for _, want := range []string{"Secure", "HttpOnly", "SameSite=Lax", "Path=/;"} {
		if !strings.Contains(cookie, want) || strings.Contains(cookie, "Domain") {
			t.Errorf("E8: cookie %s lacks %s", cookie, want)
		}
	}
	if r = p.get(r.next()); r.status != 200 || !strings.Contains(r.body, `"name":"John Smith","email":"john@example.com","roles":["admin"],"user_id":"30000"`) {
		t.Errorf("E3: %d %s", r.status, r.body)
	}
	if r = p.get(s.origin + "/admin"); r.status != 200 {
		t.Errorf("E11: %d", r.status)
	}
	r = p.send("POST", s.origin+"/auth/sign-out", with(navigation, "Origin", s.origin), nil)
	if r.status != 200 || !strings.Contains(r.body, "You are signed out") {
		t.Errorf("E12: %d %s", r.status, r.body)
	}
	if r = p.get(s.origin + "/test"); !strings.HasPrefix(r.next(), s.origin+"/auth/sign-in?") {
		t.Errorf("E12: afterwards %d %s", r.status, r.next())
	}
}

// TestAuthServerChromium shows every page of ours to a real browser, in light
// and dark and on a telephone. The screenshots stay as artefacts.
func TestAuthServerChromium(t *testing.T) {
	t.Parallel()
	s := newAuthServer(t)
	ctx, _ := parts.Browser(t, chromedp.Flag("ignore-certificate-errors", true))
	b := &tab{t, ctx}

	b.do(chromedp.Navigate(s.origin + "/test?a=1&b=2"))
	b.wantAt(s.origin + "/auth/sign-in?redirect=%2Ftest%3Fa%3D1%26b%3D2")
	if focus := b.evaluate(`document.activeElement.id`); focus != `"email"` {
		t.Errorf("one does not begin to type in the user name but in %s", focus)
	}
	b.shoot("sign-in-1-first")
	b.fill("mary@example.com", "wrong")
	b.do(chromedp.WaitReady(chromedp.CSS("[role=alert]")))
	b.shoot("sign-in-2-wrong")
	b.fill("", "password2")
	b.do(chromedp.WaitReady(chromedp.CSS("#user")))
	b.wantAt(s.origin + "/test?a=1&b=2")
	if text := b.text("#user"); !strings.Contains(text, "Mary Jones") {
		t.Errorf("E9: the program was told %s", text)
	}
	b.do(chromedp.Navigate(s.origin + "/auth/sign-in?redirect=/test"))
	b.wantAt(s.origin + "/test") // already signed in
	b.do(chromedp.Navigate(s.origin + "/admin"))
	b.shoot("sign-in-3-refused")
	b.do(chromedp.Click(chromedp.CSS("a.button")), chromedp.WaitReady(chromedp.CSS("h1")))
	b.wantAt(s.origin + "/auth/sign-out")
	b.shoot("sign-in-4-signed-out")

	// Signed out, and a form of the program is posted.
	b.do(chromedp.Navigate(s.origin + "/auth/sign-in"))
	b.evaluate(`(() => { const f = document.createElement("form"); f.method = "post"; f.action = "/test"; document.body.append(f); f.submit(); })()`)
	b.do(chromedp.WaitReady(chromedp.CSS("footer")))
	b.wantAt(s.origin + "/test")
	b.shoot("sign-in-5-sign-in-first")

	b.do(chromedp.Navigate(s.origin + "/auth/sign-in?redirect=/test"))
	for range 5 {
		b.fill("john@example.com", "guess")
	}
	b.do(chromedp.WaitReady(chromedp.CSS("footer")))
	b.shoot("sign-in-6-throttled")
	if text := b.text("main"); !strings.Contains(text, "minutes") {
		t.Errorf("the page does not say how long to wait: %s", text)
	}
}

// tab is a tab of a browser; each step has its own time.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	for i, step := range steps {
		ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
		err := chromedp.Do(ctx, step)
		cancel()
		if err != nil {
			b.t.Fatalf("step %d: %v", i+1, err)
		}
	}
}

func (b *tab) text(css string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(css)))
	if err != nil {
		b.t.Fatal(err)
	}
	return text
}

// evaluate answers JSON; "" when the page has gone while the script ran.
func (b *tab) evaluate(script string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[json.RawMessage](script))
	if err != nil {
		b.t.Log(err)
	}
	return string(value)
}

func (b *tab) wantAt(address string) {
	b.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		here, err := chromedp.Run(b.ctx, chromedp.Location())
		if err == nil && here == address {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("the browser is at %s, not %s (%v)", here, address, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fill types into the form and sends it; an empty name keeps what is there.
func (b *tab) fill(username, password string) {
	b.t.Helper()
	if username != "" {
		b.do(chromedp.SetValue(chromedp.CSS("#email"), username))
	}
	b.do(
		chromedp.SendKeys(chromedp.CSS("#password"), password),
	)
	b.evaluate(`document.documentElement.dataset.before = "1"`)
	b.do(chromedp.Click(chromedp.CSS("button[type=submit]")))
	eventuallyWithin(b.t, time.Minute, "the form leads nowhere", func() bool {
		return b.evaluate(`!document.documentElement.dataset.before && document.readyState === "complete"`) == "true"
	})
}

// shoot takes the page in light and dark, and as a telephone has it.
func (b *tab) shoot(name string) {
	b.t.Helper()
	for _, size := range []struct {
		suffix string
		w, h   int64
	}{{"", 1280, 800}, {"-390", 390, 844}, {"-360", 360, 640}} {
		b.do(chromedp.EmulateViewport(size.w, size.h))
		for _, scheme := range []string{"light", "dark"} {
			b.do(parts.ColorScheme(scheme))
			parts.Screenshot(b.t, b.ctx, name+"-"+scheme+size.suffix)
		}
	}
	b.do(chromedp.EmulateViewport(1280, 800), parts.ColorScheme("light"))
}

var hiddenFields = regexp.MustCompile(`type="hidden" name="([a-z_]+)" value="([^"]*)"`)
