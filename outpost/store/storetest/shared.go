package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// soon is how long the suite waits for what happens by itself, on a busy
// machine.
const soon = 20 * time.Second

func (b *bench) replacer(t *testing.T) store.Replacer {
	t.Helper()
	r, ok := b.Store.(store.Replacer)
	if !ok {
		t.Fatal("every store of ours can replace")
	}
	return r
}

func (b *bench) claimer(t *testing.T) store.Claimer {
	t.Helper()
	c, ok := b.Store.(store.Claimer)
	if !ok {
		t.Fatal("every store of ours can claim")
	}
	return c
}

func replaceStanding(t *testing.T, b *bench) {
	r := b.replacer(t)
	replaces := func(key string, item store.Item, want error) {
		t.Helper()
		if err := r.Replace(t.Context(), key, item); !errors.Is(err, want) {
			t.Fatalf("Replace(%q): %v, want %v", key, err, want)
		}
	}
	item := b.in(2*time.Hour, "new", "kept", "added")
	replaces("k", item, store.ErrNotFound)
	b.lacks(t, "k")
	b.deleteTagged(t, "added", 0)

	b.put(t, "k", b.in(time.Hour, "old", "kept", "dropped"))
	replaces("k", item, nil)
	b.finds(t, "k", item)
	b.deleteTagged(t, "dropped", 0)
	b.deleteTagged(t, "added", 1)
	replaces("k", item, store.ErrNotFound)

	b.put(t, "short", b.in(life, "old"))
	b.put(t, "other", b.in(time.Hour, "old", "tag"))
	b.advance(life + 20*time.Millisecond)
	replaces("short", item, store.ErrNotFound)
	b.lacks(t, "short")

	replaces("other", b.in(-time.Second, "already past", "tag"), nil)
	b.lacks(t, "other")
	b.deleteTagged(t, "tag", 0)
	replaces("", item, store.ErrNoKey)
	if err := r.Replace(ended(), "k", item); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
		t.Errorf("an ended context: %v", err)
	}
}

// replaceRaces deletes while others replace: once the deletion is
// acknowledged, nothing comes back.
func replaceRaces(t *testing.T, b *bench) {
	r := b.replacer(t)
	for round := range 12 {
		key, tag := fmt.Sprint("session:", round), fmt.Sprint("sub:", round)
		b.put(t, key, b.in(time.Hour, "first", tag))
		end := func() error { return b.Delete(t.Context(), key) }
		switch round % 3 {
		case 1:
			end = func() error {
				n, err := b.DeleteTagged(t.Context(), tag)
				if err == nil && n != 1 {
					err = fmt.Errorf("%d ended, want 1", n)
				}
				return err
			}
		case 2:
			end = func() error { _, err := b.Take(t.Context(), key); return err }
		}
		var over atomic.Bool
		together(9, func(i int) {
			if i == 0 {
				time.Sleep(time.Duration(round) * time.Millisecond)
				if err := end(); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				over.Store(true)
				return
			}
			for n := 0; n < 400; n++ {
				gone := over.Load()
				err := r.Replace(t.Context(), key, b.in(time.Hour, fmt.Sprint(i, " ", n), tag))
				if gone && err == nil {
					t.Errorf("round %d: replaced after it was deleted", round)
				}
				if errors.Is(err, store.ErrNotFound) {
					return
				}
				if err != nil {
					t.Errorf("Replace: %v", err)
					return
				}
			}
		})
		b.lacks(t, key)
		b.deleteTagged(t, tag, 0)
	}
}

// putRaces puts while others end by a tag: what was put before is ended, and
// what was put meanwhile can be ended later.
func putRaces(t *testing.T, b *bench) {
	for round := range 10 {
		tag := fmt.Sprint("sub:", round)
		before := fmt.Sprint("before:", round)
		b.put(t, before, b.in(time.Hour, "v", tag))
		together(8, func(i int) {
			key := fmt.Sprint("session:", round, "-", i%4)
			for range 6 {
				if i == 7 {
					if _, err := b.DeleteTagged(t.Context(), tag); err != nil {
						t.Errorf("DeleteTagged: %v", err)
					}
					continue
				}
				b.put(t, key, b.in(time.Hour, "v", tag, "app:x"))
			}
		})
		b.lacks(t, before)
		if _, err := b.DeleteTagged(t.Context(), tag); err != nil {
			t.Errorf("DeleteTagged: %v", err)
		}
		for i := range 4 {
			b.lacks(t, fmt.Sprint("session:", round, "-", i))
		}
	}
	b.deleteTagged(t, "app:x", 0)
}

// deleteManyReplaced ends many items, more than any store ends in one step,
// while others replace them: what was there when it began is gone.
func deleteManyReplaced(t *testing.T, b *bench) {
	r := b.replacer(t)
	const many, replacers = 2500, 6
	key := func(i int) string { return fmt.Sprint("session:", i%many) }
	for round := range 2 {
		tag := fmt.Sprint("sub:", round)
		together(many, func(i int) { b.put(t, key(i), b.in(time.Hour, "v", tag)) })
		var begun, over atomic.Bool
		together(1+replacers, func(who int) {
			if who == 0 {
				for !begun.Load() {
					time.Sleep(time.Millisecond)
				}
				if _, err := b.DeleteTagged(t.Context(), tag); err != nil {
					t.Errorf("DeleteTagged: %v", err)
				}
				over.Store(true)
				return
			}
			for i := who; !over.Load(); i += 7 {
				if err := r.Replace(t.Context(), key(i), b.in(time.Hour, "w", tag)); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Errorf("Replace: %v", err)
					return
				}
				begun.Store(true)
			}
		})
		var left atomic.Int64
		together(many, func(i int) {
			if _, err := b.Get(t.Context(), key(i)); !errors.Is(err, store.ErrNotFound) {
				left.Add(1)
			}
		})
		if n := left.Load(); n > 0 {
			t.Errorf("round %d: %d of %d are left", round, n, many)
		}
	}
}

