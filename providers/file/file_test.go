package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// follow starts a Source and answers what it hands on. Its watch stands, unless
// s has signals of its own.
func follow(t *testing.T, s Source, also ...string) <-chan string {
	t.Helper()
	got := make(chan string, 100)
	hup := make(chan os.Signal, 1)
	own := s.Reload == nil
	if own {
		s.Reload = hup
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Follow(ctx, func() []string { return also }, func(data []byte, err error) {
			if err != nil {
				got <- "error"
				return
			}
			got <- string(data)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if own {
		hup <- syscall.SIGHUP
		select {
		case <-got:
		case <-time.After(20 * time.Second):
			t.Fatal("a signal is not answered")
		}
	}
	return got
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, got <-chan string, text string) {
	t.Helper()
	select {
	case g := <-got:
		if g != text {
			t.Errorf("got %q, want %q", g, text)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("nothing came, want %q", text)
	}
}

func nothing(t *testing.T, got <-chan string) {
	t.Helper()
	select {
	case g := <-got:
		t.Errorf("got %q, want nothing", g)
	case <-time.After(3 * settle):
	}
}

func TestAFileThatIsWrittenIsHandedOnOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "akprox.yaml")
	write(t, path, "one")
	got := follow(t, Source{Path: path})
	nothing(t, got)
	for range 20 {
		began := time.Now()
		for range 5 { // an editor writes in several steps
			write(t, path, "two")
		}
		if time.Since(began) < settle/2 {
			want(t, got, "two")
			nothing(t, got)
			return
		}
		for time.Sleep(3 * settle); len(got) > 0; { // the machine is busy: the steps may have been two changes
			<-got
		}
	}
	t.Error("five steps were never one change")
}

func TestAFileThatIsReplacedIsHandedOn(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "akprox.yaml")
	write(t, path, "one")
	got := follow(t, Source{Path: path})
	replace := func(text string) {
		t.Helper()
		write(t, path+".new", text)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	replace("two")
	want(t, got, "two")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want(t, got, "error")
	replace("three")
	want(t, got, "three")
}

// Kubernetes mounts a ConfigMap as links: akprox.yaml → ..data/akprox.yaml,
// ..data → ..2026_1, and swaps the latter.
func TestALinkedFolderThatIsSwappedIsHandedOn(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"..2026_1": "one", "..2026_2": "two"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "akprox.yaml"), text)
	}
	link := func(to, from string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026_1", "..data")
	link("..data/akprox.yaml", "akprox.yaml")
	got := follow(t, Source{Path: filepath.Join(dir, "akprox.yaml")})
	link("..2026_2", "..new")
	if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	want(t, got, "two")
}

func TestAFileBesideIsFollowedToo(t *testing.T) {
	path, secret := filepath.Join(t.TempDir(), "akprox.yaml"), filepath.Join(t.TempDir(), "secret")
	write(t, path, "one")
	write(t, secret, "a")
	got := follow(t, Source{Path: path}, secret)
	write(t, secret, "bb")
	want(t, got, "one")
}

func TestASignalReadsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "akprox.yaml")
	write(t, path, "one")
	hup := make(chan os.Signal, 1)
	got := follow(t, Source{Path: path, Reload: hup})
	hup <- syscall.SIGHUP
	want(t, got, "one")
}

func TestAFileThatIsTooLargeIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "akprox.yaml")
	write(t, path, strings.Repeat("#", maxSize+1))
	if _, err := (Source{Path: path}).Read(); err == nil {
		t.Error("it was read")
	}
}
