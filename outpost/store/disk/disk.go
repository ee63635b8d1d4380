// Package disk is the store of one machine: a single bbolt file, written by one
// process at a time. What a write acknowledged is on the disk, so it outlives
// kill -9 and a power cut. Concurrent writes share one commit; expired items
// stop being found at once and are swept in the background.
//
// It knows nothing of what its items mean.
package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/akprox/akprox/outpost/store"
)

// Options are the settings of Open; the zero value is the usual choice.
type Options struct {
	// Now tells the time by which items expire; time.Now by default.
	Now func() time.Time
	// SweepEvery is how long an expired item may stay in the file, and so how
	// old an answer of Count may be; 5 seconds by default.
	SweepEvery time.Duration
}

// Store is a store.Store on one file that also counts, lists, touches, replaces
// and claims. Open makes it, and Close must end it.
type Store struct {
	db     *bolt.DB
	now    func() time.Time
	queue  chan op
	broken error // why nothing is written any more; the writer's own

	closing sync.Once
	stop    chan struct{} // closed to end the writer
	stopped chan struct{} // closed once it has ended
}

// errClosed is the cause in every error of a store that was closed.
var errClosed = errors.New("the store is closed")

// Close finishes the writes under way, closes the file and so lets another
// process open it. Every later call answers an error wrapping
// store.ErrUnavailable. Closing twice is no error.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.stop) })
	<-s.stopped
	if s.broken != nil {
		return nil //nolint:nilerr // reported to every write; bbolt may still hold its own lock, and the process releases the file
	}
	return s.db.Close()
}

// Get answers the item under key, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (store.Item, error) {
	if err := ctx.Err(); err != nil {
		return store.Item{}, unavailable("get", err)
	}
	var raw []byte
	err := s.view(func(tx *bolt.Tx) error {
		raw = bytes.Clone(tx.Bucket([]byte(itemsBucket)).Get([]byte(key)))
		return nil
	})
	if err != nil {
		return store.Item{}, unavailable("get", err)
	}
	if raw == nil {
		return store.Item{}, store.ErrNotFound
	}
	return s.item("get", raw)
}

// item reads a record that the caller owns; an expired one is not found.
func (s *Store) item(doing string, raw []byte) (store.Item, error) {
	r, err := parse(raw)
	if err != nil {
		return store.Item{}, unavailable(doing, err)
	}
	if r.expired(s.now()) {
		return store.Item{}, store.ErrNotFound
	}
	return r.item(), nil
}

// Put writes the item under key, replacing what stood there and its tags. An
// item that has already expired removes what stood there.
func (s *Store) Put(ctx context.Context, key string, item store.Item) error {
	_, err := s.putIf(ctx, "put", key, item, func(bool) bool { return true })
	return err
}

// Replace implements store.Replacer.
func (s *Store) Replace(ctx context.Context, key string, item store.Item) error {
	done, err := s.putIf(ctx, "replace", key, item, func(stands bool) bool { return stands })
	if err == nil && !done {
		err = store.ErrNotFound
	}
	return err
}

// Claim implements store.Claimer.
func (s *Store) Claim(ctx context.Context, key string, item store.Item) (bool, error) {
	return s.putIf(ctx, "claim", key, item, func(stands bool) bool { return !stands })
}

// putIf writes the item where may, told whether an unexpired one stands there,
// says so, and reports whether it did.
func (s *Store) putIf(ctx context.Context, doing, key string, item store.Item, may func(stands bool) bool) (bool, error) {
	if err := store.Check(key, item); err != nil {
		return false, err
	}
	raw := encode(item) // a copy: the caller may change the value while the write waits
	done := false       // read only once the write was answered
	err := s.write(ctx, doing, func(t *tables) error {
		old, err := parse(t.items.Get([]byte(key)))
		if done = may(err == nil && !old.expired(s.now())); !done {
			return nil
		}
		if item.Expires.UnixMilli() <= s.now().UnixMilli() {
			_, err := t.remove([]byte(key))
			return err
		}
		return t.put([]byte(key), raw)
	})
	return err == nil && done, err
}

// Take answers the item under key and deletes it: exactly one caller gets it.
func (s *Store) Take(ctx context.Context, key string) (store.Item, error) {
	// Anybody can ask for a key that is not there; only the writer's answer
	// counts, but such a question need not wait for a commit.
	if _, err := s.Get(ctx, key); err != nil {
		return store.Item{}, err
	}
	var raw []byte
	err := s.write(ctx, "take", func(t *tables) error {
		old, err := t.remove([]byte(key))
		raw = bytes.Clone(old)
		return err
	})
	if err != nil {
		return store.Item{}, err
	}
	if raw == nil {
		return store.Item{}, store.ErrNotFound
	}
	return s.item("take", raw)
}

// Touch implements store.Toucher.
func (s *Store) Touch(ctx context.Context, key string, expires time.Time) error {
	found := false
	err := s.write(ctx, "touch", func(t *tables) error {
		r, err := parse(t.items.Get([]byte(key)))
		if found = err == nil && !r.expired(s.now()); !found || expires.UnixMilli() <= r.expires {
			return nil
		}
		item := r.item()
		item.Expires = expires
		return t.put([]byte(key), encode(item))
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return err
}

// Delete removes the item under key; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.write(ctx, "delete", func(t *tables) error {
		_, err := t.remove([]byte(key))
		return err
	})
}

// DeleteTagged removes every item that carries tag and says how many of them
// had not expired. It works in bounded transactions, so that other writes get
// their turn; an error may leave a part of the items.
func (s *Store) DeleteTagged(ctx context.Context, tag string) (int, error) {
	total := 0
	for from := tagKey(tag, nil); from != nil; {
		var live int
		var next []byte
		err := s.write(ctx, "delete tagged", func(t *tables) (err error) {
			live, next, err = t.removeTagged(tag, from, s.now())
			return err
		})
		if err != nil {
			return total, err
		}
		total, from = total+live, next
	}
	return total, nil
}

// Count answers how many items have a key that begins with prefix. It is quick
// for "" and for a store.Class such as "session:", where it may be
// Options.SweepEvery old; for any other prefix it reads each item.
func (s *Store) Count(ctx context.Context, prefix string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable("count", err)
	}
	n := 0
	err := s.view(func(tx *bolt.Tx) (err error) {
		n, err = count(tx, prefix, s.now())
		return err
	})
	if err != nil {
		return 0, unavailable("count", err)
	}
	return n, nil
}

func (s *Store) view(read func(*bolt.Tx) error) error {
	return guarded(func() error { return s.db.View(read) })
}

func unavailable(doing string, err error) error {
	return fmt.Errorf("disk: %s: %w: %w", doing, store.ErrUnavailable, err)
}
