package reverse

import (
	"net/http"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
)

// FuzzCookies: whatever a client sends, no cookie of ours is left, and what is
// left was there.
func FuzzCookies(f *testing.F) {
	const session = "sid"
	for _, line := range []string{"a=1; akprox_x=2; b", "akprox_", ";;akprox_a;", " \t akprox_a=1", "sid", "a=\"x;sid=1\"", "=akprox_a"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		h := http.Header{"Cookie": {line}}
		stripCookies(h, session)
		for _, kept := range h["Cookie"] {
			for pair := range strings.SplitSeq(kept, ";") {
				name, _, _ := strings.Cut(pair, "=")
				if ownCookie(strings.TrimSpace(name), session) {
					t.Errorf("%q left %q", line, kept)
				}
				if !strings.Contains(line, strings.TrimLeft(pair, " \t")) {
					t.Errorf("%q became %q", line, kept)
				}
			}
		}
		own := http.Header{"Set-Cookie": {line}}
		stripSetCookies(own, session)
		for _, c := range (&http.Response{Header: own}).Cookies() {
			if ownCookie(c.Name, session) {
				t.Errorf("%q sets %s", line, c.Name)
			}
		}
	})
}

func BenchmarkStripHeaders(b *testing.B) {
	fw := New(Options{})
	app := benchApplication(b)
	h := http.Header{}
	for _, name := range []string{
		"Accept", "Accept-Encoding", "Accept-Language", "Cookie", "User-Agent", "Referer", "Sec-Fetch-Mode", "Sec-Fetch-Site",
		"Sec-Fetch-Dest", "Upgrade-Insecure-Requests", "Cache-Control", "Priority", "Dnt", "Sec-Ch-Ua", "Sec-Ch-Ua-Platform",
	} {
		h.Set(name, "x")
	}
	b.ReportAllocs()
	for b.Loop() {
		fw.stripHeaders(h, app)
	}
}

func benchApplication(b *testing.B) *outpost.Application {
	m, err := outpost.NewHeaderMap("authentik", "", nil, outpost.Meta{})
	if err != nil {
		b.Fatal(err)
	}
	return &outpost.Application{Headers: m}
}
