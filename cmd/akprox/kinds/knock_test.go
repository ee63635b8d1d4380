package kinds

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/providers/knock"
	face "github.com/akprox/akprox/proxy/knock"
)

// The keys of the sites below.
const (
	siteAdmin = "site-admin-key-0001"
	siteUser  = "site-user-key-0002"
)

// site is the knock endpoints on a real listener, over a real disk store. Its
// one trusted proxy is 127.0.0.1.
type site struct {
	url     string
	store   *disk.Store
	door    *knock.Door
	seconds atomic.Int64 // how far the site's time is ahead
	dir     string
	yaml    string
	server  *httptest.Server
}

const siteYAML = `version: 1
server: { trusted_proxies: [127.0.0.1/32] }
providers:
  - name: door
    kind: knock
    keys:
      - { name: ADMIN, key: { value: ` + siteAdmin + ` }, ttl: 3600, allow_remote_whitelist: true }
      - { name: USER, key: { value: ` + siteUser + ` }, max_ttl: 600 }
`

func newSite(t *testing.T, more string) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), yaml: siteYAML + more}
	s.start(t)
	t.Cleanup(s.stop)
	return s
}

func (s *site) now() time.Time { return time.Now().Add(time.Duration(s.seconds.Load()) * time.Second) }

func (s *site) stop() {
	s.server.Close()
	_ = s.store.Close()
}

func (s *site) start(t *testing.T) {
	t.Helper()
	kinds := config.Kinds{"knock": func() any { return new(KnockSettings) }}
	doc, problems := config.Parse([]byte(s.yaml), "akprox.yaml", kinds, []string{"disk"})
	if problems != nil {
		t.Fatal(problems)
	}
	var err error
	if s.store, err = disk.Open(s.dir, disk.Options{Now: s.now}); err != nil {
		t.Fatal(err)
	}
	settings := doc.Providers[0].Settings.(*KnockSettings)
	var handler *face.Handler
	s.door, handler, err = settings.open("door", []string{siteAdmin, siteUser}, knockWorld{store: s.store, trusted: doc.Server.TrustedProxies, now: s.now})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/knock", handler.Knock)
	mux.HandleFunc("/verify", handler.Verify)
	mux.HandleFunc("/health", handler.Health)
	mux.HandleFunc("/ready", handler.Ready)
	s.server = httptest.NewServer(mux)
	s.url = s.server.URL
}

// restart ends the site and begins it again with what is on the disk.
func (s *site) restart(t *testing.T) {
	t.Helper()
	s.stop()
	s.start(t)
}

// reply is an answer, read.
type reply struct {
	status int
	body   string
	header http.Header
}

// errorOf answers the text of a refusal.
func (r reply) errorOf() string {
	var e struct{ Error string }
	_ = json.Unmarshal([]byte(r.body), &e)
	return e.Error
}

// knocked is a success, read.
type knocked struct {
	Entry   string `json:"whitelisted_entry"`
	Expires int64  `json:"expires_at"`
	Seconds int64  `json:"expires_in_seconds"`
}

func (r reply) knocked(t *testing.T) (k knocked) {
	t.Helper()
	if r.status != 200 || json.Unmarshal([]byte(r.body), &k) != nil {
		t.Errorf("%d %s, want a lease", r.status, r.body)
	}
	return k
}

// ask sends a request as the proxy would, for the client 1.2.3.4 unless the
// header says otherwise; an empty value leaves a header out. "from" is the
// address to connect from.
func (s *site) ask(t *testing.T, method, path, body string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", "1.2.3.4")
	from := "127.0.0.1"
	for i := 0; i+1 < len(header); i += 2 {
		switch {
		case header[i] == "from":
			from = header[i+1]
		case header[i] == "chunked":
			r.ContentLength = -1
		case header[i+1] == "":
			r.Header.Del(header[i])
		default:
			r.Header[http.CanonicalHeaderKey(header[i])] = []string{header[i+1]}
		}
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext,
	}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, string(text), resp.Header}
}

func (s *site) knock(t *testing.T, key, body string, header ...string) reply {
	t.Helper()
	return s.ask(t, http.MethodPost, "/knock", body, append([]string{"X-Api-Key", key, "Content-Type", "application/json"}, header...)...)
}

