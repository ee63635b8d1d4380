package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

var haproxy = front{name: "haproxy", snippet: "haproxy", start: startHAProxy}

func startHAProxy(t *testing.T, s *stage, printed []string) {
	for i, text := range printed {
		printed[i] = strings.ReplaceAll(text, yourProgram, s.program)
	}
	cfg, files := haproxyFiles(t, printed)
	cfg = strings.Replace(cfg, fmt.Sprintf("bind :%d", s.port), fmt.Sprintf("bind 127.0.0.1:%d", s.port), 1) // loopback alone
	parts.HAProxy(t, s.port, cfg, files)
}

// haproxyFiles takes what is printed for some applications apart into one
// configuration and the Lua files that it loads, as a person does who has all
// of them behind one frontend.
func haproxyFiles(t *testing.T, printed []string) (cfg string, lua map[string]string) {
	t.Helper()
	var sections []string
	lines, lua := map[string][]string{}, map[string]string{}
	for _, text := range printed {
		config, script, ok := strings.Cut(text, "\n# File 2: /etc/haproxy/")
		name, script, hasName := strings.Cut(script, ", from the next line on\n")
		if !ok || !hasName {
			t.Fatalf("there are no two files in\n%s", text)
		}
		lua[name] = script
		section := ""
		for line := range strings.Lines(config) {
			if line[0] != ' ' && line[0] != '#' && strings.TrimSpace(line) != "" {
				section = line
				if !slices.Contains(sections, section) {
					sections = append(sections, section)
				}
				continue
			}
			if strings.TrimSpace(line) != "" && !slices.Contains(lines[section], line) {
				lines[section] = append(lines[section], line)
			}
		}
	}
	var b strings.Builder
	for _, section := range sections {
		b.WriteString(section + strings.Join(lines[section], ""))
	}
	return strings.ReplaceAll(b.String(), "/etc/haproxy/", ""), lua
}

// TestHAProxyFailsClosed: whatever becomes of akprox or of the Lua action,
// nobody gets through.
func TestHAProxyFailsClosed(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	for name, c := range map[string]struct {
		outpost string
		change  func(lua string) string
	}{
		"nobody listens":      {fmt.Sprintf("127.0.0.1:%d", parts.Port(t)), nil},
		"nobody answers":      {silent.Addr().String(), func(lua string) string { return strings.Replace(lua, "timeout = 10000", "timeout = 300", 1) }},
		"it answers nonsense": {answering(t, "SSH-2.0-x\r\n"), nil},
		"it answers 204":      {answering(t, "HTTP/1.1 204 No Content\r\n\r\n"), nil},
		"it answers 101":      {answering(t, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), nil},
		"it answers 600":      {answering(t, "HTTP/1.1 600 What\r\nContent-Length: 0\r\n\r\n"), nil},
		"the answer is cut":   {answering(t, "HTTP/1.1 200 OK\r\nContent-Le"), nil},
		"the action has fault": {answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), func(lua string) string {
			return strings.Replace(lua, "for _, name in ipairs(told) do", "local nothing = nil; nothing()\n    for _, name in ipairs(told) do", 1)
		}},
		"a fault behind the answer": {answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), func(lua string) string {
			return strings.Replace(lua, "local status =", "local nothing = nil; nothing()\n    local status =", 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, program := parts.Port(t), strings.TrimPrefix(parts.Upstream(t).URL, "http://")
			text := snippetOf(t, "haproxy", c.outpost, fmt.Sprintf("http://%s:%d", appHost, port))
			cfg, lua := haproxyFiles(t, []string{strings.ReplaceAll(text, yourProgram, program)})
			for file, script := range lua {
				if c.change != nil {
					changed := c.change(script)
					if changed == script {
						t.Fatal("the change does not fit the script any more")
					}
					lua[file] = changed
				}
			}
			parts.HAProxy(t, port, cfg, lua)
			start := time.Now()
			s := &stage{app: fmt.Sprintf("http://%s:%d", appHost, port)}
			for range 2 {
				r := s.person(t).get(s.app + "/")
				if r.status != http.StatusServiceUnavailable {
					t.Errorf("%d %v %s", r.status, r.header, r.body)
				}
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestHAProxyHandsARefusalOn: people and programs see what akprox says, all of
// it, and nothing of its connection.
func TestHAProxyHandsARefusalOn(t *testing.T) {
	t.Parallel()
	body := strings.Repeat("why ", 8<<10)
	outpost := answering(t, fmt.Sprintf("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\nRetry-After: 7\r\n"+
		"Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT\r\nContent-Type: text/plain\r\n"+
		"Keep-Alive: timeout=5\r\nX-Auth-Username: root\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	port := parts.Port(t)
	app := fmt.Sprintf("http://%s:%d", appHost, port)
	text := snippetOf(t, "haproxy", outpost, app)
	cfg, lua := haproxyFiles(t, []string{strings.ReplaceAll(text, yourProgram, strings.TrimPrefix(parts.Upstream(t).URL, "http://"))})
	parts.HAProxy(t, port, cfg, lua)
	s := &stage{app: app}
	r := s.person(t).get(app + "/")
	if r.status != http.StatusUnauthorized || r.body != body {
		t.Errorf("%d and %d bytes", r.status, len(r.body))
	}
	for name, want := range map[string]string{
		"Www-Authenticate": `Bearer realm="x"`, "Retry-After": "7", "Set-Cookie": "a=1; Path=/|b=2; Expires=Thu, 01 Jan 2032 00:00:00 GMT",
		"Content-Type": "text/plain", "Keep-Alive": "", "Cache-Control": "no-store",
	} {
		if got := strings.Join(r.header[name], "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if r := s.person(t).send(http.MethodHead, app+"/", navigation, nil); r.status != http.StatusUnauthorized || len(r.body) > 0 {
		t.Errorf("HEAD: %d and %d bytes", r.status, len(r.body))
	}
}

// answering answers the address of a listener that answers whatever it is
// asked with text, and hangs up.
func answering(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = conn.Write([]byte(text))
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// snippetOf answers what is printed for one application, guarded by an akprox
// that is said to listen at http.
func snippetOf(t *testing.T, name, http, external string, server ...string) string {
	t.Helper()
	return snippets(t, name, fmt.Sprintf(`version: 1
server: { http: %q%s }
providers:
  - { name: people, kind: password, users: [ { username: john, password: "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy" } ] }
applications:
  - { name: app, mode: forward_single, external_url: %q, credentials: [people] }
`, http, strings.Join(append([]string{""}, server...), ", "), external), []string{"app"})[0]
}
