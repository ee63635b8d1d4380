package dialect

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
)

// ask makes a question from a trusted peer; lines are headers, "Name: value".
func ask(host string, lines ...string) *http.Request {
	r := httptest.NewRequest("GET", "http://"+host+"/", nil)
	r.RemoteAddr = "127.0.0.1:4711"
	r.Host = host
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// forwardedLines is what Traefik and Caddy send, with changes: "-Name" drops
// a header, "Name: v" replaces it, "+Name: v" adds a line.
func forwardedLines(changes ...string) []string {
	lines := []string{
		"X-Forwarded-Proto: https", "X-Forwarded-Host: wiki.example.com", "X-Forwarded-Uri: /a?b=c", "X-Forwarded-Method: GET",
		"X-Forwarded-For: 198.51.100.7",
	}
	for _, c := range changes {
		if line, ok := strings.CutPrefix(c, "+"); ok {
			lines = append(lines, line)
			continue
		}
		name, _, set := strings.Cut(strings.TrimPrefix(c, "-"), ": ")
		for i, l := range lines {
			if strings.HasPrefix(l, name+": ") {
				lines = append(lines[:i:i], lines[i+1:]...)
				break
			}
		}
		if set {
			lines = append(lines, c)
		}
	}
	return lines
}

func TestForwardedReads(t *testing.T) {
	for _, d := range []Dialect{forwarded{name: "traefik"}, forwarded{name: "caddy", caddy: true}, forwarded{name: "haproxy"}} {
		for _, row := range []struct {
			name    string
			changes []string
			reason  outpost.Reason // "" is read as https://wiki.example.com/a?b=c
		}{
			{"an honest question", nil, ""},
			{"CVE-2026-77560: upper case, port and dot", []string{"X-Forwarded-Host: WIKI.example.com.:443"}, ""},
			{"CVE-2026-35051: a forwarded prefix is not read", []string{"X-Forwarded-Prefix: /public"}, ""},
			{"CVE-2026-54764: a forwarded port is not read", []string{"X-Forwarded-Port: 444"}, ""},
			{"tinyauth #1089: another proxy's header is not read", []string{"X-Original-URL: https://pub.example.com/"}, ""},
			{"a missing method is not refused", []string{"-X-Forwarded-Method"}, ""},
			{"two lines of the URI", []string{"+X-Forwarded-Uri: /b"}, outpost.ReasonRepeatedHeader},
			{"two lines of the host", []string{"+X-Forwarded-Host: wiki.example.com"}, outpost.ReasonRepeatedHeader},
			{"CVE-2021-39206: two lines of the method", []string{"+X-Forwarded-Method: GET"}, outpost.ReasonRepeatedHeader},
			{"CVE-2026-39858: a twin of the scheme", []string{"+X_Forwarded_Proto: https"}, outpost.ReasonHeaderTwin},
			{"a dotted twin of the URI", []string{"+X.Forwarded.Uri: /b"}, outpost.ReasonHeaderTwin},
			{"a twin of the client", []string{"+X_Forwarded_For: 10.0.0.1"}, outpost.ReasonHeaderTwin},
			{"CVE-2024-45410: Connection stripped the host", []string{"-X-Forwarded-Host"}, outpost.ReasonMissingHeader},
			{"GHSA-92mv: Connection stripped the URI", []string{"-X-Forwarded-Uri"}, outpost.ReasonMissingHeader},
			{"the scheme is missing", []string{"-X-Forwarded-Proto"}, outpost.ReasonMissingHeader},
			{"GHSA-xg2q: an empty URI", []string{"X-Forwarded-Uri: "}, outpost.ReasonMissingHeader},
			{"a URI without its slash", []string{"X-Forwarded-Uri: @pub/x"}, outpost.ReasonBadURI},
			{"a whole URL for a URI", []string{"X-Forwarded-Uri: http://h/x"}, outpost.ReasonBadURI},
			{"a bad escape", []string{"X-Forwarded-Uri: /%zz"}, outpost.ReasonBadURI},
			{"a literal #", []string{"X-Forwarded-Uri: /foo#/bar"}, outpost.ReasonBadURI},
			{"user info before the host", []string{"X-Forwarded-Host: adm.example.com@wiki.example.com"}, outpost.ReasonBadHost},
			{"two hosts", []string{"X-Forwarded-Host: wiki.example.com, b"}, outpost.ReasonBadHost},
			{"a scheme of scripts", []string{"X-Forwarded-Proto: javascript"}, outpost.ReasonBadScheme},
			{"a method that is none", []string{"X-Forwarded-Method: GET, POST"}, outpost.ReasonBadMethod},
		} {
			t.Run(d.Name()+": "+row.name, func(t *testing.T) {
				req, err := d.Read(ask("outpost:9000", forwardedLines(row.changes...)...), edge("127.0.0.0/8"))
				if row.reason != "" {
					if err == nil || outpost.ReasonOf(err) != row.reason {
						t.Errorf("got %+v, %v; want %s", req, err, row.reason)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if req.Scheme != "https" || req.Host != "wiki.example.com" || req.Path.Raw() != "/a" || req.Query != "b=c" || req.Client.String() != "198.51.100.7" {
					t.Errorf("got %+v", req)
				}
			})
		}
	}
}

func TestNginxReads(t *testing.T) {
	original := "X-Original-URL: https://wiki.example.com/a?b=c"
	for _, row := range []struct {
		name   string
		trust  bool
		lines  []string
		want   string // host and raw path; "" with a reason
		reason outpost.Reason
	}{
		{"the printed snippet", true, []string{original, "X-Original-Method: POST"}, "POST wiki.example.com/a", ""},
		{"the seed's own configuration tells no path", false, nil, " host.example.com", ""},
		{"what nginx does not set is the client's own", false, []string{original, "X-Original-URI: /public", "X-Original-Method: GET"}, " host.example.com", ""},
		{"nothing told although it should be", true, nil, " host.example.com", ""},
		{"the URI beside the Host", true, []string{"X-Original-URI: /a?b"}, " host.example.com/a", ""},
		{"X-Forwarded-* is not this proxy's", true, []string{original, "X-Forwarded-Uri: /pub", "X-Forwarded-Host: pub"}, " wiki.example.com/a", ""},
		{"CVE-2021-32637: a NUL in the host", true, []string{"X-Original-URL: https://\x00host/x"}, "", outpost.ReasonBadHost},
		{"user info", true, []string{"X-Original-URL: https://a@wiki.example.com/x"}, "", outpost.ReasonBadHost},
		{"two lines", true, []string{original, original}, "", outpost.ReasonRepeatedHeader},
		{"a twin", true, []string{original, "X_Original_URL: https://x/"}, "", outpost.ReasonHeaderTwin},
		{"no URL", true, []string{"X-Original-URL: /a"}, "", outpost.ReasonBadURI},
		{"no http", true, []string{"X-Original-URL: javascript://wiki.example.com/"}, "", outpost.ReasonBadScheme},
		{"a fragment", true, []string{"X-Original-URL: https://wiki.example.com/a#b"}, "", outpost.ReasonBadURI},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := edge("127.0.0.0/8")
			e.NginxOriginalURL = row.trust
			req, err := nginx{}.Read(ask("HOST.example.com:80", row.lines...), e)
			if row.reason != "" {
				if err == nil || outpost.ReasonOf(err) != row.reason {
					t.Errorf("got %+v, %v; want %s", req, err, row.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := req.Method + " " + req.Host + req.Path.Raw(); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

// The template of ingress-nginx judges the Host header and serves the host of
// the request line; $host in auth-url tells the one from the other.
func TestNginxServesTheHostThatIsJudged(t *testing.T) {
	for _, row := range []struct{ url, query, reason string }{
		{"https://wiki.example.com/a", "", ""},
		{"https://wiki.example.com/a", "host=wiki.example.com", ""},
		{"http://Wiki.Example.com:8080/a", "host=wiki.example.com", ""},
		{"https://[2001:DB8::1]:444/a", "host=[2001:db8::1]", ""},
		{"https://wiki.example.com/a", "host=wiki.example.com:8443", ""},
		{"https://wiki.example.com/a", "nginx", ""},
		{"https://wiki.example.com/a", "nginx&host=wiki.example.com", ""},
		{"https://wiki.example.com/a", "host=admin.example.com", "bad_host"},
		{"https://wiki.example.com/a", "nginx&host=admin.example.com", "bad_host"},
		{"https://wiki.example.com/a", "host=wiki.example.com&host=admin.example.com", "bad_host"},
		{"https://wiki.example.com/a", "host=admin.example.com&host=wiki.example.com", "bad_host"},
		{"https://wiki.example.com/a", "host=example.com", "bad_host"},
		{"https://wiki.example.com/a", "host=", "bad_host"},
		{"https://wiki.example.com/a", "host=$host", "bad_host"}, // who does not know the variable does not set the URL either
		{"", "host=admin.example.com", ""},                       // judged by Host, which is the auth endpoint's
	} {
		e := edge("127.0.0.0/8")
		e.NginxOriginalURL = true
		r := ask("wiki.example.com")
		if row.url != "" {
			r = ask("wiki.example.com", "X-Original-URL: "+row.url)
		}
		r.URL.RawQuery = row.query
		_, err := nginx{}.Read(r, e)
		if got := outpost.ReasonOf(err); row.reason == "" && err != nil || row.reason != "" && (err == nil || string(got) != row.reason) {
			t.Errorf("%+v: %v", row, err)
		}
	}
}

func TestNobodyElseIsBelieved(t *testing.T) {
	for _, d := range All() {
		r := ask("wiki.example.com", append(forwardedLines(), "X-Original-URL: https://wiki.example.com/")...)
		r.RemoteAddr = "192.0.2.1:1"
		if req, err := d.Read(r, edge("127.0.0.0/8")); outpost.ReasonOf(err) != outpost.ReasonUntrustedPeer {
			t.Errorf("CVE-2026-40575, %s: %+v, %v", d.Name(), req, err)
		}
	}
}

func TestNavigation(t *testing.T) {
	for _, row := range []struct {
		name   string
		method string
		lines  []string
		want   bool
	}{
		{"a browser says so", "GET", []string{"Sec-Fetch-Mode: navigate"}, true},
		{"a script says so", "GET", []string{"Sec-Fetch-Mode: cors", "Accept: text/html"}, false},
		{"a form is posted", "POST", []string{"Sec-Fetch-Mode: navigate"}, false},
		{"curl", "GET", []string{"Accept: */*"}, true},
		{"nothing is said", "GET", nil, true},
		{"JSON is asked for", "GET", []string{"Accept: application/json"}, false},
		{"an old script", "GET", []string{"X-Requested-With: XMLHttpRequest", "Accept: text/html"}, false},
		{"a WebSocket", "GET", []string{"Upgrade: websocket"}, false},
		{"HEAD", "HEAD", nil, true},
		{"the method is not known", "", []string{"Accept: text/html"}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := ask("x", row.lines...).Header
			if got := navigation(row.method, strings.Join(h["Accept"], ","), h); got != row.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestWhoSeesThePage(t *testing.T) {
	for _, row := range []struct {
		name       string
		method     string
		lines      []string
		page, goes bool
	}{
		{"a browser goes to a page", "GET", []string{"Sec-Fetch-Mode: navigate"}, true, true},
		{"a browser posts a form", "POST", []string{"Sec-Fetch-Mode: navigate"}, true, false},
		{"an old browser posts a form", "POST", []string{"Accept: text/html,*/*;q=0.8"}, true, false},
		{"a script posts", "POST", []string{"Sec-Fetch-Mode: cors", "Accept: text/html"}, false, false},
		{"an old script posts", "POST", []string{"X-Requested-With: XMLHttpRequest", "Accept: text/html"}, false, false},
		{"curl reads lines", "GET", []string{"Accept: */*"}, false, true},
		{"curl posts", "POST", []string{"Accept: */*"}, false, false},
		{"a WebSocket", "GET", []string{"Upgrade: websocket", "Accept: text/html"}, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			req := &outpost.Request{Method: row.method}
			describe(req, ask("x", row.lines...).Header)
			if req.Page != row.page || req.Navigation != row.goes {
				t.Errorf("page %v, navigation %v", req.Page, req.Navigation)
			}
		})
	}
}

func TestAPostedFormIsToldThatItWasNotDelivered(t *testing.T) {
	w := httptest.NewRecorder()
	Caddy().Write(w, ask("x"), Answer{
		Decision: outpost.Decision{Outcome: outpost.SignIn, Reason: outpost.ReasonNoSession, Location: "https://wiki.example.com/akprox/start?rd=x"},
		Request:  &outpost.Request{Method: "POST", Page: true}, Prefix: "/akprox",
	})
	if w.Code != 401 || w.Header().Get("Location") != "" || !strings.Contains(w.Body.String(), "was not delivered") || !strings.Contains(w.Body.String(), `href="https://wiki.example.com/akprox/start?rd=x"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body.String())
	}
}

// TestTheOutcomeTable is the contract's table, section 3.
func TestTheOutcomeTable(t *testing.T) {
	page := &outpost.Request{Navigation: true}
	script := &outpost.Request{JSON: true}
	answer := func(o outpost.Outcome, req *outpost.Request) Answer {
		return Answer{
			Decision: outpost.Decision{
				Outcome: o, Reason: "group_missing", Location: "https://wiki.example.com/akprox/start?rd=x", Challenge: `Bearer realm="wiki"`,
				Retry: 1500 * time.Millisecond, Headers: []outpost.Header{{Name: "X-Auth-Username", Values: []string{""}}},
			},
			Request: req, Prefix: "/akprox", RequestID: "id-1",
		}
	}
	for _, row := range []struct {
		outcome       outpost.Outcome
		req           *outpost.Request
		nginx, others int
		status        string // X-Akprox-Status
		location      bool
	}{
		{outpost.Allow, page, 200, 200, "", false},
		{outpost.SignIn, page, 401, 302, "", true},
		{outpost.SignIn, script, 401, 401, "", false},
		{outpost.Unauthorized, page, 401, 401, "", false},
		{outpost.Forbidden, page, 403, 403, "", false},
		{outpost.RateLimited, page, 403, 429, "429", false},
		{outpost.Unavailable, page, 403, 503, "503", false},
		{outpost.Malformed, nil, 403, 400, "400", false},
		{outpost.UnknownHost, page, 403, 404, "404", false},
		{outpost.Outcome(77), page, 403, 403, "403", false},
	} {
		for _, d := range All() {
			t.Run(d.Name()+" "+row.outcome.String(), func(t *testing.T) {
				w := httptest.NewRecorder()
				d.Write(w, ask("x", forwardedLines()...), answer(row.outcome, row.req))
				h, want := w.Header(), row.others
				if d.Name() == "nginx" {
					want = row.nginx
					if got := h.Get("X-Akprox-Status"); got != row.status {
						t.Errorf("X-Akprox-Status %q, want %q", got, row.status)
					}
				}
				if w.Code != want {
					t.Errorf("status %d, want %d", w.Code, want)
				}
				if h.Get("Cache-Control") != "no-store" {
					t.Error("the answer may be stored")
				}
				if got := h.Get("Location") != ""; got != row.location {
					t.Errorf("Location %q", h.Get("Location"))
				}
				if _, there := h["X-Auth-Username"]; there != (row.outcome == outpost.Allow) {
					t.Errorf("identity headers: %v", there)
				}
				wantChallenge := row.outcome == outpost.Unauthorized
				if got := h.Get("WWW-Authenticate") != ""; got != wantChallenge && wantChallenge {
					t.Errorf("WWW-Authenticate %q", h.Get("WWW-Authenticate"))
				}
				retry := row.outcome == outpost.RateLimited || row.outcome == outpost.Unavailable
				if got := h.Get("Retry-After"); retry && got != "2" {
					t.Errorf("Retry-After %q", got)
				}
			})
		}
	}
}

func TestCaddyKeepsTheClientsChain(t *testing.T) {
	w := httptest.NewRecorder()
	forwarded{name: "caddy", caddy: true}.Write(w, ask("x", forwardedLines()...), Answer{Decision: outpost.Decision{Outcome: outpost.Allow}})
	if w.Header().Get("X-Forwarded-Uri") != "/a?b=c" || w.Header().Get("X-Forwarded-For") != "198.51.100.7" {
		t.Errorf("got %v", w.Header())
	}
}

func TestDirectReads(t *testing.T) {
	r := ask("WIKI.example.com:80", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Host: evil")
	r.RequestURI = "/a%2fb?c"
	req, err := Direct{}.Read(r, edge("127.0.0.0/8"))
	if err != nil || req.Host != "wiki.example.com" || req.Client.String() != "198.51.100.7" || req.Path.Raw() != "/a%2fb" {
		t.Errorf("got %+v, %v", req, err)
	}
	r.RemoteAddr = "192.0.2.9:1"
	if req, err = (Direct{}).Read(r, edge("127.0.0.0/8")); err != nil || req.Client.String() != "192.0.2.9" {
		t.Errorf("a stranger's X-Forwarded-For: %+v, %v", req, err)
	}
	r.RequestURI = "http://wiki.example.com/a"
	if _, err = (Direct{}).Read(r, edge()); outpost.ReasonOf(err) != outpost.ReasonBadURI {
		t.Errorf("an absolute form: %v", err)
	}
	w := httptest.NewRecorder()
	Direct{}.Write(w, r, Answer{Decision: outpost.Decision{Outcome: outpost.Allow}})
	if w.Code < 400 {
		t.Errorf("an Allow that nobody carries out is %d", w.Code)
	}
}

// FuzzRead holds, for every dialect, that what is read is canonical.
func FuzzRead(f *testing.F) {
	f.Add("https", "wiki.example.com", "/a?b", "GET", "https://wiki.example.com/a")
	f.Add("javascript", "a@b", "//x", "G T", "https://\x00/")
	e := edge("127.0.0.0/8")
	f.Fuzz(func(t *testing.T, proto, host, uri, method, url string) {
		r := ask("h.example.com")
		r.Host, r.RequestURI, r.Method = host, uri, method
		for name, v := range map[string]string{
			"X-Forwarded-Proto": proto, "X-Forwarded-Host": host, "X-Forwarded-Uri": uri, "X-Forwarded-Method": method,
			"X-Original-Url": url, "X-Original-Method": method, "X-Forwarded-For": host,
		} {
			r.Header[name] = []string{v}
		}
		for _, d := range append(All(), Direct{}) {
			req, err := d.Read(r, e)
			if err != nil {
				if outpost.ReasonOf(err) == outpost.ReasonInternal {
					t.Fatalf("%s: an error without a reason: %v", d.Name(), err)
				}
				continue
			}
			if req.Scheme != "http" && req.Scheme != "https" || req.Host == "" || strings.ContainsAny(req.Host, "/@\\ \x00") ||
				strings.ToUpper(req.Method) != req.Method || req.Path.Known() && req.Path.Raw()[0] != '/' {
				t.Fatalf("%s: %+v", d.Name(), req)
			}
		}
	})
}
