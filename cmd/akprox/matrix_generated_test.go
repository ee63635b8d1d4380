package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/dialect"
)

// matrixRules are what every application of the matrix asks.
const matrixRules = `
    rules:
      - { paths: [/health], allow: anyone }
      - { paths: [/public/**], methods: [GET], allow: anyone }
      - { paths: [/orders/**], methods: [DELETE], groups: [admin] }
      - { paths: [/admin/**], groups: [admin] }
      - { paths: [/internal/**], networks: ["10.0.0.0/8"], groups: [staff] }
      - { paths: [/old/**], allow: nobody }
`

// matrixKey is the API key of ci, whom the matrix's document knows.
const matrixKey = "a-key-of-the-matrix-with-many-bits-0123456789"

// matrixDocument has each mode once. Its promises stand in matrix_model_test.go.
var matrixDocument = `
version: 1
server: { http: "127.0.0.1:0", https: "", metrics: "", nginx_original_url: true }
store: { kind: memory }
providers:
  - { name: company, kind: oidc, issuer: "ISSUER", client_id: akprox, client_secret: { value: the-client-secret }, scopes: [openid, profile, email, groups] }
  - { name: services, kind: apikey, keys: [ { name: ci, hash: "` + hashOf(matrixKey) + `", groups: [robots] } ] }
applications:
  - name: wiki
    mode: forward_single
    external_url: http://wiki.example.test
    credentials: [company, services]` + matrixRules + `
  - name: everything
    mode: forward_domain
    external_url: http://auth.example.test
    cookie_domain: example.test
    credentials: [company, services]` + matrixRules + `
  - name: legacy
    mode: proxy
    external_url: http://legacy.test
    upstream: UPSTREAM
    credentials: [company, services]` + matrixRules

// asks is how each dialect puts a question: one line for a new one. answers
// says in whose manner it is answered.
var asks = map[string]struct {
	answers string
	raw     func(a asked, lines []string) string
}{
	"nginx": {"nginx", func(a asked, lines []string) string {
		return wire("GET /akprox/auth/nginx", "outpost", append(lines, "X-Original-URL: "+a.scheme+"://"+a.host+a.uri, optionalLine("X-Original-Method", a.method)))
	}},
	"traefik": {"forwarded", func(a asked, lines []string) string { return forwardedQuestion("traefik", a, lines) }},
	"caddy":   {"forwarded", func(a asked, lines []string) string { return forwardedQuestion("caddy", a, lines) }},
	"haproxy": {"forwarded", func(a asked, lines []string) string { return forwardedQuestion("haproxy", a, lines) }},
	"envoy": {"forwarded", func(a asked, lines []string) string {
		return wire(a.method+" /akprox/auth/envoy"+a.uri, a.host, append(lines, "X-Forwarded-Proto: "+a.scheme))
	}},
	"proxy": {"proxy", func(a asked, lines []string) string {
		return wire(a.method+" "+a.uri, a.host, append(lines, "X-Forwarded-Proto: "+a.scheme))
	}},
}

func forwardedQuestion(name string, a asked, lines []string) string {
	return wire("GET /akprox/auth/"+name, "outpost", append(lines, "X-Forwarded-Proto: "+a.scheme, "X-Forwarded-Host: "+a.host,
		"X-Forwarded-Uri: "+a.uri, optionalLine("X-Forwarded-Method", a.method)))
}

func optionalLine(name, value string) string {
	if value == "" {
		return ""
	}
	return name + ": " + value
}

// wire is a request as it goes over the wire.
func wire(target, host string, lines []string) string {
	var b strings.Builder
	b.WriteString(target + " HTTP/1.1\r\nHost: " + host + "\r\n")
	for _, l := range lines {
		if l != "" {
			b.WriteString(l + "\r\n")
		}
	}
	return b.String() + "\r\n"
}

// ownMethod reports whether a dialect judges the question's own method, which
// is then never missing.
func ownMethod(name string) bool { return name == "proxy" || name == "envoy" }