func (s *site) verify(t *testing.T, client, uri string, want int) {
	t.Helper()
	if got := s.ask(t, http.MethodGet, "/verify", "", "X-Forwarded-For", client, "X-Forwarded-Uri", uri); got.status != want || got.body != "" {
		t.Errorf("verify %s %s: %d %q, want %d", client, uri, got.status, got.body, want)
	}
}

// TestTheCapabilitiesOfKnocker is the list of what Knocker promises.
func TestTheCapabilitiesOfKnocker(t *testing.T) {
	s := newSite(t, `    always_allowed_ips: [100.100.100.100, "2001:db8:cafe::/48"]
    excluded_paths: [/metrics]
    limits: { successes: 0, failures: 0 }
`)
	t.Run("K1 keys", func(t *testing.T) {
		for _, key := range []string{"", "INVALID_KEY", siteUser + "x", siteUser[1:], strings.ToUpper(siteUser)} {
			if r := s.knock(t, key, ""); r.status != 401 || r.body != `{"error":"Invalid or missing API key."}` || r.header.Get("Www-Authenticate") != "" {
				t.Errorf("%q: %+v", key, r)
			}
		}
		for _, key := range []string{siteAdmin, siteUser} {
			s.knock(t, key, "").knocked(t)
		}
	})
	t.Run("K2 the key's time", func(t *testing.T) {
		before := s.now().Unix()
		k := s.knock(t, siteUser, "", "X-Forwarded-For", "1.2.3.40").knocked(t)
		after := s.now().Unix()
		if k.Entry != "1.2.3.40" || k.Seconds != 600 || k.Expires < before+600 || k.Expires > after+601 {
			t.Errorf("%+v between %d and %d", k, before, after)
		}
		s.knock(t, siteUser, `{"ttl":60}`, "X-Forwarded-For", "1.2.3.41").knocked(t)
		s.verify(t, "1.2.3.41", "/", 200)
		s.seconds.Add(61)
		s.verify(t, "1.2.3.41", "/", 401)
		s.verify(t, "1.2.3.40", "/", 200)
	})
	t.Run("K3 remote", func(t *testing.T) {
		if k := s.knock(t, siteAdmin, `{"ip_address":"2001:db8::/120"}`).knocked(t); k.Entry != "2001:db8::/120" {
			t.Errorf("%+v", k)
		}
		s.verify(t, "2001:db8::42", "/", 200)
		if r := s.knock(t, siteUser, `{"ip_address":"8.8.8.8"}`); r.status != 403 || r.body != `{"error":"API key lacks remote whitelist permission."}` {
			t.Errorf("%+v", r)
		}
	})
	t.Run("K4 own address, by POST and by GET", func(t *testing.T) {
		for i, method := range []string{"POST", "GET"} {
			client := fmt.Sprint("1.2.4.", i)
			r := s.ask(t, method, "/knock", "", "X-Api-Key", siteUser, "X-Forwarded-For", client)
			if k := r.knocked(t); k.Entry != client {
				t.Errorf("%+v", k)
			}
			s.verify(t, client, "/", 200)
		}
	})
	t.Run("K5 always allowed", func(t *testing.T) {
		s.verify(t, "100.100.100.100", "/", 200)
		s.verify(t, "2001:db8:cafe:1234::1", "/", 200)
		s.verify(t, "100.100.100.101", "/", 401)
	})
	t.Run("K6 excluded paths", func(t *testing.T) {
		s.verify(t, "9.9.9.9", "/metrics", 200)
		s.verify(t, "9.9.9.9", "/metrics/x", 200)
		s.verify(t, "9.9.9.9", "/metricsfoo", 401)
		s.verify(t, "garbage", "/metrics", 200)
	})
	t.Run("K7 IPv6", func(t *testing.T) {
		s.knock(t, siteUser, "", "X-Forwarded-For", "2001:DB8:7:0::1").knocked(t)
		s.verify(t, "2001:db8:7::1", "/", 200)
		s.knock(t, siteUser, "", "X-Forwarded-For", "::ffff:1.2.7.7").knocked(t)
		s.verify(t, "1.2.7.7", "/", 200)
		s.verify(t, "::ffff:1.2.4.0", "/", 200)
	})
	t.Run("K8 nobody lies about their address", func(t *testing.T) {
		if r := s.ask(t, "GET", "/verify", "", "from", "127.0.0.2", "X-Forwarded-For", "100.100.100.100"); r.status != 401 {
			t.Errorf("%+v", r)
		}
		if k := s.knock(t, siteUser, "", "from", "127.0.0.2", "X-Forwarded-For", "100.100.100.100").knocked(t); k.Entry != "127.0.0.2" {
			t.Errorf("%+v", k)
		}
	})
	t.Run("K9 verify is empty", func(t *testing.T) {
		for client, status := range map[string]int{"100.100.100.100": 200, "9.9.9.9": 401} {
			if r := s.ask(t, "GET", "/verify", "", "X-Forwarded-For", client); r.status != status || r.body != "" || r.header.Get("Content-Length") != "0" {
				t.Errorf("%+v", r)
			}
		}
	})
	t.Run("K10 the chain survives copy_headers", func(t *testing.T) {
		chain := "6.6.6.6, 100.100.100.100"
		if r := s.ask(t, "GET", "/verify", "", "X-Forwarded-For", chain); r.status != 200 || r.header.Get("X-Forwarded-For") != chain {
			t.Errorf("%+v", r)
		}
	})
	t.Run("K12 leases outlive the process", func(t *testing.T) {
		s.knock(t, siteUser, "", "X-Forwarded-For", "1.2.12.1").knocked(t)
		s.knock(t, siteAdmin, `{"ip_address":"1.12.0.0/16"}`).knocked(t)
		s.restart(t)
		s.verify(t, "1.2.12.1", "/", 200)
		s.verify(t, "1.12.9.9", "/", 200)
		s.seconds.Add(601)
		s.restart(t)
		s.verify(t, "1.2.12.1", "/", 401)
		s.verify(t, "1.12.9.9", "/", 200)
	})
	t.Run("K14 knocking needs no lease", func(t *testing.T) {
		s.verify(t, "1.2.14.1", "/knock", 401)
		s.knock(t, siteUser, "", "X-Forwarded-For", "1.2.14.1").knocked(t)
	})
}

