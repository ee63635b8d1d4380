package parts

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// planted is a secret with characters that have several spellings.
const planted = "planted/secret+of-the?search~0123456789&abcdef"

// TestLeaksAreFound plants a secret in each form, and some texts that are good.
func TestLeaksAreFound(t *testing.T) {
	var r registry
	r.add("planted", planted)
	r.add("short", "word")
	r.add("plain", "aaaaaaaaaaaaaaaaaaaaaaaa")
	r.add("a small one", "0123-pass-45")
	std, urls := base64.StdEncoding.EncodeToString, base64.URLEncoding.EncodeToString
	for name, text := range map[string]string{
		"raw":                       planted,
		"in JSON":                   `{"msg":"` + planted + `"}`,
		"in a query":                url.QueryEscape(planted),
		"in a path":                 url.PathEscape(planted),
		"in hex":                    hex.EncodeToString([]byte(planted)),
		"in base64":                 std([]byte(planted)),
		"in base64url":              urls([]byte(planted)),
		"in Basic":                  std([]byte("me:" + planted)),
		"in Basic of another":       std([]byte("bob:" + planted)),
		"its first half":            planted[:len(planted)/2+2],
		"its second half":           planted[len(planted)/2-2:],
		"a small one":               "x0123-pass-45x",
		"a JWT that nobody knows":   "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln",
		"a cookie that nobody sent": "MTc5MDAwMDAwMHx" + strings.Repeat("Ab0_", 25),
	} {
		if got := r.leaks("some text before " + text + " and after"); len(got) == 0 {
			t.Errorf("%s is not found: %s", name, text)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a word": "a word and aaaaaaaaaaaaaaaaaaaaaaaa", "a piece": "planted/secret of something else",
		"a log line": `{"time":"2026-01-02T03:04:05Z","level":"info","msg":"abc-1","path":"/a"}`,
	} {
		if got := r.leaks(text); len(got) > 0 {
			t.Errorf("%s is a leak: %v", name, got)
		}
	}
}

// TestALeakOfAProcessIsFound runs something in the place of akprox that tells
// secrets of each source: of its document, of its store and of its clients, in
// its log, on its metrics listener, and to its clients.
func TestALeakOfAProcessIsFound(t *testing.T) {
	Need(t)
	const (
		inDocument = "the-client-secret-of-the-planted-document"
		inStore    = "the-refresh-token-of-the-planted-store"
		cookie     = "the-cookie-value-of-the-planted-session"
		state      = "the-state-of-the-planted-sign-in-9876"
	)
	dir := t.TempDir()
	metrics := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "akprox_calls{token=%q} 1\n", inStore)
	}))
	defer metrics.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/sets":
			http.SetCookie(w, &http.Cookie{Name: "akprox_01234567", Value: cookie})
		case "/tells":
			_, _ = w.Write([]byte("you sent " + r.Header.Get("Cookie")))
		case "/echo":
			_, _ = w.Write([]byte(`{"BodySHA256":"","Header":"` + r.Header.Get("Cookie") + `"}`))
		case "/issuer":
			w.Header().Set("Location", "http://id.example.test/auth?response_type=code&state="+state)
			w.WriteHeader(http.StatusFound)
		case "/wrong":
			w.Header().Set("Location", "/error?state="+state)
			w.WriteHeader(http.StatusFound)
		}
	}))
	defer server.Close()
	config := fmt.Sprintf(`server: { metrics: %q }
store: { kind: disk, path: store }
providers: [ { client_secret: { value: %s } } ]
`, strings.TrimPrefix(metrics.URL, "http://"), inDocument)
	file := write(t, dir, "akprox.yaml", config)
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "store"), "akprox.db", `....{"identity":{},"refresh":"`+inStore+`"}....`)
	p := &Process{t: t, cmd: Cmd{Name: "akprox", Path: "/bin/sh", Args: []string{"run", "--config", file}, Dir: dir}}
	client := Client(t)
	for path, want := range map[string]int{"/sets": 0, "/tells": 1, "/echo": 0, "/issuer": 0, "/wrong": 1} {
		for range 2 { // the first time the cookie may not be there yet
			resp, err := client.Get(server.URL + "/sets")
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			replies.take(func(reply) bool { return true })
			if resp, err = client.Get(server.URL + path); err != nil {
				t.Fatal(err)
			}
			_, _ = resp.Body.Read(make([]byte, 1024))
			_ = resp.Body.Close()
		}
		if got := p.leaks(""); len(got) != want {
			t.Errorf("%s: %d leaks, not %d: %v", path, len(got), want, got)
		}
	}
	for _, secret := range []string{inDocument, inStore, cookie, state} {
		q := &Process{t: t, cmd: p.cmd}
		_, _ = q.out.Write([]byte("level=debug msg=" + secret + "\n"))
		if got := q.leaks(""); len(got) != 1 {
			t.Errorf("%s in the log: %v", secret, got)
		}
	}
	running := &Process{t: t, cmd: p.cmd}
	running.cmd.Path, running.cmd.Args = "/bin/sh", []string{"-c", "sleep 60"}
	running.start()
	defer running.Stop()
	running.cmd.Args = p.cmd.Args
	if got := running.leaks(running.scrape()); len(got) == 0 || !strings.Contains(got[0], "metrics listener") {
		t.Errorf("in a metric: %v", got)
	}
}
