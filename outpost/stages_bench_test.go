package outpost

import (
	"fmt"
	"testing"

	"github.com/akprox/akprox/outpost/canon"
)

// Find, rules and headers are stages of an auth request; Decide holds the last
// two and the credential kinds.

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprint(n, " applications"), func(b *testing.B) {
			apps := make([]*Application, n)
			for i := range apps {
				apps[i] = &Application{External: External{Scheme: "https", Host: fmt.Sprint("app", i, ".example.com"), Path: "/"}}
			}
			as := NewApplications(apps)
			r := &Request{Host: "app0.example.com"}
			r.Path, _, _ = canon.SplitURI("/a/b/c")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := as.Find(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRules(b *testing.B) {
	for _, n := range []int{2, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			list := make([]Rule, n)
			for i := range list {
				list[i] = Rule{Name: fmt.Sprint(i), Admit: SignedIn, Paths: []canon.Glob{canon.NewGlob(fmt.Sprintf("/area%d/**", i)), canon.NewGlob(fmt.Sprintf("/old/*/area%d", i))}}
			}
			rules := NewRules(list)
			for name, path := range map[string]string{"none fits": "/a/b/c", "the last fits": fmt.Sprintf("/area%d/x", n-1), "all look": "/old/x/y"} {
				b.Run(name, func(b *testing.B) {
					r := &Request{Method: "GET", Host: "wiki.example.com"}
					r.Path, _, _ = canon.SplitURI(path)
					var buf [4]*Rule
					b.ReportAllocs()
					for b.Loop() {
						if _, reason := rules.Match(r, buf[:0]); reason != "" {
							b.Fatal(reason)
						}
					}
				})
			}
		})
	}
}

func BenchmarkHeaders(b *testing.B) {
	m, err := NewHeaderMap("authentik", "", nil, Meta{Application: "wiki"})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("made before", func(b *testing.B) {
		id := &Identity{Username: "alice", Groups: []string{"staff", "admin"}}
		b.ReportAllocs()
		for b.Loop() {
			m.Headers(id)
		}
	})
	b.Run("made anew", func(b *testing.B) {
		id := &Identity{Username: "alice", Groups: []string{"staff", "admin"}}
		b.ReportAllocs()
		for b.Loop() {
			m.render(id)
		}
	})
}
