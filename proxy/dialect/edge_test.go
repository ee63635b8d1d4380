package dialect

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func edge(prefixes ...string) *Edge {
	e := &Edge{NginxOriginalURL: true}
	for _, p := range prefixes {
		e.Trusted = append(e.Trusted, netip.MustParsePrefix(p))
	}
	return e
}

func TestTheClientIsTheFirstStrangerFromTheRight(t *testing.T) {
	for _, row := range []struct {
		name  string
		lines []string
		want  string // "" is unknown
	}{
		{"one hop", []string{"198.51.100.7"}, "198.51.100.7"},
		{"what the client wrote is left of the truth", []string{"10.9.9.9, 198.51.100.7"}, "198.51.100.7"},
		{"past the trusted proxies", []string{"198.51.100.7, 10.0.0.2, 127.0.0.1"}, "198.51.100.7"},
		{"Knocker: lines are joined", []string{"203.0.113.9", "198.51.100.7"}, "198.51.100.7"},
		{"garbage left of the truth does not matter", []string{"unknown, 198.51.100.7"}, "198.51.100.7"},
		{"CVE-2023-36456, CVE-2024-47070: no address", []string{"a"}, ""},
		{"garbage on the way", []string{"198.51.100.7, x, 10.0.0.2"}, ""},
		{"an empty entry", []string{"198.51.100.7, , 10.0.0.2"}, ""},
		{"an empty line", []string{""}, ""},
		{"none", nil, ""},
		{"mapped IPv4 is IPv4", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a mapped trusted proxy is trusted", []string{"198.51.100.7, ::ffff:127.0.0.1"}, "198.51.100.7"},
		{"with a port", []string{"198.51.100.7:1234"}, "198.51.100.7"},
		{"IPv6", []string{"2001:DB8:0::1"}, "2001:db8::1"},
		{"IPv6 in brackets", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"a zone is no address", []string{"fe80::1%eth0"}, ""},
		{"leading zeros are no address", []string{"010.0.0.1"}, ""},
		{"all trusted: the leftmost", []string{"10.0.0.9, 10.0.0.2"}, "10.0.0.9"},
		{"more hops than anybody has", []string{strings.Repeat("10.0.0.2, ", maxHops) + "10.0.0.2"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := edge("127.0.0.0/8", "10.0.0.0/8").Client(http.Header{"X-Forwarded-For": row.lines})
			if got != (netip.Addr{}) && got.String() != row.want || got == (netip.Addr{}) && row.want != "" {
				t.Errorf("got %v, want %q", got, row.want)
			}
		})
	}
}

func TestWhoIsTrusted(t *testing.T) {
	for remote, want := range map[string]bool{
		"127.0.0.1:1234": true, "[::ffff:127.0.0.1]:1234": true, "192.0.2.1:1": false, "@": true, "": true, "nonsense": false, "[::1]:1": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		if _, got := edge("127.0.0.0/8").peer(r); got != want {
			t.Errorf("%q: trusted %v", remote, got)
		}
	}
	var zero Edge
	r := httptest.NewRequest("GET", "/", nil)
	if _, trusted := zero.peer(r); trusted {
		t.Error("the zero Edge trusts somebody")
	}
}

func FuzzClient(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "1.2.3.4, 10.0.0.1", "[::1]:1", ",", "a, 10.0.0.1", "::ffff:1.2.3.4%x"} {
		f.Add(s)
	}
	e := edge("10.0.0.0/8")
	f.Fuzz(func(t *testing.T, line string) {
		got := e.Client(http.Header{"X-Forwarded-For": {line}})
		if got.IsValid() && (got.Is4In6() || got.Zone() != "") {
			t.Fatalf("%q: %v", line, got)
		}
		// What anybody writes to the left of a good entry changes nothing.
		if again := e.Client(http.Header{"X-Forwarded-For": {line + ", 198.51.100.7"}}); again.String() != "198.51.100.7" {
			t.Fatalf("%q before a good entry: %v", line, again)
		}
	})
}

func TestWhoAsksForOurOwnPages(t *testing.T) {
	for _, row := range []struct{ name, peer, told, want string }{
		{"nobody in between", "198.51.100.7:1234", "", "198.51.100.7"},
		{"a stranger tells another address", "198.51.100.7:1234", "203.0.113.9", "198.51.100.7"},
		{"a trusted proxy tells", "127.0.0.1:1234", "203.0.113.9", "203.0.113.9"},
		{"a trusted proxy passes a lie on", "127.0.0.1:1234", "192.0.2.1, 203.0.113.9", "203.0.113.9"},
		{"a trusted proxy says nothing", "127.0.0.1:1234", "", "127.0.0.1"},
		{"a trusted proxy tells what is none", "127.0.0.1:1234", "a", "invalid IP"},
		{"an address in IPv6 clothes", "[::ffff:198.51.100.7]:1234", "", "198.51.100.7"},
		{"a unix socket", "@", "203.0.113.9", "203.0.113.9"},
		{"a unix socket says nothing", "@", "", "invalid IP"},
		{"no address at all", "x", "203.0.113.9", "invalid IP"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := ask("x")
			r.RemoteAddr = row.peer
			if row.told != "" {
				r.Header.Set("X-Forwarded-For", row.told)
			}
			if got := edge("127.0.0.0/8").From(r).String(); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}
