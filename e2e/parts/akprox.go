package parts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// raceReport is how the race detector begins a report.
const raceReport = "WARNING: DATA RACE"

var (
	buildOnce sync.Once
	buildPath string
	buildLog  string
)

// Akprox starts the program under test, built with the race detector, with
// the given configuration and waits until it answers 200 at readyURL or, if
// that is empty, listens on port. More arguments for `akprox run` may follow.
// A race that it reports fails the test.
func Akprox(t testing.TB, config string, port int, readyURL string, args ...string) *Process {
	t.Helper()
	Need(t)
	dir := t.TempDir()
	file := write(t, dir, "akprox.yaml", config)
	var p *Process
	t.Cleanup(func() { // runs after the one of Start, which stops it
		if p != nil && strings.Contains(p.Output(), raceReport) {
			t.Errorf("data race in akprox:\n%s", p.Output())
		}
	})
	p = Start(t, Cmd{
		Name:     "akprox",
		Path:     AkproxPath(t),
		Args:     append([]string{"run", "--config", file}, args...),
		Dir:      dir,
		Port:     port,
		ReadyURL: readyURL,
		Timeout:  60 * time.Second,
	})
	return p
}

// AkproxPath returns the program under test, built with the race detector
// once for all tests of a package.
func AkproxPath(t testing.TB) string {
	t.Helper()
	buildOnce.Do(func() { buildAkprox(t) })
	if buildPath == "" {
		t.Fatalf("go build of akprox failed:\n%s", buildLog)
	}
	return buildPath
}

func buildAkprox(t testing.TB) {
	t.Helper()
	top := root(t)
	dir := filepath.Join(top, "build")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		buildLog = err.Error()
		return
	}
	// Tests of several packages run at the same time: each builds to a name of
	// its own, and the last one to finish leaves what the next run reuses.
	scratch, err := os.MkdirTemp(dir, "akprox-race-")
	if err != nil {
		buildLog = err.Error()
		return
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	built := filepath.Join(scratch, "akprox")
	build := exec.Command("go", "build", "-race", "-trimpath", "-o", built, "./cmd/akprox") // #nosec G204
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		buildLog = string(out) + err.Error()
		return
	}
	target := filepath.Join(dir, "akprox-race")
	if err := os.Rename(built, target); err != nil {
		buildLog = err.Error()
		return
	}
	buildPath = target
}
