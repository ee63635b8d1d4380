// Package storetest is the suite that every store passes: what store.Store
// promises, said once, so that a new technology proves itself by one call.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Options{Open: func(t *testing.T, now func() time.Time) store.Store {
//			s := memory.New(memory.Options{Now: now})
//			t.Cleanup(func() { _ = s.Close() })
//			return s
//		}})
//	}
package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// Options say how a kind of store is made.
type Options struct {
	// Open makes an empty store that tells the time by now, and closes it at
	// the end of the test.
	Open func(t *testing.T, now func() time.Time) store.Store
	// WallTime says that the store tells the time by itself: now is then
	// time.Now, the suite sleeps where it would move a clock forward, and it
	// does not look at single milliseconds.
	WallTime bool
	// Another opens one more store over what st keeps its items in, as another
	// process would; nil for a store of one process. Such a store has to be a
	// store.Watcher.
	Another func(t *testing.T, st store.Store) store.Store
	// Cut breaks the connections of st; only with Another.
	Cut func(t *testing.T, st store.Store)
}

// Run runs the suite. Each of its tests opens a store of its own.
func Run(t *testing.T, o Options) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *bench)
	}{
		{"what was put is got, value, expiry and tags", roundTrip},
		{"a key that was never put is not found", unknownKey},
		{"a second put replaces the value and the tags", replace},
		{"an item is found until its expiry and not from it on", expiry},
		{"an item that has already expired removes what stood there", putExpired},
		{"a put after the expiry begins anew", putAfterExpiry},
		{"take answers once, then the key is free", take},
		{"of 50 concurrent takers one gets the item", takeOnce},
		{"delete removes, and again is no error", deleteTwice},
		{"delete tagged removes exactly what carries the tag", deleteTagged},
		{"delete tagged removes any number of items", deleteMany},
		{"delete tagged does not count what expired", deleteTaggedExpired},
		{"an item at the bounds is stored", atBounds},
		{"an item beyond a bound is refused and changes nothing", beyondBounds},
		{"keys, tags and values may hold any bytes", oddBytes},
		{"changing a slice after a call changes nothing in the store", callerOwns},
		{"an ended context is unavailable and never not found", endedContext},
		{"concurrent calls on few keys keep every answer whole", mixedLoad},
		{"count follows puts, deletes and expiry", counts},
		{"list tells every unexpired item under a prefix once", list},
		{"touch lengthens a life, shortens none and brings nothing back", touch},
		{"replace writes where an item stands and brings nothing back", replaceStanding},
		{"what is deleted while others replace it stays deleted", replaceRaces},
		{"what is put while its tag is ended can be ended", putRaces},
		{"delete tagged misses none of many that are replaced meanwhile", deleteManyReplaced},
		{"of 50 concurrent claims one is told true", claimOnce},
		{"a claim is free again after its expiry or deletion", claimAgain},
		{"watch tells what changed elsewhere", func(t *testing.T, b *bench) { watch(t, b, o) }},
		{"tallies are those of a simple model, by the store's own clock", tallyModel},
		{"of many, no window holds more than it may", tallyMany},
		{"of tallies at once no more are counted than may be", tallyTogether},
		{"each key is counted by itself", tallyKeys},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newBench(t, o))
		})
	}
}

// bench is a store with its clock and calls that fail the test.
type bench struct {
	store.Store
	wall bool

	mu   sync.Mutex
	time time.Time
}

func newBench(t *testing.T, o Options) *bench {
	t.Helper()
	b := &bench{wall: o.WallTime, time: time.Date(2030, 1, 2, 3, 4, 5, 6_000_000, time.UTC)}
	b.Store = o.Open(t, b.now)
	return b
}

func (b *bench) now() time.Time {
	if b.wall {
		return time.Now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.time
}

// advance moves the store's time forward.
func (b *bench) advance(d time.Duration) {
	if b.wall {
		time.Sleep(d)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.time = b.time.Add(d)
}

// in answers an item that expires after life.
func (b *bench) in(life time.Duration, value string, tags ...string) store.Item {
	return store.Item{Value: []byte(value), Expires: b.now().Add(life), Tags: tags}
}

func (b *bench) put(t *testing.T, key string, item store.Item) {
	t.Helper()
	if err := b.Put(t.Context(), key, item); err != nil {
		t.Errorf("Put(%q): %v", key, err) // goes on: called beside the test's own goroutine too
	}
}

// finds fails unless want stands under key.
func (b *bench) finds(t *testing.T, key string, want store.Item) {
	t.Helper()
	got, err := b.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	same(t, got, want)
}

// lacks fails unless Get and Take say that nothing stands under key.
func (b *bench) lacks(t *testing.T, key string) {
	t.Helper()
	if got, err := b.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Get(%q) = %v, %v, want ErrNotFound", key, got, err)
	}
	if got, err := b.Take(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("Take(%q) = %v, %v, want ErrNotFound", key, got, err)
	}
}

func (b *bench) deleteTagged(t *testing.T, tag string, want int) {
	t.Helper()
	if got, err := b.DeleteTagged(t.Context(), tag); err != nil || got != want {
		t.Fatalf("DeleteTagged(%q) = %d, %v, want %d", tag, got, err, want)
	}
}

// counts fails unless the store, if it counts, says want within some seconds.
func (b *bench) counts(t *testing.T, prefix string, want int) {
	t.Helper()
	counter, ok := b.Store.(store.Counter)
	if !ok {
		return
	}
	var got int
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if got, err = counter.Count(t.Context(), prefix); err == nil && got == want {
			return
		}
	}
	t.Fatalf("Count(%q) = %d, %v, want %d", prefix, got, err, want)
}

// same compares two items; tags are a set, and the expiry is in milliseconds.
func same(t *testing.T, got, want store.Item) {
	t.Helper()
	if !bytes.Equal(got.Value, want.Value) {
		t.Errorf("value %.80q, want %.80q", got.Value, want.Value)
	}
	if got.Expires.UnixMilli() != want.Expires.UnixMilli() {
		t.Errorf("expires %v, want %v", got.Expires, want.Expires)
	}
	if g, w := slices.Sorted(slices.Values(got.Tags)), slices.Sorted(slices.Values(want.Tags)); !slices.Equal(g, w) {
		t.Errorf("tags %.80q, want %.80q", g, w)
	}
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
