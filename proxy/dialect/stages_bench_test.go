package dialect

import (
	"net/http"
	"net/netip"
	"testing"

	"github.com/akprox/akprox/outpost"
)

// BenchmarkRead is the first stage of an auth request, by dialect.
func BenchmarkRead(b *testing.B) {
	e := &Edge{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, NginxOriginalURL: true}
	browser := []string{"Accept: text/html,application/xhtml+xml", "User-Agent: Mozilla/5.0", "Accept-Language: en", "Cookie: a=b"}
	for _, d := range All() {
		b.Run(d.Name(), func(b *testing.B) {
			lines := append(forwardedLines(), browser...)
			if d.Name() == "nginx" {
				lines = append([]string{"X-Original-URL: https://wiki.example.com/a?b=c", "X-Original-Method: GET", "X-Forwarded-For: 198.51.100.7"}, browser...)
			}
			r := ask("wiki.example.com", lines...)
			r.RequestURI = "/a?b=c"
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Read(r, e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// nothing is a ResponseWriter that costs nothing.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header         { return n.h }
func (n nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) WriteHeader(int)               {}

// BenchmarkWrite is the last stage of an auth request.
func BenchmarkWrite(b *testing.B) {
	m, err := outpost.NewHeaderMap("", "", nil, outpost.Meta{})
	if err != nil {
		b.Fatal(err)
	}
	alice := &outpost.Identity{Subject: "1", Username: "alice", Email: "alice@example.com", Groups: []string{"staff"}}
	person := &outpost.Request{Navigation: true, Page: true}
	signIn := outpost.Decision{Outcome: outpost.SignIn, Reason: outpost.ReasonNoSession, Location: "https://wiki.example.com/akprox/start?rd=x", Challenge: `Bearer realm="wiki"`}
	for name, a := range map[string]Answer{
		"allow":    {Decision: outpost.Decision{Outcome: outpost.Allow, Headers: m.Headers(alice)}, Request: person},
		"redirect": {Decision: signIn, Request: person, RequestID: "1"},
		"401":      {Decision: signIn, Request: &outpost.Request{}, RequestID: "1"},
		"401 JSON": {Decision: signIn, Request: &outpost.Request{JSON: true}, RequestID: "1"},
		"page":     {Decision: outpost.Decision{Outcome: outpost.Forbidden, Reason: outpost.ReasonGroup}, Request: person, RequestID: "1"},
	} {
		b.Run(name, func(b *testing.B) {
			r := ask("wiki.example.com")
			w := nothing{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.h)
				forwarded{name: "traefik"}.Write(w, r, a)
			}
		})
	}
}
