package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// discard is a ResponseWriter that costs nothing.
type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)               {}

// BenchmarkForward is one auth request without the network: what a decision
// adds to a bare server.
func BenchmarkForward(b *testing.B) {
	for name, decisions := range map[string]string{"logged": "all", "refusals logged": "refused"} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, "store: { kind: memory }", "store: { kind: memory }\nlog: { decisions: "+decisions+" }")
			alice := w.browser()
			w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
			r := httptest.NewRequest("GET", "/akprox/auth/traefik", nil)
			r.RemoteAddr = "127.0.0.1:4711"
			for _, line := range []string{
				cookies(alice, "wiki.example.test"), "X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test",
				"X-Forwarded-Uri: /page/of/a/wiki?id=42", "X-Forwarded-Method: GET", "X-Forwarded-For: 198.51.100.7",
				"Accept: text/html", "User-Agent: Mozilla/5.0",
			} {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Set(name, value)
			}
			b.ReportAllocs()
			for b.Loop() {
				w.live.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
