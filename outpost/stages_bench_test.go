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

// BenchmarkRules: of 2 to 1,000 rules none is about the path, or one, or each
// has to be looked at, since the path begins as all of their patterns do.
func BenchmarkRules(b *testing.B) {
	for _, n := range []int{2, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for _, row := range []struct{ name, pattern, path string }{
				{"none fits", "/area%d/**", "/a/b/c"},
				{"the last fits", "/area%d/**", fmt.Sprintf("/area%d/x", n-1)},
				{"all look", "/page/*/area%d/**", "/page/of/a/wiki"},
				{"all look, in all of the path", "/**/area%d/**", "/page/of/a/wiki"},
				{"all look, at its end", "/**/area%d", "/page/of/a/wiki"},
			} {
				b.Run(row.name, func(b *testing.B) {
					rules := NewRules(rulesOn(row.pattern, n))
					r := &Request{Method: "GET", Host: "wiki.example.com"}
					r.Path, _, _ = canon.SplitURI(row.path)
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

// rulesOn makes so many rules on the pattern, in which %d stands for a number.
func rulesOn(pattern string, n int) []Rule {
	list := make([]Rule, n)
	for i := range list {
		list[i] = Rule{Name: fmt.Sprint("rules[", i, "]"), Admit: SignedIn, Paths: []canon.Glob{canon.NewGlob(fmt.Sprintf(pattern, i))}}
	}
	return list
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
