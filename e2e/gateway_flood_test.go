package e2e_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

const (
	flooded = 100_000
	batch   = 100      // requests that are sent before their answers are read
	growth  = 64 << 20 // bytes
)

const floodDocument = `version: 1
server: { http: %q, https: "", metrics: "" }
store: { kind: memory }
log: { level: error }
providers:
  - { name: services, kind: apikey, keys: [ { name: alice, hash: "sha256:bd35668c642533653f36e20be537f8248a206589bed0bc0c41e89982a8b86666" } ] }
  - { name: tokens, kind: jwt, issuer: %q, audience: any }
  - { name: opaque, kind: introspection, url: "%s/introspect", auth: none, timeout: 10s }
applications:
  - { name: api, mode: forward_single, external_url: "http://api.example.test", credentials: [services, tokens, opaque], headers: { preset: gateway }, rate_limit: { requests: 50, per: 1m } }
`

// TestG9Flood: a hundred thousand bad tokens and keys, each from an address of
// its own, leave akprox as small as it was and good ones good. The issuer is a
// stand-in, which is quicker than a real one to say no. The race detector's
// own memory would be counted too, so the program is built without it.
func TestG9Flood(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		good := r.FormValue("token") == "a-good-token"
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"active":%v,"sub":"bob"}`, good)
	}))
	t.Cleanup(issuer.Close)
	dir := t.TempDir()
	program := filepath.Join(dir, "akprox")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", program, "../cmd/akprox").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port := parts.Port(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	document := filepath.Join(dir, "akprox.yaml")
	text := fmt.Sprintf(floodDocument, address, issuer.URL, issuer.URL)
	if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	akprox := parts.Start(t, parts.Cmd{Name: "akprox", Path: program, Args: []string{"run", "--config", document}, Dir: dir, Port: port})
	t.Cleanup(func() { faultless(t, akprox) })
	flood := func(from, to int) {
		t.Helper()
		start := time.Now()
		floodWith(t, address, from, to)
		t.Logf("%d in %v, VmRSS %d MiB", to-from, time.Since(start), resident(t, akprox.Pid())>>20)
	}
	flood(0, flooded/20) // what is allocated once
	before := resident(t, akprox.Pid())
	flood(flooded/20, flooded)
	after := resident(t, akprox.Pid())
	t.Logf("VmRSS %d MiB, then %d MiB", before>>20, after>>20)
	if after-before > growth {
		t.Errorf("%d bad tokens and keys cost %d MiB", flooded, (after-before)>>20)
	}
	c := client(t)
	for name, token := range map[string]string{"alice": testKey("alice"), "bob": "a-good-token"} {
		for range 3 {
			r := asTraefik(t, c, address, "http://api.example.test/x", bearer(token))
			if r.status != http.StatusOK || r.header.Get("X-User-Id") != name {
				t.Errorf("%s: %d %v", name, r.status, r.header)
			}
		}
	}
}

// resident answers how much memory a process holds, in bytes.
func resident(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(kilobytes)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// floodWith asks with the bad credentials of the numbers from to to, over a
// few connections.
func floodWith(t *testing.T, address string, from, to int) {
	t.Helper()
	var wg sync.WaitGroup
	const connections = 8
	share := (to - from) / connections
	for i := range connections {
		wg.Go(func() {
			if err := floodOver(address, from+i*share, from+(i+1)*share); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func floodOver(address string, from, to int) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	replies := bufio.NewReader(conn)
	for at := from; at < to; at += batch {
		n := min(batch, to-at)
		var asked strings.Builder
		for i := at; i < at+n; i++ {
			fmt.Fprintf(&asked, "GET /akprox/auth/traefik HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: api.example.test\r\n"+
				"X-Forwarded-Uri: /x/%d\r\nX-Forwarded-Method: GET\r\nX-Forwarded-For: 10.%d.%d.%d\r\n%s\r\n\r\n", address, i, i>>16, i>>8&255, i&255, badCredential(i))
		}
		if _, err := io.WriteString(conn, asked.String()); err != nil {
			return err
		}
		for range n {
			resp, err := http.ReadResponse(replies, nil)
			if err != nil {
				return err
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				return fmt.Errorf("a bad credential got %s", resp.Status)
			}
		}
	}
	return nil
}

// badCredential is a different one for each i: opaque tokens, keys, and
// tokens that look like JWTs.
func badCredential(i int) string {
	switch i % 4 {
	case 0:
		return fmt.Sprintf("X-Api-Key: api-made-up-%d", i)
	case 1: // {"alg":"RS256","kid":"…"}
		return fmt.Sprintf("Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im1hZGUtdXAifQ.eyJzdWIiOiJhIn0.c%dX", 1000000+i)
	default:
		return fmt.Sprintf("Authorization: Bearer made-up-token-%d", i)
	}
}
