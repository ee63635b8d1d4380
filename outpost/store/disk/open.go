package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// FileName is the name of the store's file in its folder.
const FileName = "akprox.db"

// What Open may refuse with; each is wrapped with the path and the mend.
var (
	// ErrInUse says that another process has the store open.
	ErrInUse = errors.New("the store is in use")
	// ErrDamaged says that the file is no whole store. Reads and writes that
	// meet a damaged page answer it too, beside store.ErrUnavailable.
	ErrDamaged = errors.New("the store's file is damaged")
	// ErrNewer says that a newer akprox wrote the file.
	ErrNewer = errors.New("the store is of a newer version")
)

const (
	version  = 1               // of the file's layout
	lockWait = 1 * time.Second // how long another process may take to end
)

// Open opens the store in the folder dir, and makes both when they are not
// there, closed to other users (0700 and 0600; a looser file is tightened, an
// existing folder left as it is). One process at a time: a second one gets
// ErrInUse within about a second. A file that cannot be read as a store is
// ErrDamaged, one of a newer layout ErrNewer; neither is changed.
func Open(dir string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = 5 * time.Second
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("disk: make the store's folder %s: %w", dir, err)
	}
	path := filepath.Join(dir, FileName)
	db, err := openFile(path)
	if err != nil {
		return nil, explain(path, err)
	}
	s := &Store{
		db: db, now: o.Now,
		queue: make(chan op), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	go s.run(o.SweepEvery)
	return s, nil
}

// openFile opens, checks and prepares the file, or leaves nothing open.
func openFile(path string) (*bolt.DB, error) {
	var file *os.File
	var db *bolt.DB
	err := guarded(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			Timeout: lockWait,
			// The list of free pages is written with each commit: without it,
			// opening would read the whole file.
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true, // a lock that every read would take
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = openPrivate(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err != nil {
		_ = file.Close() // only open still when bbolt has panicked
		return nil, err
	}
	if err := guarded(func() error { return prepare(db, file) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openPrivate opens a file that no other user may read or write.
func openPrivate(name string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("close the file to other users: %w", err)
	}
	return f, nil
}

// prepare refuses a file that is cut short, foreign or of a newer version, and
// lays out an empty one.
func prepare(db *bolt.DB, file *os.File) error {
	empty := false
	err := db.View(func(tx *bolt.Tx) error {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it is cut short, %d of %d bytes", ErrDamaged, info.Size(), tx.Size())
		}
		first, _ := tx.Cursor().First()
		if empty = first == nil; empty {
			return nil
		}
		return check(tx)
	})
	if err != nil || !empty {
		return err
	}
	if err := db.Update(layOut); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(db.Path()))
}

func layOut(tx *bolt.Tx) error {
	for _, name := range buckets() {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(metaBucket)).Put([]byte("version"), []byte{version})
}

func check(tx *bolt.Tx) error {
	meta := tx.Bucket([]byte(metaBucket))
	if meta == nil || len(meta.Get([]byte("version"))) != 1 {
		return fmt.Errorf("%w: it is a bbolt file, but not of akprox", ErrDamaged)
	}
	if v := meta.Get([]byte("version"))[0]; v > version {
		return fmt.Errorf("%w: %d, this akprox knows %d", ErrNewer, v, version)
	}
	for _, name := range buckets() {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: it has no %s", ErrDamaged, name)
		}
	}
	return nil
}

// syncFolder makes sure that a new file's name survives a power cut.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// explain adds the path and what to do.
func explain(path string, err error) error {
	var pathError *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("disk: %s: %w by another process: stop it, or give this one another store path", path, ErrInUse)
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("disk: %s: %w: run that version, or give this one another store path", path, err)
	case errors.As(err, &pathError) || errors.As(err, &errno):
		return fmt.Errorf("disk: open %s: %w", path, err)
	case !errors.Is(err, ErrDamaged):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return fmt.Errorf("disk: %s: %w: put a good copy in its place, or move it away to begin anew (everybody signs in again)", path, err)
}
