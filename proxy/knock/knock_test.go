package knock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/akprox/akprox/outpost/canon"
)

// gate is a Door that knows one key and admits who knocked. The tests of the
// door itself are elsewhere; here it is the least that answers can stand on.
type gate struct {
	admitted map[netip.Addr]bool
	err      error
	asked    []Ask
}

func (g *gate) Knows(key string) bool { return key == "good" }

func (g *gate) Knock(_ context.Context, client netip.Addr, _ string, ask Ask) Result {
	if g.err != nil {
		return Result{Err: g.err}
	}
	if err := ask.Before(); err != nil {
		return Result{Outcome: Limited}
	}
	g.asked = append(g.asked, ask)
	g.admitted[client] = true
	return Result{Outcome: Opened, Entry: client.String(), Expires: 1_900_000_600, Seconds: 600}
}

func (g *gate) Admits(_ context.Context, a netip.Addr) (bool, error) { return g.admitted[a], g.err }
func (g *gate) Ready(context.Context) error                          { return g.err }

func newGate() *gate { return &gate{admitted: map[netip.Addr]bool{}} }

func handler(t testing.TB, o Options) *Handler {
	t.Helper()
	if o.Trusted == nil {
		o.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("172.16.0.0/12")}
	}
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// call asks as the trusted proxy does.
func call(f http.HandlerFunc, method, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:1234"
	r.Header.Set("X-Forwarded-For", "1.2.3.4")
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] == "" {
			r.Header.Del(header[i])
			continue
		}
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f(w, r)
	return w
}

func TestARefusedBrowserMayGetAPage(t *testing.T) {
	page := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte("not admitted"))
	}
	for accept, want := range map[string]string{"text/html,*/*": "not admitted", "*/*": ""} {
		h := handler(t, Options{Door: newGate(), Refused: page})
		if w := call(h.Verify, "GET", "", "Accept", accept); w.Code != 401 || w.Body.String() != want {
			t.Errorf("K11: Accept %s: %d %q", accept, w.Code, w.Body)
		}
		h = handler(t, Options{Door: newGate()})
		if w := call(h.Verify, "GET", "", "Accept", accept); w.Code != 401 || w.Body.Len() > 0 {
			t.Errorf("without a page, Accept %s: %d %q", accept, w.Code, w.Body)
		}
	}
}

