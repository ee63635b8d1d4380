package canon

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHostHasOneForm(t *testing.T) {
	for _, row := range []struct{ name, scheme, host, want string }{
		{"plain", "https", "wiki.example.com", "wiki.example.com"},
		{"tinyauth CVE-2026-77560: upper case", "https", "PRIV.example.com", "priv.example.com"},
		{"tinyauth CVE-2026-77560: default port", "https", "priv.example.com:443", "priv.example.com"},
		{"tinyauth CVE-2026-77560: trailing dot", "https", "priv.example.com.", "priv.example.com"},
		{"trailing dot before a port", "https", "priv.example.com.:443", "priv.example.com"},
		{"the other scheme's port stays", "http", "a.example.com:443", "a.example.com:443"},
		{"port without its zeros", "http", "a.example.com:0080", "a.example.com"},
		{"IPv6", "https", "[2001:DB8:0::1]:443", "[2001:db8::1]"},
		{"IPv6 with a port", "https", "[::1]:8443", "[::1]:8443"},
		{"IPv4", "http", "127.0.0.1:9000", "127.0.0.1:9000"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Host(row.scheme, row.host)
			if err != nil || got != row.want {
				t.Errorf("Host(%q, %q) = %q, %v; want %q", row.scheme, row.host, got, err, row.want)
			}
		})
	}
}

func TestWhatIsNoHostIsRefused(t *testing.T) {
	for _, host := range []string{
		"", ".", "..", "a..b", ".a", "a b", "a\tb", "a\x00b", "a/b", `a\b`, "a@b", "adm.example.com@pub.example.com", "a,b",
		"a:", "a:0", "a:65536", "a:+80", "a:80:80", "[::1", "::1", "[::1%eth0]", "[1.2.3.4]", "[::1]x", "ä.example", "a_b.example",
		"a%2eb", "a#b", "a?b", strings.Repeat("a", 254),
	} {
		if got, err := Host("https", host); err == nil {
			t.Errorf("Host(%q) = %q; want it refused", host, got)
		} else if refused := new(Refused); !errors.As(err, &refused) || refused.Reason != BadHost {
			t.Errorf("Host(%q): %v; want the reason %s", host, err, BadHost)
		}
	}
}

