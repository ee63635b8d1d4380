package dialect

import (
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

// FuzzForwardedFor holds the walk over X-Forwarded-For against a second one:
// all lines as one list, split at once, and judged from its right end.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range [][2]string{
		{"1.2.3.4", ""},
		{"1.2.3.4, 10.0.0.1", "10.0.0.2"},
		{"[::1]:1", "a"},
		{"0", "[::"},
		{"[1.2.3.4]", ""},
		{",", ","},
		{"::ffff:10.0.0.1", "10.1.1.1:80"},
		{"1.2.3.4:80 ", "\t10.0.0.9"},
		{"10.0.0.1", "10.0.0.2,10.0.0.3"},
		{"fe80::1%eth0", "10.0.0.1"},
		{"unknown", "10.0.0.1"},
		{"for=1.2.3.4", "_hidden"},
	} {
		f.Add(s[0], s[1])
	}
	e := edge("10.0.0.0/8", "::1/128")
	f.Fuzz(func(t *testing.T, first, second string) {
		got := e.Client(http.Header{"X-Forwarded-For": {first, second}})
		want := netip.Addr{}
		list := strings.Split(first+","+second, ",")
		for i := len(list) - 1; i >= 0; i-- {
			a, ok := plainAddress(list[i])
			if !ok || len(list)-i > maxHops {
				want = netip.Addr{}
				break
			}
			want = a
			if !strings.HasPrefix(a.String(), "10.") && a.String() != "::1" {
				break
			}
		}
		if got != want {
			t.Fatalf("%q, %q: %v, and the model says %v", first, second, got, want)
		}
	})
}

var (
	withPort = regexp.MustCompile(`^([0-9.]+|\[[^\[\]]*\]):[0-9]{1,5}$`)
	brackets = regexp.MustCompile(`^\[([^\[\]]*:[^\[\]]*)\]$`)
)

// plainAddress reads an address, with or without a port or brackets.
func plainAddress(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if withPort.MatchString(s) {
		if ap, err := netip.ParseAddrPort(s); err == nil {
			return ap.Addr().Unmap(), ap.Addr().Zone() == ""
		}
		return netip.Addr{}, false
	}
	s = brackets.ReplaceAllString(s, "$1")
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil && a.Zone() == ""
}

// FuzzOneHost holds that a query which tells another host than the one that is
// judged never passes.
func FuzzOneHost(f *testing.F) {
	for _, query := range []string{"", "nginx", "host=wiki.example.com", "host=WIKI.example.com:443", "a=b&host=admin.example.com", "host=", "host=[::1]", "host=%77iki.example.com"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if oneHost("wiki.example.com:8443", query) != nil {
			return
		}
		for _, part := range strings.Split(query, "&") {
			host, told := strings.CutPrefix(part, "host=")
			name, _, _ := strings.Cut(host, ":")
			if told && strings.TrimSuffix(strings.ToLower(name), ".") != "wiki.example.com" {
				t.Errorf("%q passes", query)
			}
		}
	})
}
