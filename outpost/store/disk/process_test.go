//go:build linux || darwin

package disk_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store/disk"
)

// A test that needs a second process starts this test binary again with the
// name of a part in AKPROX_DISK_PART and the store's folder in AKPROX_DISK_DIR.
func TestMain(m *testing.M) {
	parts := map[string]func(dir string) error{"write": writeForEver, "open": openOnce, "full": fillUp}
	part, ok := parts[os.Getenv("AKPROX_DISK_PART")]
	if !ok {
		os.Exit(m.Run())
	}
	if err := part(os.Getenv("AKPROX_DISK_DIR")); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func secondProcess(t *testing.T, part, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "AKPROX_DISK_PART="+part, "AKPROX_DISK_DIR="+dir)
	return cmd
}

func TestKillLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		written := writeAndKill(t, dir, 50*time.Millisecond+rand.N(250*time.Millisecond))
		s := open(t, dir, disk.Options{})
		for _, key := range written {
			if item, err := s.Get(t.Context(), key); err != nil || len(item.Value) != 300 {
				t.Errorf("round %d: %s was acknowledged: %v", round, key, err)
			}
		}
		n, err := s.Count(t.Context(), "session:")
		if err != nil || n < len(written) {
			t.Errorf("round %d: Count = %d, %v, want at least %d", round, n, err, len(written))
		}
		// Every item hangs in the index too; the writes that were under way may be there.
		if d, err := s.DeleteTagged(t.Context(), "app:x"); err != nil || d != n {
			t.Errorf("round %d: DeleteTagged = %d, %v, want %d", round, d, err, n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		t.Logf("round %d: killed after %d acknowledged writes", round, len(written))
	}
}

// writeAndKill lets a second process write, kills it after life and answers the
// keys whose write it was told of.
func writeAndKill(t *testing.T, dir string, life time.Duration) (keys []string) {
	t.Helper()
	cmd := secondProcess(t, "write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err != nil { // a line that the kill cut was not acknowledged to us
			break
		}
		if len(keys) == 0 {
			time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
		}
		keys = append(keys, strings.TrimSpace(line))
	}
	if err := cmd.Wait(); err == nil || len(keys) == 0 {
		t.Fatalf("the writer ended by itself after %d writes: %v", len(keys), err)
	}
	return keys
}

// writeForEver prints each key as soon as its write is acknowledged.
func writeForEver(dir string) error {
	s, err := disk.Open(dir, disk.Options{SweepEvery: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for worker := range 50 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("session:%d-%d-%d", os.Getpid(), worker, i)
				if err := s.Put(context.Background(), key, item(key)); err != nil {
					fmt.Println(err)
					return
				}
				fmt.Println(key)
			}
		})
	}
	wg.Wait()
	return errors.New("the writers ended")
}

func TestSecondProcessIsToldThatTheStoreIsInUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	put(t, s, "k")
	start := time.Now()
	out, err := secondProcess(t, "open", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use: true") || !strings.Contains(string(out), dir) {
		t.Errorf("the second process: %v\n%s", err, out)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
	t.Logf("%s", out)
	if _, err := s.Get(t.Context(), "k"); err != nil {
		t.Errorf("the first process: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := secondProcess(t, "open", dir).CombinedOutput(); err != nil {
		t.Errorf("once the first has closed: %v\n%s", err, out)
	}
}

func TestSecondProcessWaitsAMomentForTheFirstToEnd(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	cmd := secondProcess(t, "open", dir)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	if _, err := out.ReadString('\n'); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond) // so that it finds the store in use
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, rest)
	}
}

func openOnce(dir string) error {
	fmt.Println("opening") // the first process may wait for this
	s, err := disk.Open(dir, disk.Options{})
	if err != nil {
		return fmt.Errorf("in use: %v: %w", errors.Is(err, disk.ErrInUse), err)
	}
	return s.Close()
}

func TestAFullDiskFailsWritesAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	cmd := secondProcess(t, "full", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, lines)
	}
	s := open(t, dir, disk.Options{})
	n := 0
	for key := range strings.Lines(string(lines)) {
		if _, err := s.Get(t.Context(), strings.TrimSpace(key)); err != nil {
			t.Errorf("%q was acknowledged: %v", key, err)
		}
		n++
	}
	t.Logf("%d acknowledged writes", n)
}