func TestSchemesAndMethods(t *testing.T) {
	for in, want := range map[string]string{"http": "http", "HTTPS": "https", "wss": "https", "ws": "http"} {
		if got, err := Scheme(in); err != nil || got != want {
			t.Errorf("Scheme(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "javascript", "ftp", "https, http", "http:"} {
		if got, err := Scheme(in); err == nil {
			t.Errorf("Scheme(%q) = %q; want it refused", in, got)
		}
	}
	for in, want := range map[string]string{"": "", "get": "GET", "M-SEARCH": "M-SEARCH", "VERSION_CONTROL": "VERSION_CONTROL"} {
		if got, err := Method(in); err != nil || got != want {
			t.Errorf("Method(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"GET POST", "GET,POST", "G\x00T", "G3T", strings.Repeat("A", 33)} {
		if got, err := Method(in); err == nil {
			t.Errorf("Method(%q) = %q; want it refused", in, got)
		}
	}
}

func TestReadings(t *testing.T) {
	for _, row := range []struct {
		raw  string
		want []string // must be among the readings; a single one is the only
	}{
		{"/", []string{"/"}},
		{"/a/b.c", []string{"/a/b.c"}},
		{"/a%20b", []string{"/a b"}},
		{"/caf%C3%A9", []string{"/café"}},
		{"/%61dmin", []string{"/admin"}},
		{"/...", []string{"/..."}},
		{"/a/../admin", []string{"/a/../admin", "/admin"}},
		{"/public/%2e%2e/admin", []string{"/public/%2e%2e/admin", "/admin"}},
		{"/public/..%2fadmin", []string{"/public/..%2fadmin", "/public/../admin", "/admin"}},
		{"/api/projects/group%2Fname", []string{"/api/projects/group%2Fname", "/api/projects/group/name"}},
		{"/public/..%252fadmin", []string{"/public/..%2fadmin", "/admin"}},
		{"/healthz/..;/private", []string{"/healthz/../private", "/private"}},
		{"/a;x=/../b", []string{"/a/../b", "/b"}},
		{"/a;x=%2f..%2fb", []string{"/a", "/b"}},
		{`/healthz/..\private`, []string{"/private"}},
		{"/healthz/..%5cprivate", []string{"/private"}},
		{"//healthz", []string{"//healthz", "/healthz"}},
		{"/foo/secret%23/bar", []string{"/foo/secret"}},
		{"/foo/secret%3f/bar", []string{"/foo/secret"}},
		{"/./admin", []string{"/./admin", "/admin"}},
		{"/a/.", []string{"/a/"}},
		{"/a/..", []string{"/"}},
		{"/..", []string{"/"}},
		{"/100%25", []string{"/100%25", "/100%"}},
	} {
		t.Run(row.raw, func(t *testing.T) {
			p, err := ReadPath(row.raw)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for i := range p.Len() {
				got = append(got, p.Reading(i))
			}
			for _, want := range row.want {
				if !slices.Contains(got, want) {
					t.Errorf("readings %q lack %q", got, want)
				}
			}
			if _, plain := p.Plain(); plain != (len(row.want) == 1 && len(got) == 1) && len(row.want) == 1 && row.want[0] == got[0] {
				t.Errorf("plain = %v for the readings %q", plain, got)
			}
		})
	}
}

func TestPlainPathsHaveOneReading(t *testing.T) {
	for _, raw := range []string{"/", "/a", "/a/", "/a/b-c_d~e.f", "/a%20b", "/a:b@c,d=e!$&'()*+", "/%41", "/.well-known/x", "/a/..b"} {
		if p, err := ReadPath(raw); err != nil || p.Len() != 1 {
			t.Errorf("ReadPath(%q): %d readings, %v; want one", raw, p.Len(), err)
		}
	}
}

func TestPathsThatNobodySendsHonestly(t *testing.T) {
	for _, raw := range []string{
		"", "a", "@pub/x", "http://h/healthz", "/a#b", "/%zz", "/%", "/%2", "/a\x00", "/a%00", "/a%2500", "/a\n", "/a%0d", "/\xff", "/%ff",
		"/%c0%ae", "/admin x.css", "/a ", "/a\x7f", "/healthz/%00", "/" + strings.Repeat("%2f..;a/", 2000),
	} {
		if p, err := ReadPath(raw); err == nil {
			t.Errorf("ReadPath(%.40q): %d readings; want it refused", raw, p.Len())
		}
	}
}

func TestTheQueryIsNoPath(t *testing.T) {
	p, query, err := SplitURI("/admin?x=/public")
	if err != nil || p.Raw() != "/admin" || query != "x=/public" {
		t.Errorf("SplitURI = %q, %q, %v", p.Raw(), query, err)
	}
	for _, uri := range []string{"", "*", "admin", "/a?b#c", "/a?b\x00", "/a?b c", "/" + strings.Repeat("a", MaxURI)} {
		if _, _, err := SplitURI(uri); err == nil {
			t.Errorf("SplitURI(%.40q): want it refused", uri)
		}
	}
}

func TestSplitURL(t *testing.T) {
	for _, row := range []struct{ raw, scheme, host, uri string }{
		{"https://Wiki.example.com/a?b=c", "https", "wiki.example.com", "/a?b=c"},
		{"http://wiki.example.com:80", "http", "wiki.example.com", "/"},
		{"https://wiki.example.com?x=1", "https", "wiki.example.com", "/?x=1"},
	} {
		scheme, host, uri, err := SplitURL(row.raw)
		if err != nil || scheme != row.scheme || host != row.host || uri != row.uri {
			t.Errorf("SplitURL(%q) = %q, %q, %q, %v", row.raw, scheme, host, uri, err)
		}
	}
	for _, raw := range []string{
		"", "/a", "//evil/a", "javascript://x/", "https:/x", "https://", "https:///x", "https://\x00host/x",
		"https://user@host/", "https://user:pw@host/", "https://a b/", "https://[::1/",
	} {
		if _, host, _, err := SplitURL(raw); err == nil {
			t.Errorf("SplitURL(%q): host %q; want it refused", raw, host)
		}
	}
}

func TestGlobs(t *testing.T) {
	for _, row := range []struct {
		pattern string
		yes, no []string
	}{
		{"/", []string{"/"}, []string{"/a"}},
		{"/**", []string{"/", "/a", "/a/b"}, nil},
		{"/health", []string{"/health", "/health/"}, []string{"/healthz", "/Health", "/health/x", "/"}},
		{"/orders/**", []string{"/orders", "/orders/", "/orders/1/2"}, []string{"/ordersx", "/order"}},
		{"/a/*", []string{"/a/b", "/a/b/"}, []string{"/a", "/a/", "/a/b/c"}},
		{"/a/*/c", []string{"/a/b/c"}, []string{"/a/c", "/a/b/b/c"}},
		{"/a/*.js", []string{"/a/x.js", "/a/.js"}, []string{"/a/x.jsx", "/a/b/x.js"}},
		{"/a/x*y*z", []string{"/a/xyz", "/a/x1y2z"}, []string{"/a/xzy"}},
		{"/**/secret", []string{"/secret", "/a/secret", "/a/b/secret"}, []string{"/secret/a", "/asecret"}},
		{"/a/**/z", []string{"/a/z", "/a/b/c/z"}, []string{"/a", "/z"}},
		{"/api/*/status", []string{"/api/v1/status"}, []string{"/api/private"}},
		{"/page/*/area7/**", []string{"/page/x/area7", "/page/x/area7/y/z"}, []string{"/page/area7", "/page/x/area77", "/page/x/y/area7"}},
		{"/**/b/*/d/**", []string{"/b/c/d", "/a/b/b/c/d/e"}, []string{"/b/d", "/a/b/c/c/d"}},
		{"/a/*/a", []string{"/a/b/a"}, []string{"/a/a", "/a", "/a//a"}},
		{"/a*/**/*b", []string{"/a/b", "/ax/y/zb"}, []string{"/ab", "/b/b"}},
		{"/*ab*ab", []string{"/abab", "/abxab"}, []string{"/ab", "/aba"}},
	} {
		g := NewGlob(row.pattern)
		for _, path := range row.yes {
			if !g.Matches(TrimSlash(path)) {
				t.Errorf("%s does not match %s", row.pattern, path)
			}
		}
		for _, path := range row.no {
			if g.Matches(TrimSlash(path)) {
				t.Errorf("%s matches %s", row.pattern, path)
			}
		}
	}
}

// FuzzGlob holds patterns to what they mean: each segment is tried by
// definition, whatever that takes.
func FuzzGlob(f *testing.F) {
	for _, s := range [][2]string{
		{"/a/**/b/*/c", "/a/b/x/b/y/c"},
		{"/**/**/*a*", "/b/ab"},
		{"/*ab*ab*/", "/xababx"},
		{"/a//*/**", "/a//b"},
		{"/**/a/**/a", "/a/a//"},
		{"/a*/b", "/a/b"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		if len(pattern) > 12 || len(path) > 24 { // by definition is not quick
			return
		}
		pattern, path = "/"+pattern, TrimSlash("/"+path)
		g := NewGlob(pattern)
		want := fits(segmentsOf(TrimSlash(pattern)), segmentsOf(path))
		if got := g.Matches(path); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, path, got, want)
		}
		if first := g.First(); want && first != "" && FirstSegment(path) != first {
			t.Fatalf("%q matches %q, and says that all begin with %q", pattern, path, first)
		}
		if want && !strings.Contains(path, g.Holds()) {
			t.Fatalf("%q matches %q, and says that all hold %q", pattern, path, g.Holds())
		}
	})
}

func segmentsOf(path string) []string { return strings.Split(path, "/")[1:] }

// fits is what a pattern means, segment by segment.
func fits(pattern, path []string) bool {
	switch {
	case len(pattern) == 0:
		return len(path) == 0
	case pattern[0] == "**":
		return fits(pattern[1:], path) || len(path) > 0 && fits(pattern, path[1:])
	case len(path) == 0 || pattern[0] == "*" && path[0] == "":
		return false
	}
	return partFits(pattern[0], path[0]) && fits(pattern[1:], path[1:])
}

// partFits is what a segment of a pattern means, byte by byte.
func partFits(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return partFits(pattern[1:], s) || s != "" && partFits(pattern, s[1:])
	}
	return s != "" && pattern[0] == s[0] && partFits(pattern[1:], s[1:])
}

// TestHostilePathsCostLittle: paths that nearly fit, again and again, end.
func TestHostilePathsCostLittle(t *testing.T) {
	for _, row := range []struct{ pattern, path string }{
		{"/" + strings.Repeat("*a", 30) + "*b", "/" + strings.Repeat("a", 8000)},
		{strings.Repeat("/**/a", 30) + "/**/b/*", strings.Repeat("/a", 4000)},
		{strings.Repeat("/**", 30) + strings.Repeat("/a", 30) + "/*b*", strings.Repeat("/a", 4000)},
		{strings.Repeat("/**/*a*", 30) + "/*b*a*", strings.Repeat("/a", 4000) + "/b"},
	} {
		g := NewGlob(row.pattern)
		began := time.Now()
		if g.Matches(row.path) {
			t.Errorf("%s fits", row.pattern)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s took %s", row.pattern, took)
		}
	}
}

// FuzzReadPath holds what rules rely on: a path that is taken has at least one
// reading, each without a forbidden byte, and its decoded form, with the dot
// segments resolved or not, is among them.
func FuzzReadPath(f *testing.F) {
	for _, s := range []string{"/", "/a%2fb", "/a/../b", "/%2e%2e%5c", "/a;b/c", "/a%253fb", "//a//b/.", "/caf%c3%a9", "/..%252f..%252f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := ReadPath(raw)
		if err != nil {
			if p.Known() {
				t.Fatalf("%q is refused and known", raw)
			}
			return
		}
		if p.Len() < 1 || p.Len() > maxReadings {
			t.Fatalf("%q has %d readings", raw, p.Len())
		}
		var all []string
		for i := range p.Len() {
			r := p.Reading(i)
			if !strings.HasPrefix(r, "/") && r != "" {
				t.Fatalf("%q reads as %q", raw, r)
			}
			all = append(all, r)
		}
		decoded, _ := decode(raw)
		for _, want := range []string{decoded, resolveDots(decoded), resolveDots(mergeSlashes(decoded)), resolveDots(dropParameters(decoded))} {
			if !slices.Contains(all, want) {
				t.Fatalf("%q: readings %q lack %q", raw, all, want)
			}
		}
	})
}

// FuzzHost holds that a canonical host is its own canonical form and holds no
// byte that a URL or a header would take for something else.
func FuzzHost(f *testing.F) {
	for _, s := range []string{"a.b", "A.B:443", "[::1]:80", "a..b", "x@y", "1.2.3.4:5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		host, err := Host("https", raw)
		if err != nil {
			return
		}
		if again, err := Host("https", host); err != nil || again != host {
			t.Fatalf("%q → %q → %q, %v", raw, host, again, err)
		}
		if strings.ContainsAny(host, "/\\@?#% \t\r\n\x00,;\"'<>") || strings.ToLower(host) != host {
			t.Fatalf("%q → %q", raw, host)
		}
	})
}
