package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/providers/password"
)

// TestALaterSignalDoesNotWait: the first lets what is under way end, for 25
// seconds. One that comes with it, as some wrappers send them, is the same.
func TestALaterSignalDoesNotWait(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, metrics := parts.Port(t), parts.Port(t)
	hash, err := password.Hash("password")
	if err != nil {
		t.Fatal(err)
	}
	p := parts.Akprox(t, fmt.Sprintf(`version: 1
server: { http: "127.0.0.1:%d", https: "", metrics: "127.0.0.1:%d" }
store: { kind: memory }
providers:
  - { name: people, kind: password, users: [ { username: alice, password: %q } ] }
applications:
  - { name: app, mode: forward_single, external_url: "http://127.0.0.1:%[1]d", credentials: [people] }
`, port, metrics, hash), port, "")
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	// A form that does not arrive is under way.
	_, err = fmt.Fprintf(c, "POST /akprox/sign_in HTTP/1.1\r\nHost: %s\r\nSec-Fetch-Site: same-origin\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nuser", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	p.Signal(syscall.SIGTERM)
	eventually(t, "it does not stop", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", metrics))
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q, %v", got, err)
		}
	}()
	pid := p.Pid()
	for n := 0; ; n++ {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended
		select {
		case <-ended:
		case <-time.After(200 * time.Millisecond):
			continue
		}
		if n == 0 {
			t.Error("a second signal at once ended it")
		}
		break
	}
	if strings.Contains(p.Output(), `"stopped"`) {
		t.Error("it has waited")
	}
}