// requestKinds are what a client's request looks like.
var requestKinds = map[string][]string{
	"page":     {"Accept: text/html,*/*;q=0.8", "Sec-Fetch-Mode: navigate"},
	"old page": {"Accept: text/html"},
	"curl":     {"Accept: */*"},
	"bare":     nil,
	"fetch":    {"Accept: application/json", "Sec-Fetch-Mode: cors"},
	"image":    {"Accept: image/*,*/*;q=0.8", "Sec-Fetch-Mode: no-cors"},
	"xhr":      {"Accept: */*", "X-Requested-With: XMLHttpRequest"},
	"json":     {"Accept: application/json"},
	"socket":   {"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
}

// The dimensions. A missing method and so on are values like others.
var (
	matrixMethods = []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS", "PROPFIND", "get", ""}
	matrixSchemes = []string{"http", "HTTP", "javascript", "ftp", ""}
	matrixHosts   = []string{
		"wiki.example.test", "WIKI.Example.Test", "wiki.example.test.", "wiki.example.test:80", "WIKI.EXAMPLE.TEST.:80", "wiki.example.test:9999",
		"legacy.test", "LEGACY.test:80", "a.example.test", "example.test", "b.c.example.test:8080", "evil-example.test", "example.test.evil.test",
		"wiki.example.test@evil.test", "wiki_example.test", "..", "nobody.test", "wiki.example.test:x", "wiki.example.test,evil.test",
	}
	matrixURIs = []string{
		"/", "/page", "/page?x=/public", "/page?a=1&b=%2f", "/health", "/health/", "/healthz", "/Health", "/public", "/public/a/b", "/publicx",
		"/orders/1", "/admin", "/admin/x", "/ADMIN", "/internal/x", "/old/x", "/old", "/a%20b", "/%61dmin/x", "/caf%c3%a9", "/admin?x=/public",
		"/public/../admin", "/public/%2e%2e/admin", "/public/..%2fadmin", "/public/..%252fadmin", "/public/%2e%2e%5cadmin", `/public/..\admin`,
		"/public/..;/admin", "/public;x=1/a", "/admin;/x", "//admin", "//health", "/public//a", "/./admin", "/public/.", "/public/..", "/health/..;/page",
		"/page%23/health", "/health%3f/x", "/public/a%2fb", "/x/../health", "/x/../public/y", "/public/x%2f..%2fy", "/admin%2f..%2fhealth",
		"", "page", "@pub/x", "/a#b", "/%zz", "/%", "/a%00", "/a%2500", "/%ff", "/a%0d%0ab", "/public/%00", "http://wiki.example.test/health", "*",
		"/akprox/start?rd=/", "/akprox/callback", "/akprox/ping", "/akproxfoo", "/akprox/../x", "/akprox/start/../../admin", "/akprox/%73tart",
		"/outpost.goauthentik.io/sign_out", "/akprox/static/akprox.css", "/AKPROX/start", "/akprox/auth/nginx",
	}
	matrixClients = []string{"198.51.100.7", "10.1.2.3", "unknown"}
)

// inCookies finds each name and value of a cookie line.
var inCookies = regexp.MustCompile(`(akprox_[0-9a-z_]+)=([^;]+)`)

func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// matrixWorld is a world with its people signed in everywhere.
type matrixWorld struct {
	*world
	t           *testing.T
	conn        net.Conn
	in          *bufio.Reader
	credentials map[string]func(host string) []string
}

func newMatrixWorld(t *testing.T, edits ...string) *matrixWorld {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Auth-Username"] = r.Header["X-Auth-Username"]
		if n := len(r.Header["X-Auth-Username"]); n != 1 {
			w.Header().Set("X-Seen", fmt.Sprint(n, " lines of X-Auth-Username"))
		}
	}))
	t.Cleanup(upstream.Close)
	m := &matrixWorld{world: newWorldOf(t, matrixDocument, start, append(edits, "UPSTREAM", upstream.URL)...), t: t}
	alice, bob := m.everywhere("alice"), m.everywhere("bob")
	m.credentials = map[string]func(string) []string{
		"nobody": func(string) []string { return nil }, "alice": alice, "bob": bob,
		"key":        func(string) []string { return []string{"Authorization: Bearer " + matrixKey} },
		"key header": func(string) []string { return []string{"X-Api-Key: " + matrixKey} },
		"bad key":    func(string) []string { return []string{"Authorization: Bearer not-" + matrixKey} },
		"broken cookie": func(host string) []string {
			return []string{inCookies.ReplaceAllString(alice(host)[0], "$1=${2}_")}
		},
		"another's cookie": func(host string) []string { // alice's session of the proxy mode, under every other name
			if strings.HasPrefix(strings.ToLower(host), "legacy") {
				return nil
			}
			value := inCookies.FindStringSubmatch(alice("legacy.test")[0])[2]
			return []string{inCookies.ReplaceAllString(alice(host)[0], "$1="+value)}
		},
		"alice and a bad key": func(host string) []string { return append(alice(host), "X-Api-Key: nope") },
	}
	return m
}

