package outpost

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost/canon"
)

// TestRulesAreFoundAsIfReadInOrder: the rules that are looked at, chosen by a
// path's first segment, yield what all of them would.
func TestRulesAreFoundAsIfReadInOrder(t *testing.T) {
	words := []string{"a", "b", "ab", "*", "a*", "**", "x.y", ""}
	random := rand.New(rand.NewPCG(1, 2))
	some := func(most int) string {
		var b strings.Builder
		for range 1 + random.IntN(most) {
			b.WriteString("/" + words[random.IntN(len(words))])
		}
		return b.String()
	}
	found := 0
	for range 3000 {
		list := make([]Rule, 1+random.IntN(3*fewLooks))
		for i := range list {
			list[i] = Rule{Name: fmt.Sprint("rules[", i, "]"), Admit: SignedIn}
			for range random.IntN(3) {
				list[i].Paths = append(list[i].Paths, canon.NewGlob(some(3)))
			}
			if random.IntN(4) == 0 {
				list[i].Methods = []string{"POST"}
			}
		}
		indexed := NewRules(list)
		plain := indexed
		plain.list = slices.Clone(plain.list)
		for i := range plain.list {
			plain.list[i].holds = ""
		}
		plain.beneath, plain.anywhere = nil, plain.list
		for range 20 {
			path, err := canon.ReadPath(strings.ReplaceAll(some(4), "*", "%2f"))
			if err != nil {
				continue
			}
			for _, method := range []string{"GET", "POST", ""} {
				r := &Request{Method: method, Host: "h", Path: path}
				got, reason := indexed.Match(r, nil)
				want, wantReason := plain.Match(r, nil)
				if fmt.Sprint(names(got), reason) != fmt.Sprint(names(want), wantReason) {
					t.Fatalf("%s %s: %v %s, want %v %s", method, path.Raw(), names(got), reason, names(want), wantReason)
				}
				if want.last() != "default" {
					found++
				}
			}
		}
	}
	if found < 10_000 {
		t.Fatalf("only %d requests met a rule", found)
	}
}

// TestRulesAllocateNothing: not even where each of a thousand has to be looked
// at, since the path begins as all of their patterns do.
func TestRulesAllocateNothing(t *testing.T) {
	for _, pattern := range []string{"/area%d/**", "/page/*/area%d/**", "/**/area%d", "/**/area%d/**", "/*/*/*area%d*/**/x"} {
		rules := NewRules(rulesOn(pattern, 1000))
		r := &Request{Method: "GET", Host: "wiki.example.com"}
		r.Path, _, _ = canon.SplitURI("/page/of/a/wiki")
		var buf [4]*Rule
		allocated := testing.AllocsPerRun(20, func() {
			if d, reason := rules.Match(r, buf[:0]); reason != "" || d.last() != "default" {
				t.Error(d.last(), reason)
			}
		})
		if allocated > 0 {
			t.Errorf("%s: %.0f allocations", pattern, allocated)
		}
	}
}

func names(d Demand) []string {
	var all []string
	for _, r := range d.rules {
		all = append(all, r.Name)
	}
	return all
}
