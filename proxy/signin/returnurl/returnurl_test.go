package returnurl

import (
	"net/url"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
)

var own = []string{"/akprox", "/outpost.goauthentik.io"}

func app(name, scheme, host, path, domain string) *outpost.Application {
	return &outpost.Application{Name: name, External: outpost.External{Scheme: scheme, Host: host, Path: path}, Domain: domain}
}

func standard() *outpost.Applications {
	return outpost.NewApplications([]*outpost.Application{
		app("wiki", "https", "wiki.example.com", "/", ""),
		app("docs", "https", "wiki.example.com", "/docs", ""),
		app("ported", "https", "ported.example.com:8443", "/", ""),
		app("everything", "https", "auth.example.org", "/", "example.org"),
		app("bare", "http", "bare.example.com", "/", ""),
	})
}

func TestAnotherParameterName(t *testing.T) {
	for query, want := range map[string]string{
		"redirect=%2Ftest%3Fa%3D1%26b%3D2": "/test?a=1&b=2", "reason=x&redirect=/a,b": "/a,b", "rd=/x": "", "redirect=/a&redirect=/b": "/a",
	} {
		if got, _ := Asked(query, "redirect"); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

func TestHostIsWhatTheBrowserShows(t *testing.T) {
	for rd, want := range map[string]string{"https://git.example.org/x": "git.example.org", "/x": "wiki.example.com", "https://ported.example.com:8443/": "ported.example.com:8443"} {
		got, _ := Resolve(standard(), own, "wiki.example.com", rd)
		if got.Host() != want {
			t.Errorf("%s: %s, want %s", rd, got.Host(), want)
		}
	}
}

func TestReturnURL(t *testing.T) {
	const homeURL = "https://wiki.example.com/"
	apps := standard()
	for _, row := range []struct{ name, query, want string }{
		{"a path comes back", "rd=/app", "https://wiki.example.com/app"},
		{"nginx does not escape: the whole query belongs to rd", "rd=/app?a=1&b=2", "https://wiki.example.com/app?a=1&b=2"},
		{"an unescaped URL of the own host", "rd=https://wiki.example.com/app?a=1&b=2", "https://wiki.example.com/app?a=1&b=2"},
		{"an unescaped URL with an rd of its own", "rd=/login?x=1&rd=/y", "https://wiki.example.com/login?x=1&rd=/y"},
		{"an escaped path ends at the next parameter", "rd=%2Fapp%3Fa%3D1%26b%3D2&other=3", "https://wiki.example.com/app?a=1&b=2"},
		{"an escaped URL", "rd=https%3A%2F%2Fwiki.example.com%2Fapp%3Fa%3D1%26b%3D%2520", "https://wiki.example.com/app?a=1&b=%20"},
		{"ingress-nginx escapes only the path", "rd=https://wiki.example.com%2Fapp%3Fa%3D1%26b%3D2", "https://wiki.example.com/app?a=1&b=2"},
		{"ingress-nginx appends a second rd to a plain one", "rd=/app&rd=https://wiki.example.com%2Fapp", "https://wiki.example.com/app"},
		{"ingress-nginx appends a second rd to an escaped one", "rd=%2Fapp&rd=https://wiki.example.com%2Fother", "https://wiki.example.com/app"},
		{"a second rd cannot smuggle another host", "rd=/app&rd=https://evil.test/", "https://wiki.example.com/app"},
		{"something before rd", "x=1&rd=/app?a=1&b=2", "https://wiki.example.com/app?a=1&b=2"},
		{"a plus stays a plus", "rd=%2Fapp%3Fq=a%2Bb+c", "https://wiki.example.com/app?q=a+b+c"},
		{"escapes in an unescaped URL stay", "rd=/a%20b?q=%26", "https://wiki.example.com/a%20b?q=%26"},
		{"the fragment is dropped", "rd=%2Fapp%23%2Froute", "https://wiki.example.com/app"},
		{"other letters are escaped", "rd=%2Fr%25C3%25A9sum%25C3%25A9%3Fq%3D%C3%A9", "https://wiki.example.com/r%C3%A9sum%C3%A9?q=%C3%A9"},
		{"a guarded host of a domain", "rd=https://git.example.org/x?y=1", "https://git.example.org/x?y=1"},
		{"a domain's port is the browser's business", "rd=https://git.example.org:8443/x", "https://git.example.org:8443/x"},
		{"the scheme is the document's", "rd=http://git.example.org/x", "https://git.example.org/x"},
		{"an application that speaks http", "rd=https://bare.example.com/x", "http://bare.example.com/x"},
		{"the port is the document's", "rd=https://ported.example.com/x", "https://ported.example.com:8443/x"},
		{"a host in capitals", "rd=https://WIKI.Example.com/x", "https://wiki.example.com/x"},
		{"a host with its dot and port", "rd=https://wiki.example.com.:443/x", "https://wiki.example.com/x"},
		{"only the query", "rd=https://wiki.example.com?a=1", "https://wiki.example.com/?a=1"},
		{"a path with a URL in it", "rd=/proxy/https://other.test/x", "https://wiki.example.com/proxy/https://other.test/x"},
		{"an escaped slash stays escaped", "rd=/api/group%2Fname", "https://wiki.example.com/api/group%2Fname"},

		{"no rd at all", "", homeURL},
		{"an empty rd", "rd=", homeURL},
		{"rd as a part of another word", "word=/app", homeURL},
		{"a bad escape", "rd=%2Fapp%zz", homeURL},
		{"a path without its slash", "rd=app", homeURL},
		{"too long", "rd=/" + strings.Repeat("a", Max), homeURL},
		{"too long once it is escaped", "rd=/" + strings.Repeat("é", Max/4), homeURL},
		{"another host", "rd=https://evil.test/", homeURL},
		{"our own start: nobody would come back", "rd=/akprox/start", homeURL},
		{"our own sign-out", "rd=/akprox/sign_out", homeURL},
		{"our own sign-out under the alias", "rd=https://wiki.example.com/outpost.goauthentik.io/sign_out", homeURL},
		{"our own sign-out in disguise", "rd=/x/..%2fakprox/sign_out", homeURL},
		{"CVE-2017-1000070 two slashes", "rd=//evil.test/", homeURL},
		{"CVE-2017-1000070 two escaped slashes", "rd=%2F%2Fevil.test/", homeURL},
		{"CVE-2020-5233 slash backslash", `rd=/\evil.test`, homeURL},
		{"CVE-2020-5233 escaped backslash", "rd=%2F%5Cevil.test", homeURL},
		{"CVE-2020-5233 twice escaped backslash", "rd=%2F%255Cevil.test", homeURL},
		{"CVE-2020-11053 a tab between the slashes", "rd=/%09/evil.test", homeURL},
		{"CVE-2020-11053 an escaped tab", "rd=%2F%09%2Fevil.test", homeURL},
		{"CVE-2020-11053 a newline", "rd=%2F%0A%2Fevil.test", homeURL},
		{"CVE-2020-11053 a carriage return", "rd=%2F%0D%2Fevil.test", homeURL},
		{"CVE-2020-4037 a longer name", "rd=https://evilexample.org/", homeURL},
		{"CVE-2021-21291 dot slash backslash", `rd=/./\evil.test`, homeURL},
		{"CVE-2021-21291 dots that leave two slashes", "rd=/.//evil.test", homeURL},
		{"CVE-2021-29456 the domain as a beginning", "rd=https://example.org.evil.test/", homeURL},
		{"authentik domain level: a hyphen is no label's end", "rd=https://evil-example.org/", homeURL},
		{"authentik domain level: the domain in the query", "rd=https://evil.test/?https://git.example.org", homeURL},
		{"caddy-security 2024: an absolute URL elsewhere", "rd=https%3A%2F%2Fevil.test", homeURL},
		{"a user name before the host", "rd=https://wiki.example.com@evil.test/", homeURL},
		{"a user name that looks like a port", "rd=https://wiki.example.com:443@evil.test/", homeURL},
		{"a backslash instead of the slash", `rd=https://evil.test\@wiki.example.com/`, homeURL},
		{"a backslash after the host", `rd=https://wiki.example.com\.evil.test/`, homeURL},
		{"a backslash in the query", `rd=/x?y=\`, homeURL},
		{"backslashes instead of slashes", `rd=https:\\evil.test/`, homeURL},
		{"a scheme without slashes", "rd=https:evil.test", homeURL},
		{"three slashes", "rd=https:///evil.test", homeURL},
		{"another scheme", "rd=javascript://wiki.example.com/%250aalert(1)", homeURL},
		{"another scheme, escaped", "rd=javascript%3Aalert(1)", homeURL},
		{"data", "rd=data%3Atext%2Fhtml%2Cx", homeURL},
		{"a blank in front", "rd=%20https%3A%2F%2Fevil.test", homeURL},
		{"a tab in the scheme", "rd=ht%09tps%3A%2F%2Fevil.test", homeURL},
		{"an escaped host", "rd=https%3A%2F%2Fwiki%252eexample.com", homeURL},
		{"a host that turns to ASCII", "rd=https%3A%2F%2Fwiki.example%EF%BC%8Ecom", homeURL},
		{"a NUL", "rd=%2Fapp%00", homeURL},
		{"a NUL in the path", "rd=/app%00", homeURL},
		{"readings of different applications", "rd=/x/..%2fdocs", homeURL},
		{"a port that nobody guards", "rd=https://wiki.example.com:8443/", homeURL},
	} {
		t.Run(row.name, func(t *testing.T) {
			rd, _ := Asked(row.query, "rd")
			got, ok := Resolve(apps, own, "wiki.example.com", rd)
			if !ok {
				got = Home(apps, "wiki.example.com")
			}
			if got.URL != row.want {
				t.Errorf("got %s, want %s", got.URL, row.want)
			}
		})
	}
}

func TestTheLongestPathIsTheApplication(t *testing.T) {
	apps := standard()
	for path, want := range map[string]string{"/docs/a": "docs", "/docs": "docs", "/docsx": "wiki", "/": "wiki"} {
		if got, ok := Resolve(apps, own, "wiki.example.com", path); !ok || got.App.Name != want {
			t.Errorf("%s leads to %v, want %s", path, got.App, want)
		}
	}
}

func TestHomeOfAHostWithoutARootIsItsShortestPath(t *testing.T) {
	apps := outpost.NewApplications([]*outpost.Application{
		app("long", "https", "h.example.com", "/a/b", ""), app("short", "https", "h.example.com", "/c", ""),
	})
	if got := Home(apps, "h.example.com").URL; got != "https://h.example.com/c" {
		t.Error(got)
	}
}

// browserHost reads an absolute URL, or one relative to base, as the WHATWG
// URL standard does for http and https, as far as the host goes.
func browserHost(base, raw string) (scheme, host string) {
	raw = strings.TrimFunc(raw, func(r rune) bool { return r <= ' ' })
	raw = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(raw)
	raw = strings.ReplaceAll(raw, `\`, "/") // but for query and fragment, where it does not matter here
	before, after, _ := strings.Cut(raw, ":")
	switch before = strings.ToLower(before); {
	case before == "https" || before == "http" || before == "wss" || before == "ws":
		scheme, raw = before, strings.TrimLeft(after, "/")
	case strings.HasPrefix(raw, "//"):
		scheme, raw = "https", strings.TrimLeft(raw, "/")
	default:
		return "https", base
	}
	if i := strings.IndexAny(raw, "/?#"); i >= 0 {
		raw = raw[:i]
	}
	raw = raw[strings.LastIndexByte(raw, '@')+1:]
	if i := strings.LastIndexByte(raw, ':'); i >= 0 {
		raw = raw[:i]
	}
	if plain, err := url.PathUnescape(raw); err == nil {
		raw = plain
	}
	return scheme, strings.TrimSuffix(strings.ToLower(raw), ".")
}

func FuzzReturnURL(f *testing.F) {
	for _, seed := range []string{
		"rd=/app?a=1&b=2", "rd=https%3A%2F%2Fgit.example.org%2Fx", "rd=https://wiki.example.com%2Fapp&rd=/x", `rd=/\evil.test`,
		"rd=//evil.test", "rd=/%09/evil.test", "rd=/./\\evil.test", "rd=https://wiki.example.com@evil.test", "rd=https:evil.test",
		"rd=https://evil.test\\@wiki.example.com/", "rd=%20https://evil.test", "again=1&rd=/akprox/start", "rd=/x/..%2fakprox", "rd=/%c3%a9?\xc3\xa9",
	} {
		f.Add(seed)
	}
	apps := standard()
	f.Fuzz(func(t *testing.T, query string) {
		rd, _ := Asked(query, "rd")
		got, ok := Resolve(apps, own, "wiki.example.com", rd)
		if !ok {
			return
		}
		scheme, host := browserHost("wiki.example.com", got.URL)
		name, _, _ := strings.Cut(got.App.External.Host, ":")
		if scheme != got.App.External.Scheme || host != name && (got.App.Domain == "" || !strings.HasSuffix(host, "."+got.App.Domain) && host != got.App.Domain) {
			t.Errorf("%q: a browser goes to %s of %s", got.URL, host, scheme)
		}
		if _, asked := browserHost("wiki.example.com", rd); asked != host {
			t.Errorf("%q was read as %s, and a browser reads it as %s", rd, host, asked)
		}
		for i := 0; i < len(got.URL); i++ {
			if c := got.URL[i]; c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
				t.Errorf("%q holds the byte %#x", got.URL, c)
			}
		}
		again, ok := Resolve(apps, own, "wiki.example.com", got.URL)
		if !ok || again != got {
			t.Errorf("%q is judged otherwise at the callback: %q", got.URL, again.URL)
		}
	})
}