func TestTheOrderOfAKnock(t *testing.T) {
	h := handler(t, Options{Door: newGate()})
	long := strings.Repeat(" ", 4095) + "{}"
	for _, row := range []struct {
		name, method, body string
		header             []string
		status             int
		answer             string
	}{
		{"good", "POST", "", nil, 200, `{"whitelisted_entry":"1.2.3.4","expires_at":1900000600,"expires_in_seconds":600}`},
		{"good by GET", "GET", "", nil, 200, `{"whitelisted_entry":"1.2.3.4","expires_at":1900000600,"expires_in_seconds":600}`},
		{"an empty object", "POST", "{}", []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"nulls", "POST", `{"ttl":null,"ip_address":null}`, []string{"Content-Type", "Application/JSON"}, 200, ""},
		{"exactly the most", "POST", long[1:], []string{"Content-Type", "application/json"}, 200, ""},
		{"no client before no key", "POST", "", []string{"X-Forwarded-For", "", "X-Api-Key", ""}, 400, `{"error":"Could not determine client IP."}`},
		{"no key", "POST", "", []string{"X-Api-Key", ""}, 401, `{"error":"Invalid or missing API key."}`},
		{"a wrong key before a large body", "POST", long, []string{"X-Api-Key", "bad"}, 401, `{"error":"Invalid or missing API key."}`},
		{"a key beyond ASCII", "POST", "", []string{"X-Api-Key", "schl\xfcssel"}, 401, `{"error":"Invalid or missing API key."}`},
		{"a large body before its type", "POST", long, nil, 413, `{"error":"Request body too large."}`},
		{"no type", "POST", "{}", nil, 415, `{"error":"Request body must be JSON."}`},
		{"a wrong type before its form", "POST", "{", []string{"Content-Type", "text/plain"}, 415, `{"error":"Request body must be JSON."}`},
		{"no JSON", "POST", "{ invalid json }", []string{"Content-Type", "application/json"}, 400, `{"error":"Malformed JSON request body."}`},
		{"no method", "PUT", "", nil, 405, `{"detail":"Method Not Allowed"}`},
		{"a head", "HEAD", "", nil, 405, `{"detail":"Method Not Allowed"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := call(h.Knock, row.method, row.body, append([]string{"X-Api-Key", "good"}, row.header...)...)
			if w.Code != row.status || row.answer != "" && w.Body.String() != row.answer {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Www-Authenticate") != "" {
				t.Errorf("%v", w.Header())
			}
		})
	}
}

func TestBodies(t *testing.T) {
	for _, row := range []struct {
		body string
		want Outcome
	}{
		{`[]`, NotObject},
		{`null`, NotObject},
		{`1`, NotObject},
		{`"x"`, NotObject},
		{` `, Malformed},
		{`{"ttl":60}{}`, Malformed},
		{"{\"a\":\"\xff\"}", Malformed},
		{"\xef\xbb\xbf{}", Malformed},
		{`{"ttl":01}`, Malformed},
		{`{"ttl":0}`, BadTTL},
		{`{"ttl":-0}`, BadTTL},
		{`{"ttl":-100}`, BadTTL},
		{`{"ttl":true}`, BadTTL},
		{`{"ttl":3.14}`, BadTTL},
		{`{"ttl":3600.0}`, BadTTL},
		{`{"ttl":1e3}`, BadTTL},
		{`{"ttl":"3600"}`, BadTTL},
		{`{"ttl":[60]}`, BadTTL},
		{`{"ttl":-99999999999999999999}`, BadTTL},
		{`{"ttl":0,"ip_address":7}`, BadTTL},
		{`{"ttl":0,"x":7}`, BadTTL},
		{`{"ip_address":12345}`, BadAddress},
		{`{"ip_address":["1.2.3.4"]}`, BadAddress},
		{`{"ip_address":7,"x":7}`, BadAddress},
		{`{"x":1}`, UnknownField},
		{`{"TTL":60}`, UnknownField},
		{`{"Ip_Address":"1.2.3.4"}`, UnknownField},
		{`{"":1}`, UnknownField},
		{strings.Repeat("[", 4000), Malformed},
		{`{"ttl":` + strings.Repeat("[", 1500) + strings.Repeat("]", 1500) + `}`, BadTTL},
		{`{}`, Failed},
		{`{"ttl":60}`, Failed},
		{`{"ttl":999999999999999999999}`, Failed},
		{`{"ip_address":""}`, Failed},
		{`{"ttl":"x","ttl":5}`, Failed},
	} {
		if _, got := parseAsk([]byte(row.body)); got != row.want {
			t.Errorf("%.60s: %d, want %d", row.body, got, row.want)
		}
	}
	ask, _ := parseAsk([]byte(`{"ttl":999999999999999999999,"ip_address":"\u0031.2.3.4"}`))
	if *ask.TTL < 1<<62 || *ask.Address != "1.2.3.4" {
		t.Errorf("%d %s", *ask.TTL, *ask.Address)
	}
}

func TestABodyThatBreaksOffIsMalformed(t *testing.T) {
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if _, got := readAsk(httptest.NewRecorder(), r); got != Malformed {
		t.Errorf("%d", got)
	}
}

func TestOptions(t *testing.T) {
	h := handler(t, Options{Door: newGate(), Origin: "https://trusted.example.com"})
	w := call(h.Knock, "OPTIONS", "", "X-Forwarded-For", "")
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://trusted.example.com",
		"Access-Control-Allow-Methods": "POST, OPTIONS",
		"Access-Control-Allow-Headers": "X-Api-Key, Content-Type",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if w.Code != 204 || w.Body.Len() != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhoseRequestItIs(t *testing.T) {
	h := handler(t, Options{Door: newGate()})
	chain21 := strings.TrimSuffix(strings.Repeat("1.1.1.1,", 21), ",")
	for _, row := range []struct {
		peer    string
		chain   []string
		want    string // "" is not known
		trusted bool
	}{
		{"127.0.0.1:1", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"[::ffff:127.0.0.1]:1", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"@", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"9.9.9.9:1", []string{"1.2.3.4"}, "9.9.9.9", false},
		{"[::ffff:9.9.9.9]:1", nil, "9.9.9.9", false},
		{"127.0.0.2:1", nil, "127.0.0.2", false},
		{"[fe80::1%eth0]:1", nil, "fe80::1", false},
		{"nonsense", []string{"1.2.3.4"}, "", false},
		{"127.0.0.1:1", nil, "", true},
		{"127.0.0.1:1", []string{""}, "", true},
		{"127.0.0.1:1", []string{", ,"}, "", true},
		{"127.0.0.1:1", []string{"not-an-ip"}, "", true},
		{"127.0.0.1:1", []string{",1.2.3.4"}, "", true},
		{"127.0.0.1:1", []string{"not-an-ip, 1.2.3.4"}, "", true},
		{"127.0.0.1:1", []string{"01.2.3.4"}, "", true},
		{"127.0.0.1:1", []string{"fe80::1%eth0"}, "", true},
		{"127.0.0.1:1", []string{chain21}, "", true},
		{"127.0.0.1:1", []string{chain21[8:]}, "1.1.1.1", true},
		{"127.0.0.1:1", []string{"127.0.0.1, 172.16.0.9"}, "", true},
		{"127.0.0.1:1", []string{"6.6.6.6, 1.2.3.4, 172.16.0.9"}, "1.2.3.4", true},
		{"127.0.0.1:1", []string{"6.6.6.6", "1.2.3.4"}, "1.2.3.4", true},
		{"127.0.0.1:1", []string{"2001:DB8:0::1"}, "2001:db8::1", true},
		{"127.0.0.1:1", []string{"::ffff:1.2.3.4"}, "1.2.3.4", true},
		{"127.0.0.1:1", []string{"1.2.3.4:5678"}, "1.2.3.4", true},
		{"127.0.0.1:1", []string{"[2001:db8::1]:5678"}, "2001:db8::1", true},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = row.peer, row.chain
		var want netip.Addr
		if row.want != "" {
			want = netip.MustParseAddr(row.want)
		}
		if got, trusted := h.client(r); got != want || trusted != row.trusted {
			t.Errorf("%s %.80q: %v %v", row.peer, row.chain, got, trusted)
		}
	}
}

func TestExcludedPaths(t *testing.T) {
	h := handler(t, Options{Door: newGate(), Excluded: []string{"/healthz", "/metrics/", "/api/status", "/m*"}})
	for uri, open := range map[string]bool{
		"/metrics": true, "/metrics/": true, "/metrics/x": true, "/metrics?x=1": true, "/healthz?a=/../b": true,
		"/api/status/./secret": true, "/api/status/../status": true, "/api/status/health": true, "/m*": true, "/%68ealthz": true,
		"/metricsfoo": false, "/Metrics": false, "/mx": false, "/": false, "": false, "*": false, "metrics": false,
		"/api/statusfake": false, "/api/status/../secret": false, "/api/status/../../admin": false, "/api/status/../../../etc/passwd": false,
		"/api/status%2E%2E/secret": false, "/healthz/../private": false, "/private/..%252fhealthz": false,
		"/healthz;/x": false, "/healthz%00": false, "/healthz/%00": false, "/healthz%23/x": false, "/healthz#/x": false,
		"/private/../healthz": false, "/private/%2e%2e/healthz": false, "/private/..%2fhealthz": false, "/private%2f..%2fhealthz": false,
		"/healthz/..;/private": false, `/healthz/..\private`: false, "/healthz/..%5cprivate": false, "/healthz/..%255cprivate": false,
		"//index.php/healthz?x=://": false, "http://h/healthz": false, "//healthz": false, "/metrics%2fx": false, "/private//healthz": false,
		"/healthz/%2e%2e%2fprivate": false, "/healthz/.%2e/private": false, "/healthz/%zz": false, "/healthz/\xff": false,
		"/healthz/" + strings.Repeat("a", 20_000): false,
	} {
		w := call(h.Verify, "GET", "", "X-Forwarded-Uri", uri)
		if uri == "" {
			w = call(h.Verify, "GET", "")
		}
		if got := w.Code == 200; got != open {
			t.Errorf("%.80q: open %v", uri, got)
		}
	}
}

func TestExclusionsOfOneHost(t *testing.T) {
	h := handler(t, Options{Door: newGate(), ExcludedByHost: map[string][]string{"A.Example.com": {"/open"}, "*": {"/all"}}})
	for _, row := range []struct {
		host, uri string
		open      bool
	}{
		{"a.example.com", "/open/x", true},
		{"A.example.COM.:8443", "/open", true},
		{"b.example.com", "/open", false},
		{"b.example.com", "/all", true},
		{"", "/all", false},
		{"a.example.com, b.example.com", "/open", false},
		{"a.example.com@b.example.com", "/all", false},
	} {
		if w := call(h.Verify, "GET", "", "X-Forwarded-Uri", row.uri, "X-Forwarded-Host", row.host); (w.Code == 200) != row.open {
			t.Errorf("%s%s: %d", row.host, row.uri, w.Code)
		}
	}
	for name, lines := range map[string][]string{"X-Forwarded-Uri": {"/all", "/all"}, "X-Forwarded-Host": {"a.example.com", "a.example.com"}} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header = http.Header{"X-Forwarded-Uri": {"/all"}, "X-Forwarded-Host": {"a.example.com"}, name: lines}
		w := httptest.NewRecorder()
		if h.Verify(w, r); w.Code != 401 {
			t.Errorf("two lines of %s: %d", name, w.Code)
		}
	}
}

func TestAStrangersHeadersAreIgnored(t *testing.T) {
	g := newGate()
	g.admitted[netip.MustParseAddr("1.2.3.4")] = true
	h := handler(t, Options{Door: g, Excluded: []string{"/open"}, ExcludedByHost: map[string][]string{"*": {"/all"}}})
	ask := func(f http.HandlerFunc, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header = "9.9.9.9:1", header
		w := httptest.NewRecorder()
		f(w, r)
		return w
	}
	forged := http.Header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Uri": {"/open"}, "X-Forwarded-Host": {"a"}, "X-Api-Key": {"good"}}
	if w := ask(h.Verify, forged); w.Code != 401 {
		t.Errorf("verify: %d", w.Code)
	}
	if w := ask(h.Knock, forged); w.Code != 200 || !strings.Contains(w.Body.String(), `"9.9.9.9"`) {
		t.Errorf("knock: %d %s", w.Code, w.Body)
	}
	if w := ask(h.Verify, forged); w.Code != 200 || w.Header()["X-Forwarded-For"] != nil {
		t.Errorf("verify after the knock: %d %v", w.Code, w.Header())
	}
}

func TestBadExclusionsAreRefusedAtLoad(t *testing.T) {
	for _, p := range []string{"", "/", "//", "/..", "/a/../..", "/a/..", "/a/./b", "a", "/a//b", "/a;b", "/a?b", "/a#b", "/%61", `/a\b`, "/a\x00", "\xff"} {
		if _, err := New(Options{Door: newGate(), Excluded: []string{"/good", p}}); err == nil || !strings.HasPrefix(err.Error(), "excluded_paths[1]: ") {
			t.Errorf("%q: %v", p, err)
		}
		if _, err := New(Options{Door: newGate(), ExcludedByHost: map[string][]string{"h": {p}}}); err == nil {
			t.Errorf("%q for a host", p)
		}
	}
	for _, host := range []string{"", "a b", "a/b", "ä"} {
		if _, err := New(Options{Door: newGate(), ExcludedByHost: map[string][]string{host: {"/a"}}}); err == nil {
			t.Errorf("host %q", host)
		}
	}
}

func TestVerifyAnswersTwoThings(t *testing.T) {
	g := newGate()
	g.admitted[netip.MustParseAddr("1.2.3.4")] = true
	var seen []Event
	h := handler(t, Options{Door: g, Observe: func(e Event) { seen = append(seen, e) }})
	for _, method := range []string{"GET", "HEAD"} {
		w := call(h.Verify, method, "", "X-Forwarded-For", "6.6.6.6, 1.2.3.4")
		if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("X-Forwarded-For") != "6.6.6.6, 1.2.3.4" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s %v", method, w.Code, w.Body, w.Header())
		}
	}
	if w := call(h.Verify, "GET", "", "X-Forwarded-For", "1.2.3.5"); w.Code != 401 || w.Body.Len() != 0 || w.Header().Get("X-Forwarded-For") != "" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := call(h.Verify, "POST", ""); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
	g.err = errors.New("the store is gone")
	if w := call(h.Verify, "GET", ""); w.Code != 401 {
		t.Errorf("an error: %d", w.Code)
	}
	if len(seen) != 4 || seen[0].Status != 200 || seen[2].Client.String() != "1.2.3.5" || seen[3].Err == nil {
		t.Errorf("%+v", seen)
	}
}

func TestHealthAndReady(t *testing.T) {
	g := newGate()
	h := handler(t, Options{Door: g})
	check := func(f http.HandlerFunc, status int, body string) {
		t.Helper()
		if w := call(f, "GET", ""); w.Code != status || w.Body.String() != body {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	check(h.Health, 200, `{"status":"ok"}`)
	check(h.Ready, 200, `{"status":"ok"}`)
	g.err = errors.New("gone")
	check(h.Health, 200, `{"status":"ok"}`)
	check(h.Ready, 503, `{"status":"unhealthy","error":"Whitelist storage not accessible"}`)
	if w := call(h.Health, "POST", ""); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestLimits(t *testing.T) {
	now := time.Unix(1_900_000_000, 0)
	clock := func() time.Time { return now }
	g := newGate()
	h := handler(t, Options{Door: g, Now: clock, Limits: Limits{Window: time.Minute, Successes: 2, Failures: 3}})
	knock := func(client, key string) *httptest.ResponseRecorder {
		return call(h.Knock, "POST", "", "X-Forwarded-For", client, "X-Api-Key", key)
	}
	want := func(name string, w *httptest.ResponseRecorder, status int, retry string) {
		t.Helper()
		if w.Code != status || w.Header().Get("Retry-After") != retry {
			t.Errorf("%s: %d %s, retry after %q", name, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
		if status == 429 && w.Body.String() != `{"error":"Too many knock attempts."}` {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
	for range 2 {
		want("a success", knock("1.1.1.1", "good"), 200, "")
		now = now.Add(10 * time.Second)
	}
	want("one too many", knock("1.1.1.1", "good"), 429, "40")
	want("a failure does not count as a success", knock("1.1.1.1", "bad"), 401, "")
	want("another address", knock("1.1.1.2", "good"), 200, "")
	now = now.Add(40 * time.Second)
	want("the window slides", knock("1.1.1.1", "good"), 200, "")

	for i := range 3 {
		want("a failure", knock(fmt.Sprintf("2001:db8:0:1::%d", i), "bad"), 401, "")
	}
	want("the same household", knock("2001:db8:0:1:ffff::", "bad"), 429, "60")
	want("the right key of a limited address", knock("2001:db8:0:1::7", "good"), 429, "60")
	want("another household", knock("2001:db8:0:2::7", "good"), 200, "")
	now = now.Add(61 * time.Second)
	want("a window later", knock("2001:db8:0:1::7", "good"), 200, "")
}

func TestFailuresOfEveryKindCount(t *testing.T) {
	g := newGate()
	h := handler(t, Options{Door: g, Limits: Limits{Failures: 1}})
	long := strings.Repeat(" ", 5000)
	for i, row := range []struct {
		status       int
		body, header string
	}{{413, long, "application/json"}, {415, "x", "text/plain"}, {400, "x", "application/json"}, {500, "", ""}} {
		g.err = nil
		if row.status == 500 {
			g.err = errors.New("the store is gone")
		}
		for j, status := range []int{row.status, 429} {
			w := call(h.Knock, "POST", row.body, "X-Api-Key", "good", "X-Forwarded-For", fmt.Sprint("1.1.1.", i), "Content-Type", row.header)
			if w.Code != status {
				t.Errorf("%d, the %d. time: %d %s", row.status, j+1, w.Code, w.Body)
			}
		}
	}
	if w := call(h.Knock, "POST", "", "X-Forwarded-For", ""); w.Code != 400 {
		t.Errorf("nobody: %d", w.Code)
	}
	if w := call(h.Knock, "POST", "", "X-Forwarded-For", ""); w.Code != 429 {
		t.Errorf("nobody again: %d", w.Code)
	}
}

func TestNoLimits(t *testing.T) {
	h := handler(t, Options{Door: newGate()})
	for range 100 {
		if w := call(h.Knock, "POST", "", "X-Api-Key", "bad"); w.Code != 401 {
			t.Fatal(w.Code)
		}
	}
	for range 100 {
		if w := call(h.Knock, "POST", "", "X-Api-Key", "good"); w.Code != 200 {
			t.Fatal(w.Code)
		}
	}
}

func TestAFloodOfAddressesLeavesMemoryBounded(t *testing.T) {
	h := handler(t, Options{Door: newGate(), Limits: Limits{Failures: 3, Successes: 3}})
	flood := func(first byte) {
		r := httptest.NewRequest("POST", "/", nil)
		for i := range 100_000 {
			r.RemoteAddr = fmt.Sprintf("%d.%d.%d.%d:1", first, i>>16, i>>8&255, i&255)
			r.Header["X-Api-Key"] = []string{fmt.Sprint("bad", i)}
			w := httptest.NewRecorder()
			if h.Knock(w, r); w.Code != 401 {
				t.Fatal(w.Code)
			}
		}
	}
	flood(11)
	before := heap()
	flood(12)
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("the second 100,000 take %d bytes more", grown)
	}
	best := time.Hour
	for i := range 20 { // one may meet the collector, or another process
		start := time.Now()
		w := call(h.Knock, "POST", "", "X-Api-Key", "good", "X-Forwarded-For", fmt.Sprint("1.2.3.", i))
		if best = min(best, time.Since(start)); w.Code != 200 {
			t.Errorf("a good one: %d", w.Code)
		}
	}
	if best > 100*time.Millisecond {
		t.Errorf("a good one takes %s", best)
	}
	runtime.KeepAlive(h)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestEveryOutcomeHasItsWords(t *testing.T) {
	seen := map[string]bool{}
	for o := Failed; o <= Limited; o++ {
		if o == Opened {
			continue
		}
		status, body := Result{Outcome: o}.answer()
		if !json.Valid([]byte(body)) || status < 400 || seen[body] {
			t.Errorf("%d: %d %s", o, status, body)
		}
		seen[body] = true
	}
	if status, _ := (Result{}).answer(); status != 500 {
		t.Errorf("the zero Result is a %d", status)
	}
}

// FuzzKnockBody holds that a body yields whole and exact values or an error.
func FuzzKnockBody(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"ttl":60}`, `{"ip_address":"1.2.3.4"}`, `{"ttl":-1,"x":[]}`, `{"ttl":1e3}`, `null`, `[[[[`, `{"ttl":null}`, "{\"ip_address\":\"\xff\"}",
		`{"ttl":99999999999999999999}`, `{"ip_address":{"ttl":1}}`, `{"ttl":"60"}`, `{"TTL":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		ask, bad := readAsk(httptest.NewRecorder(), r)
		switch {
		case bad == Opened:
			t.Fatal("a body opens nothing")
		case bad != Failed && (ask.TTL != nil || ask.Address != nil):
			t.Fatalf("%q: refused, and yet asked", body)
		case bad == Failed && len(body) > maxBody:
			t.Fatal("more than the bound was read")
		case bad == Failed && ask.TTL != nil && *ask.TTL <= 0:
			t.Fatalf("%q: %d seconds", body, *ask.TTL)
		case bad == Failed && len(body) > 0 && !json.Valid(body):
			t.Fatalf("%q was taken for JSON", body)
		}
	})
}

// FuzzExcluded holds that no path opens that some server could read as one
// which is not excluded. The readings here are made with other means than
// those of package canon.
func FuzzExcluded(f *testing.F) {
	for _, s := range []string{
		"/healthz", "/healthz/x?y=z", "/private/../healthz", "/healthz/..;/private", "/healthz/..%5cprivate", "/private%2f..%2fhealthz",
		"//index.php/healthz?x=://", "/healthz/%252e%252e/private", "/healthz%00", "/healthz/%c0%ae%c0%ae/x", "/healthz%3f/../private", "/a/b/c",
	} {
		f.Add(s)
	}
	excluded := []string{"/healthz", "/a/b"}
	f.Fuzz(func(t *testing.T, uri string) {
		p, _, err := canon.SplitURI(uri)
		if err != nil || !anyHolds(excluded, p) {
			return
		}
		raw, _, _ := strings.Cut(uri, "?")
		for _, reading := range serverReadings(raw) {
			if !strings.HasPrefix(reading+"/", "/healthz/") && !strings.HasPrefix(reading+"/", "/a/b/") {
				t.Fatalf("%q opens, and a server may read it as %q", uri, reading)
			}
		}
	})
}

// serverReadings is how the usual servers read a path.
func serverReadings(raw string) []string {
	all := []string{raw, path.Clean(raw), path.Clean(strings.ReplaceAll(raw, `\`, "/"))}
	for range 2 {
		decoded, err := url.PathUnescape(raw)
		if err != nil {
			break
		}
		cut, _, _ := strings.Cut(decoded, "?")
		cut, _, _ = strings.Cut(cut, "#")
		var segments []string
		for _, s := range strings.Split(strings.ReplaceAll(decoded, `\`, "/"), "/") {
			s, _, _ = strings.Cut(s, ";")
			segments = append(segments, s)
		}
		all = append(all, path.Clean(decoded), path.Clean("/"+cut), path.Clean(strings.ReplaceAll(decoded, `\`, "/")), path.Clean(strings.Join(segments, "/")))
		raw = decoded
	}
	return all
}
