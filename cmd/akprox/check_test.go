package main

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/akprox/akprox/cmd/akprox/check"
)

// agreement adds rules of every kind to the contract's document.
var agreement = []string{
	"      - { paths: [/old/**], allow: nobody }\n", `      - { paths: [/old/**], allow: nobody }
      - { paths: [/inside/**], networks: ["10.0.0.0/8", "2001:db8::/32"] }
      - { paths: [/inside/**], allow: nobody }
      - { paths: [/read/*/x, "/read/a*"], methods: [GET, HEAD], allow: anyone }
      - { paths: [/bob/**], users: [bob] }
      - { methods: [DELETE], groups: [admin, nobody] }
`,
	"    cookie_domain: example.test\n    credentials: [company]\n", `    cookie_domain: example.test
    credentials: [company]
    rules:
      - { hosts: [a.example.test, "*.dev.example.test"], paths: [/public/**], allow: anyone }
      - { hosts: [ops.example.test], groups: [admin] }
      - { paths: [/staff/**], groups: [staff] }
`,
}

// asker is somebody in the property test.
type asker struct {
	name, groups string
	cookies      map[string]string // by application
}

// TestCheckAgrees asks `akprox check` and the running server the same random
// questions. They have to answer alike.
func TestCheckAgrees(t *testing.T) {
	w := newWorld(t, agreement...)
	askers := []asker{{}, {name: "alice", groups: "admin,staff"}, {name: "bob", groups: "staff"}}
	for i := range askers[1:] {
		a := &askers[i+1]
		a.cookies = map[string]string{}
		for app, host := range map[string]string{"wiki": "wiki.example.test", "everything": "auth.example.test", "legacy": "legacy.test"} {
			c := w.browser()
			w.signIn(c, "http://"+host+"/akprox/start", a.name)
			a.cookies[app] = cookies(c, host)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := generator{rand.New(rand.NewPCG(seed, 0))} // #nosec G404 -- repeatable on purpose
	outcomes := map[string]int{}
	for range 600 {
		q := g.question()
		a := askers[g.IntN(len(askers))]
		q.User, q.Groups = a.name, a.groups
		v, err := decide(t.Context(), w.document, q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		outcomes[v.Outcome]++
		compare(t, w, q, a, v)
	}
	t.Log(outcomes)
	for _, outcome := range []string{"allow", "sign_in", "forbidden", "bad_request", "unknown_host"} {
		if outcomes[outcome] < 10 {
			t.Errorf("too few questions end in %s: %v", outcome, outcomes)
		}
	}
}

// compare asks the server q, as Traefik does for a's browser.
func compare(t *testing.T, w *world, q check.Question, a asker, v check.Verdict) {
	t.Helper()
	scheme, rest, _ := strings.Cut(q.URL, "://")
	at := strings.IndexByte(rest, '/')
	lines := []string{
		"X-Forwarded-Proto: " + scheme, "X-Forwarded-Host: " + rest[:at], "X-Forwarded-Uri: " + rest[at:], "X-Forwarded-Method: " + q.Method,
	}
	if q.IP != "" {
		lines = append(lines, "X-Forwarded-For: "+q.IP)
	}
	if cookie := a.cookies[v.Application]; cookie != "" {
		lines = append(lines, cookie)
	}
	resp, body := w.do(w.browser(), http.MethodGet, w.url+"/akprox/auth/traefik", lines...)
	navigation := q.Method == "" || strings.EqualFold(q.Method, "GET") || strings.EqualFold(q.Method, "HEAD")
	status := map[string]int{
		"allow": 200, "forbidden": 403, "unauthorized": 401, "bad_request": 400, "unknown_host": 404, "unavailable": 503, "sign_in": 401,
	}[v.Outcome]
	if v.Outcome == "sign_in" && navigation {
		status = http.StatusFound
	}
	if resp.StatusCode != status {
		t.Errorf("%+v as %q: check says %s (%s), the server %d: %.200s", q, a.name, v.Outcome, v.Reason, resp.StatusCode, body)
		return
	}
	if got := resp.Header.Get("Location"); status == http.StatusFound && got != v.Location {
		t.Errorf("%+v: check sends to %q, the server to %q", q, v.Location, got)
	}
	if v.Outcome != "allow" {
		return
	}
	for name := range v.Headers {
		got, ok := resp.Header[name]
		if !ok || (name == "X-Auth-Username" || name == "X-Auth-Groups") && got[0] != v.Headers[name] {
			t.Errorf("%+v: check tells %s: %q, the server %q", q, name, v.Headers[name], got)
		}
	}
}

// generator makes questions: mostly plain ones, with a share of every oddity.
type generator struct{ *rand.Rand }

func (g generator) of(common []string, odd ...string) string {
	if len(odd) > 0 && g.IntN(8) == 0 {
		return odd[g.IntN(len(odd))]
	}
	return common[g.IntN(len(common))]
}

func (g generator) question() check.Question {
	scheme := g.of([]string{"http", "http", "https"}, "HTTP", "ws", "wss", "javascript", "", "ftp")
	host := g.of(
		[]string{"wiki.example.test", "wiki.example.test", "a.example.test", "ops.example.test", "x.dev.example.test", "auth.example.test", "other.test"},
		"WIKI.Example.test", "wiki.example.test.", "wiki.example.test:80", "wiki.example.test:443", "wiki.example.test:8080", "a.example.test:1",
		"example.test", "evil-example.test", "legacy.test", "example.test.evil", "wiki_x.example.test", "a..example.test",
		"wiki.example.test@a.example.test", "[::1]", "[::1]:80", "1.2.3.4", "wiki.example.test:0", "wiki.example.test:x", "a b.example.test", "", "-")
	return check.Question{
		URL:    scheme + "://" + host + g.uri(),
		Method: g.of([]string{"GET", "GET", "GET", "POST", "DELETE", "HEAD"}, "get", "Post", "", "PURGE", "M-SEARCH", "G T", "GET/x", strings.Repeat("A", 40)),
		IP:     g.of([]string{"", "10.1.2.3", "192.0.2.1", "2001:db8::1"}, "::ffff:10.1.2.3", "127.0.0.1", "::1", "fe80::1"),
	}
}

func (g generator) uri() string {
	first := g.of([]string{"", "health", "admin", "old", "inside", "read", "bob", "public", "staff", "page", "akprox"},
		"Admin", "%61dmin", "admin%20", "heal%74h", "outpost.goauthentik.io", "é", "%C3%A9", "%ff", "%zz", "%", "%00", "%0a", "#", "%23", "a%3fb", "%252e%252e")
	uri := "/" + first
	for range g.IntN(3) {
		uri += g.of([]string{"/"}, "//", "%2f", "%2F", "%5c", "\\", "/./", "/../", "/%2e%2e/", "/..;/", ";x=1/", "/%252e%252e/", "%252f")
		uri += g.of([]string{"a", "x", "start", "callback", "ping", "users", "auth", ""}, "health", "admin", "public", "..", ".", "*", "**", "a b", "static", "~", "+", "%7e")
	}
	return uri + g.of([]string{"", "", "?a=1&b=2"}, "?", "?x=/health", "?a=%zz", "?a#b", "#/health", "?rd=http://evil.test/", "?a b")
}
