package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
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
	for _, which := range []string{parts.CaddyNew, parts.CaddyKeeps, parts.CaddyDebian} {
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
			t.Run("forged identity", func(t *testing.T) { forgedIdentity(t, s) })
			t.Run("forged control headers", func(t *testing.T) { forgedControlHeaders(t, s) })
			t.Run("sign out", func(t *testing.T) { signOut(t, s) })
		})
	}
}

// forgedIdentity: what a client says about who it is, where nobody is known,
// does not reach the program, also through a Caddy that would let it pass.
func forgedIdentity(t *testing.T, s *stage) {
	for _, name := range []string{"X-Auth-Username", "X-Auth-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-User"} {
		r := s.person(t).send(http.MethodGet, s.app+"/public/x", with(navigation, name, "root"), nil)
		if r.status == http.StatusOK && strings.Contains(r.body, "root") || r.status != http.StatusOK && r.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
		if s.front.name == parts.CaddyKeeps && r.status != http.StatusBadRequest {
			t.Errorf("%s: %d, though this Caddy would keep it", name, r.status)
		}
	}
	if r := s.person(t).get(s.app + "/public/x"); r.status != http.StatusOK {
		t.Errorf("nobody, who claims nothing: %d", r.status)
	}
}

// TestWhatCaddysKeep shows why akprox refuses some requests of Caddys: one of
// these versions hands a client's own header on where forward_auth's answer
// has none or an empty one. If it did not, it would be the wrong part.
func TestWhatCaddysKeep(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	behind := strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Empty", "") }))
	t.Cleanup(auth.Close)
	for _, which := range []string{parts.CaddyNew, parts.CaddyKeeps, parts.CaddyDebian} {
		t.Run(which, func(t *testing.T) {
			t.Parallel()
			s := &stage{port: parts.Port(t)}
			s.app = s.origin(appHost)
			parts.Caddy(t, which, s.port, fmt.Sprintf("%s {\n\tforward_auth %s {\n\t\turi /\n\t\tcopy_headers X-None X-Empty\n\t}\n\treverse_proxy %s\n}\n", s.app, strings.TrimPrefix(auth.URL, "http://"), behind))
			told := s.person(t).send(http.MethodGet, s.app+"/", with(program, "X-None", "root", "X-Empty", "root"), nil).echo(t).Header
			for _, name := range []string{"X-None", "X-Empty"} {
				if kept := strings.Contains(strings.Join(told[name], "\n"), "root"); kept != (which == parts.CaddyKeeps) {
					t.Errorf("the client's %s is handed on: %v", name, kept)
				}
			}
		})
	}
}