// TestKnocksOverHTTP has the rows of Knocker's own tests that HTTP can ask.
func TestKnocksOverHTTP(t *testing.T) {
	s := newSite(t, "    limits: { successes: 0, failures: 0 }\n    cors_origin: https://trusted.example.com\n    excluded_paths: [/api/status, /healthz]\n")
	long := strings.Repeat("x", 4097)
	next := 0
	for _, row := range []struct {
		name, key, body string
		header          []string
		status          int
		want            string // the error, or the seconds of a success
	}{
		{"a time of its own", siteAdmin, `{"ttl":300}`, nil, 200, "300"},
		{"a time beyond the key's", siteUser, `{"ttl":9999}`, nil, 200, "600"},
		{"the longest time", siteAdmin, `{"ttl":315360000}`, nil, 200, "3600"},
		{"one second more", siteAdmin, `{"ttl":315360001}`, nil, 400, "TTL too large. Maximum allowed is 315360000 seconds (10 years)."},
		{"a huge time", siteAdmin, `{"ttl":99999999999999999999}`, nil, 400, "TTL too large. Maximum allowed is 315360000 seconds (10 years)."},
		{"no time", siteAdmin, `{"ttl":0}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"a negative time", siteAdmin, `{"ttl":-100}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"a time in words", siteAdmin, `{"ttl":"three hundred"}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"a time in a text", siteAdmin, `{"ttl":"3600"}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"a float", siteAdmin, `{"ttl":3.14}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"true", siteAdmin, `{"ttl":true}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"the time wins over the address", siteAdmin, `{"ip_address":"x","ttl":0}`, nil, 400, "Invalid TTL specified. Must be a positive integer."},
		{"no address", siteAdmin, `{"ip_address":"not-an-ip"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"an empty address", siteAdmin, `{"ip_address":""}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"a number", siteAdmin, `{"ip_address":12345}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"a leading space", siteAdmin, `{"ip_address":" 1.2.3.4"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"a leading zero", siteAdmin, `{"ip_address":"01.2.3.4"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"/33", siteAdmin, `{"ip_address":"1.2.3.4/33"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"/129", siteAdmin, `{"ip_address":"::1/129"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"a zone", siteAdmin, `{"ip_address":"fe80::1%eth0/128"}`, nil, 400, "Invalid IP address or CIDR notation in request body."},
		{"a long address", siteAdmin, `{"ip_address":"` + strings.Repeat("1", 107) + `"}`, nil, 400, "IP address or CIDR notation too long."},
		{"a long IPv6", siteAdmin, `{"ip_address":"2001:0db8:85a3:0000:0000:8a2e:0370:7334/128"}`, nil, 200, "3600"},
		{"all of IPv4", siteAdmin, `{"ip_address":"0.0.0.0/0"}`, nil, 400, "CIDR range too broad. Maximum 65536 addresses allowed."},
		{"all of IPv6", siteAdmin, `{"ip_address":"::/0"}`, nil, 400, "CIDR range too broad. Maximum 65536 addresses allowed."},
		{"/8", siteAdmin, `{"ip_address":"10.0.0.0/8"}`, nil, 400, "CIDR range too broad. Maximum 65536 addresses allowed."},
		{"/12", siteAdmin, `{"ip_address":"172.16.0.0/12"}`, nil, 400, "CIDR range too broad. Maximum 65536 addresses allowed."},
		{"all of IPv4 in IPv6", siteAdmin, `{"ip_address":"::ffff:0:0/96"}`, nil, 400, "CIDR range too broad. Maximum 65536 addresses allowed."},
		{"NAT64", siteAdmin, `{"ip_address":"64:ff9b::/96"}`, nil, 400, "IP address or CIDR range cannot be whitelisted."},
		{"a range with the proxy", siteAdmin, `{"ip_address":"127.0.0.0/24"}`, nil, 400, "IP address or CIDR range cannot be whitelisted."},
		{"/16", siteAdmin, `{"ip_address":"192.168.0.0/16"}`, nil, 200, "3600"},
		{"/24", siteAdmin, `{"ip_address":"192.168.1.0/24"}`, nil, 200, "3600"},
		{"/20", siteAdmin, `{"ip_address":"10.0.0.0/20"}`, nil, 200, "3600"},
		{"/120", siteAdmin, `{"ip_address":"2001:db8::/120"}`, nil, 200, "3600"},
		{"bits beyond the mask", siteAdmin, `{"ip_address":"192.168.7.5/24"}`, nil, 200, "3600"},
		{"a netmask", siteAdmin, `{"ip_address":"1.2.3.4/255.255.0.0"}`, nil, 200, "3600"},
		{"both keys", siteAdmin, `{"ip_address":"192.168.1.100","ttl":3600}`, nil, 200, "3600"},
		{"its own address, without permission", siteUser, `{"ip_address":"1.2.3.4"}`, nil, 403, "API key lacks remote whitelist permission."},
		{"broad, without permission", siteUser, `{"ip_address":"0.0.0.0/0"}`, nil, 403, "API key lacks remote whitelist permission."},
		{"an empty object", siteUser, `{}`, nil, 200, "600"},
		{"no body", siteUser, "", []string{"Content-Type", ""}, 200, "600"},
		{"no JSON", siteUser, `{ invalid json }`, nil, 400, "Malformed JSON request body."},
		{"not UTF-8", siteUser, "{\"ip_address\":\"\xff\"}", nil, 400, "Malformed JSON request body."},
		{"a list", siteUser, `[]`, nil, 400, "Request body must be a JSON object."},
		{"null", siteUser, `null`, nil, 400, "Request body must be a JSON object."},
		{"a field that is none", siteUser, `{"note":"x"}`, nil, 400, "Invalid request data."},
		{"another type", siteUser, `{}`, []string{"Content-Type", "text/plain"}, 415, "Request body must be JSON."},
		{"a type with parameters", siteUser, `{}`, []string{"Content-Type", "application/json; charset=utf-8"}, 200, "600"},
		{"a large body", siteUser, long, nil, 413, "Request body too large."},
		{"a large body in chunks", siteUser, long, []string{"chunked", "yes"}, 413, "Request body too large."},
		{"a large body and a wrong key", "INVALID", strings.Repeat("x", 5000), nil, 401, "Invalid or missing API key."},
		{"a key beyond ASCII", "schl\xc3\xbcssel", "", nil, 401, "Invalid or missing API key."},
		{"no address of a client", siteUser, "", []string{"X-Forwarded-For", ""}, 400, "Could not determine client IP."},
		{"a chain of proxies", siteUser, "", []string{"X-Forwarded-For", "127.0.0.1"}, 400, "Could not determine client IP."},
		{"a chain with a hole", siteUser, "", []string{"X-Forwarded-For", ",1.2.3.4"}, 400, "Could not determine client IP."},
		{"a long chain", siteUser, "", []string{"X-Forwarded-For", strings.Repeat("1.1.1.1,", 20) + "1.2.3.4"}, 400, "Could not determine client IP."},
		{"a chain of garbage", siteUser, "", []string{"X-Forwarded-For", "not-an-ip"}, 400, "Could not determine client IP."},
	} {
		t.Run(row.name, func(t *testing.T) {
			next++
			client := []string{"X-Forwarded-For", fmt.Sprint("5.5.0.", next)} // its own lease
			r := s.knock(t, row.key, row.body, append(client, row.header...)...)
			if row.status == 200 {
				if k := r.knocked(t); fmt.Sprint(k.Seconds) != row.want {
					t.Errorf("%+v, want %s seconds", k, row.want)
				}
			} else if r.status != row.status || r.body != `{"error":"`+row.want+`"}` {
				t.Errorf("%d %s, want %d %s", r.status, r.body, row.status, row.want)
			}
			if r.header.Get("Access-Control-Allow-Origin") != "https://trusted.example.com" {
				t.Errorf("%v", r.header)
			}
		})
	}
	t.Run("preflight", func(t *testing.T) {
		r := s.ask(t, "OPTIONS", "/knock", "")
		names := strings.Split(r.header.Get("Access-Control-Allow-Headers"), ", ")
		slices.Sort(names)
		if r.status != 204 || r.body != "" || r.header.Get("Access-Control-Allow-Methods") != "POST, OPTIONS" || !slices.Equal(names, []string{"Content-Type", "X-Api-Key"}) ||
			r.header.Get("Access-Control-Allow-Origin") != "https://trusted.example.com" {
			t.Errorf("%+v", r)
		}
	})
	t.Run("excluded paths", func(t *testing.T) {
		for uri, status := range map[string]int{
			"/api/status": 200, "/api/status/": 200, "/api/status/health": 200, "/api/status/../status": 200, "/api/status/./secret": 200, "/healthz": 200,
			"/api/statusfake": 401, "/different/path": 401, "/api/status/../secret": 401, "/api/status/../../admin": 401,
			"/api/status%2E%2E/secret": 401, "/api/status/../../../etc/passwd": 401, "/private/..%2fhealthz": 401, "/healthz/..;/private": 401,
		} {
			s.verify(t, "9.9.9.9", uri, status)
		}
	})
	t.Run("health", func(t *testing.T) {
		for _, path := range []string{"/health", "/ready"} {
			if r := s.ask(t, "GET", path, "", "from", "127.0.0.2"); r.status != 200 || r.body != `{"status":"ok"}` {
				t.Errorf("%s: %+v", path, r)
			}
		}
	})
}

func TestKnocksAtOnce(t *testing.T) {
	s := newSite(t, "    limits: { successes: 1 }\n    max_leases: 30\n")
	var ok, limited atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch r := s.knock(t, siteUser, ""); {
			case r.status == 200:
				ok.Add(1)
			case r.status == 429 && r.errorOf() == "Too many knock attempts." && r.header.Get("Retry-After") != "":
				limited.Add(1)
			}
		})
	}
	wg.Wait()
	if ok.Load() != 1 || limited.Load() != 19 {
		t.Errorf("%d were admitted and %d refused, want 1 and 19", ok.Load(), limited.Load())
	}
	for i := range 29 { // from distinct addresses, as many as there may be
		wg.Go(func() { s.knock(t, siteUser, "", "X-Forwarded-For", fmt.Sprint("10.0.0.", i)).knocked(t) })
	}
	wg.Wait()
	if r := s.knock(t, siteAdmin, "", "X-Forwarded-For", "10.0.1.1"); r.status != 503 || r.body != `{"error":"Whitelist is at capacity. Try again later."}` {
		t.Errorf("a full table: %+v", r)
	}
	s.restart(t)
	for i := range 29 {
		s.verify(t, fmt.Sprint("10.0.0.", i), "/", 200)
	}
	s.verify(t, "10.0.1.1", "/", 401)
	if n, err := s.store.Count(t.Context(), "lease:"); n != 30 || err != nil {
		t.Errorf("%d leases stored, %v", n, err)
	}
}

func TestALimitedAddressIsRefusedWithTheRightKeyToo(t *testing.T) {
	s := newSite(t, "    limits: { failures: 3, window: 30s }\n")
	for range 3 {
		if r := s.knock(t, "wrong", ""); r.status != 401 {
			t.Fatalf("%+v", r)
		}
	}
	for _, key := range []string{"wrong", siteUser} {
		r := s.knock(t, key, "")
		if after, _ := strconv.Atoi(r.header.Get("Retry-After")); r.status != 429 || r.body != `{"error":"Too many knock attempts."}` || after < 20 || after > 30 || r.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%+v", r)
		}
	}
	s.knock(t, siteUser, "", "X-Forwarded-For", "1.2.3.5").knocked(t)
	s.seconds.Add(31)
	s.knock(t, siteUser, "").knocked(t)
}

func TestAStoreThatIsGoneIsNoLease(t *testing.T) {
	s := newSite(t, "    limits: { failures: 1 }\n")
	s.knock(t, siteUser, "", "X-Forwarded-For", "1.2.3.5").knocked(t)
	_ = s.store.Close()
	r := s.knock(t, siteUser, "")
	if r.status != 500 || r.body != `{"error":"Internal server error: whitelist persistence or firewall configuration failed."}` || r.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%+v", r)
	}
	if r := s.knock(t, siteUser, ""); r.status != 429 {
		t.Errorf("%+v", r)
	}
	s.verify(t, "1.2.3.4", "/", 401)
	s.verify(t, "1.2.3.5", "/", 200)
	if r := s.ask(t, "GET", "/ready", ""); r.status != 503 || !strings.HasPrefix(r.body, `{"status":"unhealthy","error":`) {
		t.Errorf("%+v", r)
	}
	if r := s.ask(t, "GET", "/health", ""); r.status != 200 {
		t.Errorf("%+v", r)
	}
}

func TestTheSettingsOfAKnockProvider(t *testing.T) {
	kinds := config.Kinds{"knock": func() any { return new(KnockSettings) }}
	key := "keys: [{name: a, key: {value: k}, ttl: 5}]"
	for _, row := range []struct{ yaml, want string }{
		{key, ""},
		{"keys: [{name: a, key: {value: k}, max_ttl: 5, allow_remote_whitelist: true}]", ""},
		{"keys: [{name: a, key: {value: k}}]", "keys[0].ttl: is missing"},
		{"keys: [{name: a, key: {value: k}, ttl: 5, max_ttl: 5}]", "keys[0].ttl: is the same as max_ttl"},
		{"keys: [{name: a, key: {value: k}, ttl: 0}]", "has to be more than 0"},
		{"keys: [{name: a, key: k, ttl: 5}]", "keys[0].key: expected one of {value"},
		{"keys: []", "keys: is an empty list"},
		{"max_leases: 5", "keys: is missing"},
		{key + ", max_leases: 0", "max_leases: has to be more than 0"},
		{key + ", limits: {failures: -1}", "limits.failures: must not be negative"},
		{key + ", always_allowed_ips: [192.168.1.5/24]", "write 192.168.1.0/24"},
		{key + ", excluded_paths: [/a/..]", "excluded_paths[0]: has to begin"},
		{key + ", excluded_paths: [/]", "excluded_paths[0]: would open every path"},
		{key + ", excluded_paths_by_host: {a.example.com: [b]}", "excluded_paths_by_host.a.example.com[0]: has to begin"},
		{key + ", leases: [{address: 1.2.3.4}]", "leases[0].expires: is missing"},
		{key + ", leases: [{address: 1.2.3.4, expires: 2030-01-01T00:00:00Z}]", ""},
	} {
		_, problems := config.Parse([]byte("version: 1\nproviders: [{name: door, kind: knock, "+row.yaml+"}]\n"), "akprox.yaml", kinds, []string{"disk"})
		got := fmt.Sprint(problems.Err())
		if row.want == "" && problems != nil || !strings.Contains(got, row.want) {
			t.Errorf("%s: %s, want %q", row.yaml, got, row.want)
		}
	}
}
