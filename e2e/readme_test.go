package e2e_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// TestSixLines has people sign in through the few lines of a Caddyfile that
// README.md and docs/getting-started.md show for a first look.
func TestSixLines(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^( *)```caddyfile\n(.*?)^ *```$")
	var shown []string
	for _, page := range []string{"../README.md", "../docs/getting-started.md"} {
		m := block.FindStringSubmatch(readFile(t, page))
		if m == nil {
			t.Fatalf("%s shows no Caddyfile", page)
		}
		shown = append(shown, regexp.MustCompile("(?m)^"+m[1]).ReplaceAllString(m[2], ""))
	}
	if shown[0] != shown[1] {
		t.Fatalf("the two pages differ:\n%s\n%s", shown[0], shown[1])
	}
	for _, which := range []string{parts.CaddyNew, parts.CaddyDebian} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			start := func(t *testing.T, s *stage, _ []string) {
				parts.Caddy(t, which, s.port, strings.NewReplacer("wiki.example.com", s.app, "127.0.0.1:9000", s.address, yourProgram, s.program).Replace(shown[0]))
			}
			s := newStage(t, front{name: which, start: start}, "forward_single", "dex")
			s.person(t).arrive(s.app+"/app?a=1&b=2", "alice")
			p := s.person(t)
			p.arrive(s.app+"/app", "alice")
			seedHeaders(t, p, true)
			seedPrograms(t, s)
			t.Run("forged control headers", func(t *testing.T) { forgedControlHeaders(t, s) })
			t.Run("sign out", func(t *testing.T) { signOut(t, s) })
		})
	}
}
