// Package file is the source of documents that most people have: one YAML
// file. It hands the file on at start, when it changes and when asked to; it
// does not know what is in it.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// maxSize bounds a document in bytes.
const maxSize = 8 << 20

// settle is how long a file must be left alone before it is read: editors and
// kubelets change it in several steps.
const settle = 200 * time.Millisecond

// Source follows one file.
type Source struct {
	Path   string
	Reload <-chan os.Signal // reads the file at once, changed or not; may be nil
}

// Read answers the file's contents now.
func (s Source) Read() ([]byte, error) {
	f, err := os.Open(s.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("%s: larger than %d bytes", s.Path, maxSize)
	}
	return data, err
}

// Follow calls put with the file's contents whenever the file, or a file of
// also, has changed or a signal asks for it, until ctx ends. It watches the
// folders, not the files, so that a file that is replaced (by an editor, or
// through a link as Kubernetes does) is noticed too. put is told of a file
// that could not be read.
func (s Source) Follow(ctx context.Context, also func() []string, put func(data []byte, err error)) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", s.Path, err)
	}
	defer func() { _ = watcher.Close() }()
	s.watch(watcher, also())
	before := s.stamp(also())
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Reload:
			before = s.stamp(also())
			put(s.Read())
			s.watch(watcher, also())
		case _, ok := <-watcher.Events:
			if !ok {
				return errors.New("the watch on " + s.Path + " has ended")
			}
			timer.Reset(settle)
		case _, ok := <-watcher.Errors:
			if !ok {
				return errors.New("the watch on " + s.Path + " has ended")
			}
			timer.Reset(settle) // events may have been lost: look
		case <-timer.C:
			now := s.stamp(also())
			if now == before {
				continue
			}
			before = now
			put(s.Read())
			s.watch(watcher, also())
		}
	}
}

// watch adds the folders of all files; one that is watched already, or is not
// there, changes nothing.
func (s Source) watch(w *fsnotify.Watcher, also []string) {
	for _, path := range append([]string{s.Path}, also...) {
		_ = w.Add(filepath.Dir(path))
	}
}

// stamp tells the files' states apart. It follows links.
func (s Source) stamp(also []string) string {
	stamp := ""
	for _, path := range append([]string{s.Path}, also...) {
		if info, err := os.Stat(path); err == nil {
			stamp += fmt.Sprint(info.ModTime().UnixNano(), info.Size(), sysID(info), ";")
		} else {
			stamp += "-;"
		}
	}
	return stamp
}
