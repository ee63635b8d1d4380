package users

import (
	"context"
	"os"
	"slices"
	"time"
)

// lookEvery is how often the files are looked at, and how long one has to be
// left alone before it is read: editors write in several steps.
const lookEvery = time.Second

// Watch notices that the files of a source have changed. New files are
// noticed too, and files and links that are replaced.
type Watch struct {
	source  *Source
	loaded  []stamp // as they were read last
	pending []stamp // as they were seen since
}

// Watch begins to watch. It is called before the files are loaded first, so
// that no change is missed.
func (s *Source) Watch() *Watch { return &Watch{source: s, loaded: s.stamps()} }

// Follow calls put with what Load answers whenever a file has changed, until
// ctx ends. It takes up to two seconds to notice.
func (w *Watch) Follow(ctx context.Context, put func(*Set, error)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if w.changed() {
				put(w.source.Load())
			}
		}
	}
}

// changed reports whether there is a change that was left alone since the
// last call.
func (w *Watch) changed() bool {
	now := w.source.stamps()
	if slices.EqualFunc(now, w.loaded, stamp.same) {
		w.pending = nil
		return false
	}
	if !slices.EqualFunc(now, w.pending, stamp.same) {
		w.pending = now
		return false
	}
	w.loaded, w.pending = now, nil
	return true
}

// stamp tells a state of a file from another. It is empty for a file that is
// not there.
type stamp struct{ info os.FileInfo }

func (s stamp) same(other stamp) bool {
	if s.info == nil || other.info == nil {
		return s.info == other.info
	}
	return s.info.Size() == other.info.Size() && s.info.ModTime().Equal(other.info.ModTime()) && os.SameFile(s.info, other.info)
}

func (s *Source) stamps() []stamp {
	var all []stamp
	for _, path := range []string{s.UsersFile, s.HtpasswdFile} {
		if info, err := os.Stat(path); err == nil {
			all = append(all, stamp{info})
		} else {
			all = append(all, stamp{})
		}
	}
	return all
}