func claimOnce(t *testing.T, b *bench) {
	c := b.claimer(t)
	for round := range 10 {
		key := fmt.Sprint("lock:", round)
		var got atomic.Int32
		together(50, func(i int) {
			ok, err := c.Claim(t.Context(), key, b.in(time.Hour, fmt.Sprint(i), "tag"))
			if err != nil {
				t.Errorf("Claim: %v", err)
			}
			if ok {
				got.Add(1)
			}
		})
		if got.Load() != 1 {
			t.Fatalf("%d were told that it is theirs, want 1", got.Load())
		}
	}
	b.deleteTagged(t, "tag", 10)
}

func claimAgain(t *testing.T, b *bench) {
	c := b.claimer(t)
	claims := func(key string, item store.Item, want bool) {
		t.Helper()
		if got, err := c.Claim(t.Context(), key, item); got != want || err != nil {
			t.Fatalf("Claim(%q) = %t, %v, want %t", key, got, err, want)
		}
	}
	mine, other := b.in(b.seen(), "mine", "tag"), b.in(time.Hour, "another's", "other tag")
	claims("k", mine, true)
	claims("k", other, false)
	b.finds(t, "k", mine)
	b.deleteTagged(t, "other tag", 0)
	b.advance(b.seen() + 20*time.Millisecond)
	claims("k", other, true)
	b.finds(t, "k", other)
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	claims("k", other, true)
	claims("past", b.in(-time.Second, "already past"), true)
	b.lacks(t, "past")
	if _, err := c.Claim(t.Context(), "", other); !errors.Is(err, store.ErrNoKey) {
		t.Errorf("an empty key: %v", err)
	}
	if ok, err := c.Claim(ended(), "free", other); ok || !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an ended context: %t, %v", ok, err)
	}
}

// told collects what a Watcher calls.
type told struct {
	mu   sync.Mutex
	keys map[string]int
}

func (w *told) changed(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[key]++
}

// forget begins anew.
func (w *told) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.keys)
}

// awaits fails unless key, or that it may be any, is told soon.
func (w *told) awaits(t *testing.T, what, key string) {
	t.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(time.Millisecond) {
		w.mu.Lock()
		n := w.keys[key] + w.keys[""]
		w.mu.Unlock()
		if n > 0 {
			return
		}
	}
	t.Fatalf("%s: not told", what)
}

func watch(t *testing.T, b *bench, o Options) {
	watcher, ok := b.Store.(store.Watcher)
	if !ok {
		if o.Another != nil {
			t.Error("a store that several processes share has to watch")
		}
		return
	}
	w := &told{keys: map[string]int{}}
	watcher.Watch(w.changed)
	other := &bench{Store: o.Another(t, b.Store), wall: b.wall, time: b.time}
	for what, change := range map[string]func(key string) error{
		"put":     func(key string) error { return other.Put(t.Context(), key, b.in(time.Hour, "new")) },
		"replace": func(key string) error { return other.replacer(t).Replace(t.Context(), key, b.in(time.Hour, "new")) },
		"delete":  func(key string) error { return other.Delete(t.Context(), key) },
		"take":    func(key string) error { _, err := other.Take(t.Context(), key); return err },
		"touch": func(key string) error {
			return other.Store.(store.Toucher).Touch(t.Context(), key, b.now().Add(3*time.Hour))
		},
		"delete tagged": func(key string) error { _, err := other.DeleteTagged(t.Context(), "sub:"+key); return err },
		"own put":       func(key string) error { return b.Put(t.Context(), key, b.in(time.Hour, "new")) },
		"own delete":    func(key string) error { return b.Delete(t.Context(), key) },
		"expiry":        func(string) error { return nil },
	} {
		key := "session:" + what
		rounds := 3
		if what == "expiry" {
			rounds = 2 // it has to be waited for
		}
		for range rounds { // each time anew: a store may tell once for each Get
			item := b.in(time.Hour, "v", "sub:"+key)
			if what == "expiry" {
				item = b.in(b.seen(), "v")
			}
			b.put(t, key, item)
			b.finds(t, key, item)
			w.forget()
			if err := change(key); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			w.awaits(t, what, key)
		}
	}
	watchCut(t, b, w, o)
}

// watchCut breaks the connections: everything may have changed.
func watchCut(t *testing.T, b *bench, w *told, o Options) {
	t.Helper()
	item := b.in(time.Hour, "v")
	b.put(t, "k", item)
	b.finds(t, "k", item)
	w.forget()
	o.Cut(t, b.Store)
	w.awaits(t, "a lost connection", "")
	for end := time.Now().Add(soon); ; time.Sleep(5 * time.Millisecond) {
		if _, err := b.Get(t.Context(), "k"); err == nil {
			break
		} else if time.Now().After(end) || !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("after a lost connection: %v", err)
		}
	}
	w.forget()
	if err := b.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	w.awaits(t, "a deletion over the new connection", "k")
}
