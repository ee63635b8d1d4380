package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// hostileURIs are paths that servers read differently, and some that they do
// not. Which of them may reach the program follows from what it then sees.
var hostileURIs = []string{
	"/page", "/public/x", "/public", "/publicx", "/PUBLIC/x", "/page?x=/public/x", "/admin/x", "/admin/x?/public/", "/public/../admin/x", "/public/%2e%2e/admin/x",
	"/public/..%2fadmin/x", "/public/..%252fadmin/x", "/public/..%5cadmin/x", `/public/..\admin/x`, "/public/..;/admin/x", "/public;/../admin/x", "/public/x;/../../admin/x",
	"//admin/x", "//public/x", "/public//x", "/./admin/x", "/public/./x", "/page%23/../public/x", "/page/..;/public/x", "/page%3f/../public/x", "/public%3f/../admin/x",
	"/public/%00", "/public/%zz", "/public/%0d%0aX-Auth-Username:%20root", "/%70ublic/x", "/%61dmin/x", "/akproxfoo", "/akprox/../admin/x", "/akprox/start/..%2f..%2fadmin/x",
	"http://app.example.test/public/x", "*", "/public/x#/../../admin", "/public/caf%c3%a9", "/public/%ff", "/admin/%2e%2e/public/x",
}

// hostileLines are what clients themselves put into a request.
var hostileLines = [][]string{
	nil,
	{"X-Auth-Username: root", "X-Auth-Groups: ops", "X-Forwarded-User: root", "X-Forwarded-Email: root@example.test"},
	{"X_Auth_Username: root", "X-Auth_Groups: ops", "x_forwarded_user: root"},
	{"X.Auth.Username: root", "X-Auth.Groups: ops", "Remote-User: root", "Remote_User: root"},
	{"Connection: X-Forwarded-Host, X-Forwarded-Uri, X-Forwarded-Proto, X-Forwarded-Method, X-Original-URL, X-Auth-Username, Cookie"},
	{"X-Forwarded-Uri: /public/x", "X-Forwarded-Method: GET"},
	{"X-Original-URL: http://app.example.test/public/x", "X-Original-URI: /public/x", "X-Original-Method: GET"},
	{"X_Forwarded_Uri: /public/x", "X_Original_URL: http://app.example.test/public/x"},
	{"X-Forwarded-Host: other.example.test"},
	{"X-Forwarded-Proto: javascript"},
	{"X-Forwarded-Prefix: /public", "X-Forwarded-Port: 443"},
	{"X-Rewrite-URL: /public/x", "X-Original-Host: other.example.test"},
	{"X-Forwarded-For: 127.0.0.1, a"},
	{"X-HTTP-Method-Override: GET", "X-Forwarded-Uri: /public/x"},
	{"Cookie: " + strings.Repeat("akprox_x=1; ", 100)},
	{"User-Agent: kube-probe/1.32"},
	{"Transfer-Encoding: identity"},
	{"Expect: 100-continue"},
	{"Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
}

// TestHostileProxies puts the rows that a proxy takes part in through real
// ones, and through envoySite in Envoy's place: whatever reaches the program is
// for whoever asked, and tells it nobody but that person.
func TestHostileProxies(t *testing.T) {
	t.Parallel()
	everyFront(t, hostileMatrix)
}

// TestConnectionNamesNoIdentity: a Connection header takes the headers that it
// names away from the next hop. Who somebody is must not be among them: a
// program that is told nobody may take that for somebody else.
func TestConnectionNamesNoIdentity(t *testing.T) {
	t.Parallel()
	everyFront(t, func(t *testing.T, s *stage) {
		p := s.person(t)
		p.arrive(s.app+"/", "alice")
		c := p.cookies(s.app)[0]
		for _, lines := range [][]string{
			{"Connection: X-Auth-Username, X-Auth-Groups, X-Forwarded-User"},
			{"Connection: keep-alive, x-auth-username"},
			{"Connection: keep-alive", "Connection: X-Auth-Username"},
			{"Connection: Upgrade, X-Auth-Username", "Upgrade: other"},
		} {
			for _, uri := range []string{"/page", "/public/x"} {
				e, _ := s.hostile(t, "GET", uri, fmt.Sprintf("%s:%d", appHost, s.port), c.Name+"="+c.Value, lines)
				if e != nil && (e.Header.Get("X-Auth-Username") != "alice" || len(e.Header["X-Auth-Groups"]) != 1 || e.Header.Get("X-Forwarded-User") == "") {
					t.Errorf("%s with %q: the program was told %q, %q, %q", uri, lines, e.Header["X-Auth-Username"], e.Header["X-Auth-Groups"], e.Header["X-Forwarded-User"])
				}
			}
		}
	})
}

// everyFront runs a test behind each real proxy, behind what stands in Envoy's
// place (see envoySite), and in proxy mode.
func everyFront(t *testing.T, run func(t *testing.T, s *stage)) {
	for _, f := range []front{nginx, ingress, traefik, caddy, caddyKeeps, caddyDebian, haproxy, envoyHTTP, envoyGRPC, itself} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			mode := "forward_single"
			if f.start == nil {
				mode = "proxy"
			}
			run(t, newStage(t, f, mode, "dex"))
		})
	}
}