// everywhere signs somebody in to all three applications, and answers the
// cookie line for a host.
func (m *matrixWorld) everywhere(user string) func(host string) []string {
	b := m.browser()
	for _, host := range []string{"wiki.example.test", "auth.example.test", "legacy.test"} {
		m.signIn(b, "http://"+host+"/akprox/start?rd=/", user)
	}
	lines := map[string]string{}
	for app, host := range map[string]string{"wiki": "wiki.example.test", "everything": "auth.example.test", "legacy": "legacy.test"} {
		lines[app] = cookies(b, host)
	}
	// The wiki's browser shows the domain's cookie as well: that is as it is.
	return func(host string) []string {
		host = strings.ToLower(host)
		switch {
		case strings.HasPrefix(host, "wiki"):
			return []string{lines["wiki"]}
		case strings.HasPrefix(host, "legacy"):
			return []string{lines["legacy"]}
		}
		return []string{lines["everything"]}
	}
}

// send puts one question over a connection that is kept as long as the
// outpost keeps it.
func (m *matrixWorld) send(method, raw string) *http.Response {
	m.t.Helper()
	for again := range 2 {
		if m.conn == nil {
			conn, err := net.Dial("tcp", strings.TrimPrefix(m.url, "http://"))
			if err != nil {
				m.t.Fatal(err)
			}
			m.conn, m.in = conn, bufio.NewReader(conn)
		}
		_ = m.conn.SetDeadline(time.Now().Add(30 * time.Second))
		_, err := io.WriteString(m.conn, raw)
		if err == nil {
			var resp *http.Response
			if resp, err = http.ReadResponse(m.in, &http.Request{Method: method}); err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				if resp.Close || err != nil {
					m.hangUp()
				}
				return resp
			}
		}
		m.hangUp()
		if again == 1 {
			m.t.Fatalf("%q: %v", raw, err)
		}
	}
	return nil
}

func (m *matrixWorld) hangUp() { _ = m.conn.Close(); m.conn = nil }

// ask puts a cell's question, with more lines of the client's own.
func (m *matrixWorld) ask(a asked, more ...string) *http.Response {
	return m.askWithout(a, "", more...)
}

// askWithout is ask without the dialect's first line that begins with drop.
func (m *matrixWorld) askWithout(a asked, drop string, more ...string) *http.Response {
	lines := append(slices.Clone(requestKinds[a.kind]), m.credentials[a.who](a.host)...)
	lines = append(lines, more...)
	lines = append(lines, "X-Forwarded-For: "+a.client)
	if a.forged {
		lines = append(lines, "X-Auth-Username: root")
	}
	method := "GET"
	if ownMethod(a.dialect) {
		method = a.method
	}
	raw := asks[a.dialect].raw(a, lines)
	if before, rest, found := strings.Cut(raw, "\r\n"+drop); drop != "" {
		if !found {
			m.t.Fatalf("no line %s in %q", drop, raw)
		}
		_, after, _ := strings.Cut(rest, "\r\n")
		raw = before + "\r\n" + after
	}
	return m.send(method, raw)
}

// TestTheMatrix holds the outpost against the model, over real connections.
func TestTheMatrix(t *testing.T) {
	m := newMatrixWorld(t)
	counts, wrong := map[string]int{}, 0
	for _, a := range cells(dialects(t)) {
		want := model(a)
		resp := m.ask(a)
		counts[a.dialect+" "+want.outcome]++
		if problem := disagreement(a, want, resp); problem != "" {
			if wrong++; wrong <= 20 {
				t.Errorf("%+v\n\twant %+v, got %d %v: %s", a, want, resp.StatusCode, resp.Header, problem)
			}
		}
	}
	total := 0
	for _, n := range counts {
		total += n
	}
	t.Logf("%d cases, %d wrong: %v", total, wrong, counts)
	if total < 5000 {
		t.Errorf("%d cases are too few", total)
	}
}

// dialects answers those that there are, proxy mode included; each needs its
// line in asks.
func dialects(t *testing.T) []string {
	t.Helper()
	names := []string{"proxy"}
	for _, d := range dialect.All() {
		if _, ok := asks[d.Name()]; !ok {
			t.Errorf("the dialect %s has no line in asks", d.Name())
			continue
		}
		names = append(names, d.Name())
	}
	return names
}

