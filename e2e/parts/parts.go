// Package parts starts the real programs that the end-to-end tests talk to:
// reverse proxies, identity providers, Redis and a browser, all as processes
// of this machine on 127.0.0.1. What it starts ends with the test.
//
// The programs come from `make parts`. One that is missing fails the test, so
// that a green run means that everything was there; only `go test -short`
// leaves these tests out.
package parts

import (
	_ "embed"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// built is the list that scripts/parts.sh builds from.
//
//go:embed parts.txt
var built string

// distribution holds the programs that come with the distribution under a
// name of their own or in a folder that may not be on a user's PATH.
var distribution = map[string]string{
	"nginx":        "/usr/sbin/nginx",
	"haproxy":      "/usr/sbin/haproxy",
	"caddy-debian": "/usr/bin/caddy",
}

// Need skips the test under `go test -short`. All functions of this package
// that start a part call it; call it first where work is to be saved before.
func Need(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs real parts; not run with -short")
	}
}

// Path returns where the part of that name is: "caddy", "caddy-2.10", "traefik",
// "dex", "oidc-provider" (a folder), "hydra", "golangci-lint", or a program of the
// distribution such as "nginx", "caddy-debian", "redis-server", "wrk".
func Path(t testing.TB, name string) string {
	t.Helper()
	Need(t)
	path := lookUp(name)
	if path == "" {
		t.Fatalf("%s is not here: run `make parts`", name)
	}
	return path
}

func lookUp(name string) string {
	for line := range strings.Lines(built) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == name {
			return existing(filepath.Join(folder(), name+"-"+fields[1]))
		}
	}
	if path, ok := distribution[name]; ok {
		return existing(path)
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// folder is where scripts/parts.sh keeps what it built.
func folder() string {
	if dir := os.Getenv("AKPROX_PARTS"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".cache", "akprox", "parts")
}

// root returns the folder of the module, found upwards from the test's own.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if existing(filepath.Join(dir, "e2e", "parts", "parts.txt")) != "" {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("not inside the akprox repository")
		}
		dir = filepath.Dir(dir)
	}
}

var (
	portsMu sync.Mutex
	ports   = map[int]*os.File{} // and what holds each; closed, it would hold nothing
)

// Ports are taken below those that Linux gives to connections and to listeners
// on port 0 (32768 and up): one of these could be gone before its part listens.
const firstPort, lastPort = 18000, 32000

// Port returns a TCP port of 127.0.0.1 that nobody listens on. It never
// returns the same one twice, also when nothing listens there yet, and none that
// another test binary was given while that runs.
func Port(t testing.TB) int {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort) // #nosec G404 -- any will do
		if ports[port] != nil {
			continue
		}
		held := hold(t, port)
		if held == nil {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			_ = held.Close()
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		ports[port] = held
		return port
	}
	t.Fatal("no free port")
	return 0
}

// hold locks the file of a port until this process ends, or answers nil if
// another process has it: go test runs the binaries of several packages at once.
func hold(t testing.TB, port int) *os.File {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "akprox-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(port)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil
	}
	return f
}
