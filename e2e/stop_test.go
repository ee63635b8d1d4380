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

// TestASecondSignalDoesNotWait: the first lets what is under way end, for 25
// seconds.
func TestASecondSignalDoesNotWait(t *testing.T) {
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
	p.Signal(syscall.SIGTERM)
	if err := c.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("%q, %v", got, err)
	}
	if strings.Contains(p.Output(), `"stopped"`) {
		t.Error("it has waited")
	}
}