// disagreement answers what is wrong with a reply; "" when nothing is.
func disagreement(a asked, want expected, resp *http.Response) string {
	got := resp.StatusCode
	if want.outcome != "allow" {
		if got < 300 {
			return "PASSES"
		}
		if _, told := resp.Header["X-Auth-Username"]; told {
			return "tells an identity in a refusal"
		}
	}
	if want.outcome == "refused" || a.dialect == "proxy" && want.outcome == "bad_request" && got == 400 {
		return "" // net/http refuses some of them itself
	}
	status, also := statusFor(asks[a.dialect].answers, want)
	if got != status {
		return fmt.Sprintf("want the status %d", status)
	}
	if also != resp.Header.Get("X-Akprox-Status") {
		return "want X-Akprox-Status " + also
	}
	redirects := want.outcome == "sign_in" && want.navigation
	if (resp.Header.Get("Location") != "") != redirects {
		return fmt.Sprintf("want a redirect: %v", redirects)
	}
	if want.outcome == "unauthorized" && resp.Header.Get("Www-Authenticate") == "" {
		return "no challenge"
	}
	if seen := resp.Header.Get("X-Seen"); seen != "" {
		return seen
	}
	if values := resp.Header["X-Auth-Username"]; want.outcome == "allow" && (len(values) != 1 || values[0] != want.user) {
		return fmt.Sprintf("identity %q", values)
	}
	return ""
}

// statusFor is the contract's table of outcomes.
func statusFor(manner string, want expected) (status int, also string) {
	plain := map[string]int{"allow": 200, "sign_in": 401, "unauthorized": 401, "forbidden": 403, "bad_request": 400, "unknown_host": 404}[want.outcome]
	switch {
	case manner == "nginx" && (plain == 400 || plain == 404):
		return 403, fmt.Sprint(plain)
	case manner != "nginx" && want.outcome == "sign_in" && want.navigation:
		return 302, ""
	}
	return plain, ""
}

// cells generates the matrix: some planes of it in full, and a part of the
// rest that is the same each time.
func cells(names []string) []asked {
	random := rand.New(rand.NewPCG(1, 2))
	whos := []string{"nobody", "alice", "bob", "key", "key header", "bad key", "broken cookie", "another's cookie", "alice and a bad key"}
	kinds := []string{"page", "old page", "curl", "bare", "fetch", "image", "xhr", "json", "socket"}
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	var all []asked
	add := func(a asked) {
		if ownMethod(a.dialect) && (a.method == "" || a.method == "get") { // as net/http has it, or not at all
			a.method = "GET"
		}
		switch {
		case a.dialect == "proxy" && (strings.Contains(a.uri, "/akprox/") || strings.Contains(a.uri, "/outpost.goauthentik.io/")):
			return // answered by the endpoints themselves
		case a.dialect == "proxy" && a.kind == "socket", a.dialect == "nginx" && !strings.HasPrefix(a.uri, "/"):
			return // an upgrade is another test's; glued to the host, such a URI is another host
		case ownMethod(a.dialect) && (a.uri == "" || a.uri == "*"):
			return // no HTTP
		}
		all = append(all, a)
	}
	for _, name := range names {
		plain := asked{name, "GET", "http", "wiki.example.test", "/page", "198.51.100.7", "nobody", "page", false}
		if name == "proxy" {
			plain.host = "legacy.test"
		}
		for _, who := range whos {
			for _, uri := range matrixURIs {
				a := plain
				a.uri, a.who, a.client, a.forged = uri, who, pick(matrixClients), random.IntN(4) == 0
				add(a)
			}
			for _, host := range matrixHosts {
				a := plain
				a.host, a.who = host, who
				add(a)
			}
			for _, method := range matrixMethods {
				for _, kind := range kinds {
					a := plain
					a.method, a.kind, a.who, a.uri = method, kind, who, pick([]string{"/page", "/public/x", "/orders/1", "/health"})
					add(a)
				}
			}
		}
		for range 1200 {
			a := asked{name, pick(matrixMethods), "http", pick(matrixHosts), pick(matrixURIs), pick(matrixClients), pick(whos), pick(kinds), random.IntN(4) == 0}
			if random.IntN(10) == 0 {
				a.scheme = pick(matrixSchemes)
			}
			if random.IntN(2) == 0 {
				a.host = plain.host
			}
			add(a)
		}
	}
	return all
}
