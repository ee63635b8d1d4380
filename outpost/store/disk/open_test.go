package disk_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
)

func TestOpenClosesFolderAndFileToOtherUsers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, disk.FileName)
	_ = open(t, dir, disk.Options{}).Close()
	wantMode(t, dir, 0o700)
	wantMode(t, path, 0o600)
	if err := os.Chmod(path, 0o664); err != nil {
		t.Fatal(err)
	}
	open(t, dir, disk.Options{})
	wantMode(t, path, 0o600)
}

func wantMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("%s has mode %o, want %o", path, got, want)
	}
}

func TestOpenRefusesWhatIsNoWholeStore(t *testing.T) {
	whole := wholeFile(t)
	random := make([]byte, 1<<16)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for _, c := range []struct {
		name string
		file []byte
		want error
	}{
		{"text", []byte("this is no store\n"), disk.ErrDamaged},
		{"random bytes", random, disk.ErrDamaged},
		{"zeros", make([]byte, 1<<16), disk.ErrDamaged},
		{"both heads overwritten", append(bytes.Repeat([]byte{7}, 8192), whole[8192:]...), disk.ErrDamaged},
		{"all pages but the heads overwritten", append(bytes.Clone(whole[:8192]), bytes.Repeat([]byte{7}, len(whole)-8192)...), disk.ErrDamaged},
		{"cut after the first page", whole[:4096], disk.ErrDamaged},
		{"cut after the heads", whole[:8192], disk.ErrDamaged},
		{"cut in the middle", whole[:len(whole)/2], disk.ErrDamaged},
		{"cut within a page", whole[:len(whole)/2+100], disk.ErrDamaged},
		{"a bbolt file of another program", boltFile(t, "other", nil), disk.ErrDamaged},
		{"no buckets but meta", boltFile(t, "meta", []byte{1}), disk.ErrDamaged},
		{"a newer version", boltFile(t, "meta", []byte{2}), disk.ErrNewer},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, disk.FileName)
			if err := os.WriteFile(path, c.file, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := disk.Open(dir, disk.Options{})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("Open: %v, want %v with the path", err, c.want)
			}
			t.Log(err)
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, c.file) {
				t.Errorf("the refused file was changed (%v)", err)
			}
			if err := os.Rename(path, path+".bad"); err != nil {
				t.Fatal(err)
			}
			put(t, open(t, dir, disk.Options{}), "k")
		})
	}
}

func TestOpenSaysWhyAFolderCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, disk.FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), folder} {
		_, err := disk.Open(dir, disk.Options{})
		if err == nil || errors.Is(err, disk.ErrDamaged) || !strings.Contains(err.Error(), dir) {
			t.Errorf("Open(%s): %v, want an error that names it", dir, err)
		}
	}
}

func TestAFileDamagedUnderARunningStoreIsAnErrorAndNoPanic(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	together(2000, func(i int) { put(t, s, "session:"+string(rune('a'+i))) })
	path := filepath.Join(dir, disk.FileName)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	_, getError := s.Get(t.Context(), "session:a")
	for name, err := range map[string]error{
		"get": getError, "put": s.Put(t.Context(), "k", item("k")), "delete": s.Delete(t.Context(), "k"),
	} {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, disk.ErrDamaged) {
			t.Errorf("%s: %v, want ErrUnavailable and ErrDamaged", name, err)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("Close hangs")
	}
}

// wholeFile answers the bytes of a good store of some hundred pages.
func wholeFile(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	together(1000, func(i int) { put(t, s, "session:"+string(rune('a'+i))) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, disk.FileName))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// boltFile answers a bbolt file with one bucket that says version.
func boltFile(t *testing.T, bucket string, version []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bolt")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte("version"), version)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