func hostileMatrix(t *testing.T, s *stage) {
	people := map[string]string{"": ""}
	for _, name := range []string{"alice", "bob"} {
		p := s.person(t)
		p.arrive(s.app+"/", name)
		people[name] = p.cookies(s.app)[0].Name + "=" + p.cookies(s.app)[0].Value
	}
	host := fmt.Sprintf("%s:%d", appHost, s.port)
	hosts := []string{host, strings.ToUpper(appHost) + host[len(appHost):], appHost + "." + host[len(appHost):], appHost, appHost + ":9", otherHost + host[len(appHost):], "x@" + host, "evil-" + host}
	n, reached := 0, 0
	for who, cookie := range people {
		try := func(method, uri, h string, lines ...string) {
			n++
			e, status := s.hostile(t, method, uri, h, cookie, lines)
			name := fmt.Sprintf("%q: %s %s at %s with %q", who, method, uri, h, lines)
			if e == nil {
				// For a host that it has no site for, Caddy answers an empty 200.
				if status >= 200 && status < 300 && h == host {
					t.Errorf("%s: %d, and not of the program", name, status)
				}
				return
			}
			reached++
			told := who
			if strings.HasPrefix(h, otherHost) || strings.Contains(strings.Join(lines, ""), "Cookie") {
				told = "" // another application's cookie, or one that its owner has taken away or hidden
			}
			judgeReached(t, name, who, told, *e)
		}
		for _, uri := range hostileURIs {
			for _, method := range []string{"GET", "POST"} {
				try(method, uri, host)
			}
		}
		for _, lines := range hostileLines {
			for _, uri := range []string{"/page", "/public/x", "/admin/x", "/public/..%2fadmin/x"} {
				try("GET", uri, host, lines...)
			}
		}
		for _, h := range hosts {
			for _, uri := range []string{"/page", "/public/x", "/admin/x"} {
				try("GET", uri, h)
			}
		}
	}
	t.Logf("%d requests, %d reached the program", n, reached)
	if told := fmt.Sprintf("| %d requests for each |", n); !strings.Contains(readFile(t, "../docs/security-tests.md"), told) {
		t.Errorf("docs/security-tests.md does not say: %s", told)
	}
	if reached < 30 {
		t.Error("the program was hardly reached: this shows nothing")
	}
}

// judgeReached holds what the program saw against who asked.
func judgeReached(t *testing.T, name, who, told string, e parts.Echoed) {
	t.Helper()
	seen := []string{e.Path, path.Clean(e.Path), lastReading(e.RequestURI)}
	for _, p := range seen {
		switch public := p == "/public" || strings.HasPrefix(p, "/public/"); {
		case who == "" && !public:
			t.Errorf("%s: the program was asked for %s (%s) by nobody", name, e.RequestURI, p)
		case who == "bob" && (p == "/admin" || strings.HasPrefix(p, "/admin/")):
			t.Errorf("%s: the program was asked for %s (%s)", name, e.RequestURI, p)
		}
	}
	for header, values := range e.Header {
		folded := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(header))
		for _, v := range values {
			if strings.Contains(v, "root") && strings.Contains(" x-auth-username x-auth-groups x-forwarded-user x-forwarded-email ", " "+folded+" ") {
				t.Errorf("%s: the program was told %s: %s", name, header, v)
			}
		}
	}
	if got := e.Header.Get("X-Auth-Username"); got != told && got != who {
		t.Errorf("%s: the program was told that %q asks", name, got)
	}
}

// lastReading is what a program that decodes twice and cleans makes of a URI.
func lastReading(uri string) string {
	p, _, _ := strings.Cut(uri, "?")
	for range 2 {
		if plain, err := url.PathUnescape(p); err == nil {
			p = plain
		}
	}
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
}

// hostile sends one request as it is written, over a connection of its own,
// and answers what the program saw, or nil.
func (s *stage) hostile(t *testing.T, method, uri, host, cookie string, lines []string) (*parts.Echoed, int) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port(s), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	raw := method + " " + uri + " HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n"
	if cookie != "" {
		raw += "Cookie: " + cookie + "\r\n"
	}
	for _, l := range lines {
		raw += l + "\r\n"
	}
	body := ""
	if method == http.MethodPost { // looks like another request, for whoever loses count
		body = "GET /admin/x HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
		raw += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if _, err := io.WriteString(conn, raw+"\r\n"+body); err != nil {
		return nil, 0
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(in, &http.Request{Method: method})
	}
	if err != nil {
		return nil, 0 // hung up on
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		t.Errorf("%s %s: switched protocols", method, uri)
	}
	text, _ := io.ReadAll(resp.Body)
	var e parts.Echoed
	if resp.StatusCode != http.StatusOK || json.Unmarshal(text, &e) != nil {
		return nil, resp.StatusCode
	}
	return &e, resp.StatusCode
}
