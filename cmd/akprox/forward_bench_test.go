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
	for _, c := range []struct{ name, decisions, more string }{
		{"logged", "all", "COOKIE"},
		{"refusals logged", "refused", "COOKIE"},
		{"anonymous 302", "refused", "Accept: text/html"},
		{"anonymous 401", "refused", "Sec-Fetch-Mode: cors"},
		{"anonymous 401 JSON", "refused", "Accept: application/json"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, "store: { kind: memory }", "store: { kind: memory }\nlog: { decisions: "+c.decisions+" }")
			alice := w.browser()
			if c.more == "COOKIE" {
				w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
				c.more = cookies(alice, "wiki.example.test")
			}
			r := httptest.NewRequest("GET", "/akprox/auth/traefik", nil)
			r.RemoteAddr = "127.0.0.1:4711"
			for _, line := range []string{
				c.more, "X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test",
				"X-Forwarded-Uri: /page/of/a/wiki?id=42", "X-Forwarded-Method: GET", "X-Forwarded-For: 198.51.100.7",
				"User-Agent: Mozilla/5.0",
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
