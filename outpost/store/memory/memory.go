// Package memory is the store that lives and dies with the process: for tests,
// demonstrations and set-ups where signing in again after a restart is fine.
//
// It knows nothing of what its items mean.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

const (
	shards    = 256 // each with its own lock
	sweepPart = 8   // a sweep is done in so many steps, which bounds each
)

// Options are the settings of New; the zero value is the usual choice.
type Options struct {
	// Now tells the time by which items expire; time.Now by default.
	Now func() time.Time
	// SweepEvery is how long an expired item may take up memory, and so how
	// old an answer of Count may be; 5 seconds by default.
	SweepEvery time.Duration
}

// Store is a store.Store in memory that also counts, lists, touches, replaces
// and claims. New makes it, and Close must end it.
type Store struct {
	now     func() time.Time
	seed    maphash.Seed
	shards  [shards]shard
	closing sync.Once
	stop    chan struct{}
	stopped chan struct{}
}

// New makes an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = 5 * time.Second
	}
	s := &Store{now: o.Now, seed: maphash.MakeSeed(), stop: make(chan struct{}), stopped: make(chan struct{})}
	for i := range s.shards {
		s.shards[i].entries = map[string]*entry{}
		s.shards[i].tags = map[string]*link{}
		s.shards[i].counts = map[string]int{}
	}
	go s.run(o.SweepEvery / sweepPart)
	return s
}

// Close ends the sweeping and its goroutine. The items stay readable. Closing
// twice is no error.
func (s *Store) Close() error {
	s.closing.Do(func() { close(s.stop) })
	<-s.stopped
	return nil
}

// Get answers a copy of the item under key, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (store.Item, error) {
	if err := gone(ctx); err != nil {
		return store.Item{}, err
	}
	h := s.shard(key)
	h.RLock()
	e := h.entries[key]
	h.RUnlock()
	return e.item(s.now()) // an entry never changes, so it is copied without the lock
}

// Put writes a copy of the item under key, replacing what stood there and its
// tags. An item that has already expired removes what stood there.
func (s *Store) Put(ctx context.Context, key string, item store.Item) error {
	_, err := s.putIf(ctx, key, item, func(bool) bool { return true })
	return err
}

// Replace implements store.Replacer.
func (s *Store) Replace(ctx context.Context, key string, item store.Item) error {
	done, err := s.putIf(ctx, key, item, func(stands bool) bool { return stands })
	if err == nil && !done {
		err = store.ErrNotFound
	}
	return err
}

// Claim implements store.Claimer.
func (s *Store) Claim(ctx context.Context, key string, item store.Item) (bool, error) {
	return s.putIf(ctx, key, item, func(stands bool) bool { return !stands })
}

// putIf writes a copy of the item where may, told whether an unexpired one
// stands there, says so, and reports whether it did.
func (s *Store) putIf(ctx context.Context, key string, item store.Item, may func(stands bool) bool) (bool, error) {
	if err := store.Check(key, item); err != nil {
		return false, err
	}
	if err := gone(ctx); err != nil {
		return false, err
	}
	e := newEntry(key, item)
	h := s.shard(key)
	h.Lock()
	defer h.Unlock()
	old, now := h.entries[key], s.now()
	if !may(old != nil && !old.expired(now)) {
		return false, nil
	}
	h.remove(old)
	if !e.expired(now) {
		h.add(e)
	}
	return true, nil
}

// Take answers the item under key and deletes it: exactly one caller gets it.
func (s *Store) Take(ctx context.Context, key string) (store.Item, error) {
	if err := gone(ctx); err != nil {
		return store.Item{}, err
	}
	h := s.shard(key)
	h.Lock()
	e := h.entries[key]
	h.remove(e)
	h.Unlock()
	return e.item(s.now())
}

// Touch implements store.Toucher.
func (s *Store) Touch(ctx context.Context, key string, expires time.Time) error {
	if err := gone(ctx); err != nil {
		return err
	}
	h := s.shard(key)
	h.Lock()
	defer h.Unlock()
	e := h.entries[key]
	item, err := e.item(s.now())
	if err != nil || !expires.After(item.Expires) {
		return err
	}
	item.Expires = expires
	h.remove(e)
	h.add(newEntry(key, item))
	return nil
}

// Delete removes the item under key; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := gone(ctx); err != nil {
		return err
	}
	h := s.shard(key)
	h.Lock()
	defer h.Unlock()
	h.remove(h.entries[key])
	return nil
}

// DeleteTagged removes every item that carries tag and says how many of them
// had not expired.
func (s *Store) DeleteTagged(ctx context.Context, tag string) (int, error) {
	if err := gone(ctx); err != nil {
		return 0, err
	}
	n, now := 0, s.now()
	for i := range s.shards {
		n += s.shards[i].removeTagged(tag, now)
	}
	return n, nil
}

// Count answers how many items have a key that begins with prefix; it may be
// Options.SweepEvery old. It is quick for "" and for a store.Class such as
// "session:"; for any other prefix it looks at every key.
func (s *Store) Count(ctx context.Context, prefix string) (int, error) {
	if err := gone(ctx); err != nil {
		return 0, err
	}
	n := 0
	for i := range s.shards {
		n += s.shards[i].count(prefix)
	}
	return n, nil
}

func (s *Store) shard(key string) *shard {
	return &s.shards[maphash.String(s.seed, key)%shards]
}

func (s *Store) run(step time.Duration) {
	defer close(s.stopped)
	tick := time.NewTicker(max(step, time.Millisecond))
	defer tick.Stop()
	for from := 0; ; from = (from + shards/sweepPart) % shards {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for i := range shards / sweepPart {
			s.shards[from+i].sweep(s.now())
		}
	}
}

// gone answers why the caller no longer waits, or nil.
func gone(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %w: %w", store.ErrUnavailable, err)
	}
	return nil
}

func (e *entry) item(now time.Time) (store.Item, error) {
	if e == nil || e.expired(now) {
		return store.Item{}, store.ErrNotFound
	}
	return store.Item{
		Value:   bytes.Clone(e.value),
		Expires: time.UnixMilli(e.expires),
		Tags:    slices.Clone(e.tags),
	}, nil
}
