//go:build linux

package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// TestFullDisk: on a disk that is full, people who are signed in go on, nobody
// new is, and room is all that is needed.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	var folder string // the disk, as seen from outside
	k := newKillWith(t, func(config string, port int) *parts.Process {
		disk := t.TempDir()
		file := filepath.Join(t.TempDir(), "akprox.yaml")
		putDocument(t, file, strings.Replace(config, "path: store", "path: "+filepath.Join(disk, "store"), 1))
		// A disk of its own, which goes with the process.
		args := []string{"--mount", "sh", "-c", `mount -t tmpfs -o size=4m none "$1" && exec "$2" run --config "$3"`, "sh", disk, parts.AkproxPath(t), file}
		if os.Geteuid() != 0 {
			args = append([]string{"--map-root-user"}, args...)
		}
		p := parts.Start(t, parts.Cmd{Name: "akprox", Path: parts.Path(t, "unshare"), Args: args, Dir: disk, Port: port})
		folder = fmt.Sprintf("/proc/%d/root%s", p.Pid(), disk)
		return p
	})
	early := k.got()[0]
	ballast := filepath.Join(folder, "ballast")
	for round := range 2 {
		fill(t, ballast)
		refused := 0
		for refused < 3 {
			if k.signIn() { // what is free inside the store's file is used up first
				continue
			}
			refused++
		}
		status := k.page(t, early)
		if status != http.StatusOK {
			t.Errorf("round %d: who was signed in is answered %d", round, status)
		}
		if why := fmt.Sprint(k.lastError.Load()); !strings.Contains(why, "503") {
			t.Errorf("round %d: a sign-in on a full disk: %s", round, why)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		eventually(t, "nobody can sign in, with room on the disk", k.signIn)
	}
	for i, c := range k.got() {
		if err := k.accepted(c); err != nil {
			t.Errorf("session %d: %v", i, err)
		}
	}
	k.akprox.Stop()
}

// page answers the status of a page for a cookie.
func (k *kill) page(t *testing.T, cookie *http.Cookie) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, k.app+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(cookie)
	resp, err := k.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
