package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// life is short enough to wait for.
const life = 400 * time.Millisecond

// seen is the life of an item that has to be seen before it ends: over wall time
// long enough for a busy machine.
func (b *bench) seen() time.Duration {
	if b.wall {
		return 5 * life
	}
	return life
}

func roundTrip(t *testing.T, b *bench) {
	for i, item := range []store.Item{
		b.in(time.Hour, "value", "sub:1", "sid:2", "app:3"),
		b.in(time.Hour, "no tags"),
		b.in(time.Hour, "", "only a tag"),
		b.in(100*365*24*time.Hour, "a hundred years"),
	} {
		key := fmt.Sprint("session:", i)
		b.put(t, key, item)
		b.finds(t, key, item)
		b.finds(t, key, item)
	}
}

func unknownKey(t *testing.T, b *bench) {
	b.put(t, "session:a", b.in(time.Hour, "v"))
	b.lacks(t, "session:")
	b.lacks(t, "session:aa")
	b.lacks(t, "")
	b.lacks(t, strings.Repeat("k", store.MaxKey+1))
	b.deleteTagged(t, "session:a", 0)
}

func replace(t *testing.T, b *bench) {
	b.put(t, "k", b.in(time.Hour, "old", "kept", "dropped"))
	item := b.in(2*time.Hour, "new", "kept", "added")
	b.put(t, "k", item)
	b.finds(t, "k", item)
	b.deleteTagged(t, "dropped", 0)
	b.deleteTagged(t, "added", 1)
	b.lacks(t, "k")
	b.deleteTagged(t, "kept", 0)
}

func expiry(t *testing.T, b *bench) {
	item := b.in(b.seen(), "v", "tag")
	b.put(t, "k", item)
	b.finds(t, "k", item)
	if !b.wall {
		b.advance(b.seen() - time.Millisecond)
		b.finds(t, "k", item)
		b.advance(time.Millisecond)
	} else {
		b.advance(b.seen() + 20*time.Millisecond)
	}
	b.lacks(t, "k")
}

func putExpired(t *testing.T, b *bench) {
	for _, expires := range []time.Time{{}, b.now().Add(-time.Hour), b.now().Add(-time.Millisecond), b.now()} {
		b.put(t, "k", b.in(time.Hour, "old", "tag"))
		b.put(t, "k", store.Item{Value: []byte("new"), Expires: expires, Tags: []string{"tag"}})
		b.lacks(t, "k")
		b.deleteTagged(t, "tag", 0)
	}
}

func putAfterExpiry(t *testing.T, b *bench) {
	b.put(t, "k", b.in(life, "old", "old tag"))
	b.advance(life + 20*time.Millisecond)
	item := b.in(time.Hour, "new", "new tag")
	b.put(t, "k", item)
	b.deleteTagged(t, "old tag", 0)
	b.finds(t, "k", item)
}

func take(t *testing.T, b *bench) {
	item := b.in(time.Hour, "v", "tag")
	for range 2 {
		b.put(t, "k", item)
		got, err := b.Take(t.Context(), "k")
		if err != nil {
			t.Fatalf("Take: %v", err)
		}
		same(t, got, item)
		b.lacks(t, "k")
		b.deleteTagged(t, "tag", 0)
	}
}

func takeOnce(t *testing.T, b *bench) {
	for round := range 10 {
		key := fmt.Sprint("pending:", round)
		b.put(t, key, b.in(time.Hour, key))
		var got, missed atomic.Int32
		together(50, func(int) {
			item, err := b.Take(t.Context(), key)
			switch {
			case err == nil && string(item.Value) == key:
				got.Add(1)
			case errors.Is(err, store.ErrNotFound):
				missed.Add(1)
			}
		})
		if got.Load() != 1 || missed.Load() != 49 {
			t.Fatalf("%d got it and %d were told that it is not there, want 1 and 49", got.Load(), missed.Load())
		}
	}
}

func deleteTwice(t *testing.T, b *bench) {
	b.put(t, "k", b.in(time.Hour, "v", "tag"))
	other := b.in(time.Hour, "v")
	b.put(t, "other", other)
	for range 2 {
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		b.lacks(t, "k")
	}
	b.deleteTagged(t, "tag", 0)
	b.finds(t, "other", other)
}

func deleteTagged(t *testing.T, b *bench) {
	b.put(t, "1", b.in(time.Hour, "v", "sub:a", "app:x"))
	b.put(t, "2", b.in(time.Hour, "v", "app:x", "sub:a", "sub:a"))
	b.put(t, "3", b.in(time.Hour, "v", "sub:b", "app:x"))
	b.put(t, "4", b.in(time.Hour, "v", "sub:", "sub:a ", "sub:ab"))
	b.put(t, "5", b.in(time.Hour, "v"))
	b.put(t, "6", b.in(time.Hour, "v", "sub:a"))
	b.put(t, "6", b.in(time.Hour, "put again without the tag"))
	b.deleteTagged(t, "sub:a", 2)
	b.lacks(t, "1")
	b.lacks(t, "2")
	for _, key := range []string{"3", "4", "5", "6"} {
		if _, err := b.Get(t.Context(), key); err != nil {
			t.Errorf("Get(%q): %v, want it kept", key, err)
		}
	}
	b.deleteTagged(t, "sub:a", 0)
	b.deleteTagged(t, "app:x", 1)
	b.put(t, "1", b.in(time.Hour, "v", "sub:a"))
	b.deleteTagged(t, "sub:a", 1)
}

func deleteMany(t *testing.T, b *bench) {
	const many = 1100
	together(many, func(i int) {
		b.put(t, fmt.Sprint("session:", i), b.in(time.Hour, "v", "app:x", fmt.Sprint("sub:", i)))
	})
	b.put(t, "session:other", b.in(time.Hour, "v", "app:y"))
	b.deleteTagged(t, "app:x", many)
	b.lacks(t, "session:0")
	b.lacks(t, fmt.Sprint("session:", many-1))
	b.deleteTagged(t, "app:y", 1)
}

func deleteTaggedExpired(t *testing.T, b *bench) {
	b.put(t, "short", b.in(life, "v", "tag"))
	b.put(t, "long", b.in(time.Hour, "v", "tag"))
	b.advance(life + 20*time.Millisecond)
	b.deleteTagged(t, "tag", 1)
	b.lacks(t, "long")
}

func atBounds(t *testing.T, b *bench) {
	item := b.in(time.Hour, strings.Repeat("v", store.MaxValue))
	for i := range store.MaxTags {
		item.Tags = append(item.Tags, fmt.Sprint(i)+strings.Repeat("t", store.MaxKey-1))
	}
	key := strings.Repeat("k", store.MaxKey)
	b.put(t, key, item)
	b.finds(t, key, item)
	b.deleteTagged(t, item.Tags[store.MaxTags-1], 1)
}

func beyondBounds(t *testing.T, b *bench) {
	old := b.in(time.Hour, "old")
	b.put(t, "k", old)
	long := strings.Repeat("x", store.MaxKey+1)
	for _, c := range []struct {
		name, key string
		item      store.Item
		want      error
	}{
		{"an empty key", "", b.in(time.Hour, "v"), store.ErrNoKey},
		{"a long key", long, b.in(time.Hour, "v"), store.ErrTooLarge},
		{"a long value", "k", b.in(time.Hour, strings.Repeat("v", store.MaxValue+1)), store.ErrTooLarge},
		{"a long tag", "k", b.in(time.Hour, "v", "tag", long), store.ErrTooLarge},
		{"too many tags", "k", b.in(time.Hour, "v", strings.Split("123456789", "")...), store.ErrTooLarge},
	} {
		if err := b.Put(t.Context(), c.key, c.item); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	b.finds(t, "k", old)
	b.lacks(t, long)
	b.deleteTagged(t, "tag", 0)
}

func oddBytes(t *testing.T, b *bench) {
	odd := []string{
		"\x00", "\x00\x00", "a\x00b", "a\x00", "a", "\xff", "\xff\xff\xff", "\u00e9", "e\u0301", "日本",
		" ", "\r\n", "*", "a*", "{a}", ":", "::", "a:",
	}
	items := map[string]store.Item{}
	for _, s := range odd {
		items[s] = b.in(time.Hour, s, s, "every")
		b.put(t, s, items[s])
	}
	for s, item := range items {
		b.finds(t, s, item)
	}
	for _, s := range odd {
		b.deleteTagged(t, s, 1)
		b.lacks(t, s)
	}
}

func callerOwns(t *testing.T, b *bench) {
	want := b.in(time.Hour, "value", "tag")
	mine := b.in(time.Hour, "value", "tag")
	mine.Expires = want.Expires
	spoil := func(item store.Item) {
		_ = append(item.Value, "more"...)
		copy(item.Value, "XXXXX")
		copy(item.Tags, []string{"spoilt"})
	}
	b.put(t, "k", mine)
	spoil(mine)
	b.finds(t, "k", want)
	got, err := b.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	spoil(got)
	b.finds(t, "k", want)
	b.deleteTagged(t, "tag", 1)
}

func endedContext(t *testing.T, b *bench) {
	item := b.in(time.Hour, "v", "tag")
	b.put(t, "k", item)
	_, getError := b.Get(ended(), "k")
	_, missError := b.Get(ended(), "not there")
	_, takeError := b.Take(ended(), "k")
	_, taggedError := b.DeleteTagged(ended(), "tag")
	for name, err := range map[string]error{
		"get": getError, "get of what is not there": missError, "take": takeError, "delete tagged": taggedError,
		"put": b.Put(ended(), "k", b.in(time.Hour, "new")), "delete": b.Delete(ended(), "k"),
	} {
		if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrUnavailable with the context's error", name, err)
		}
	}
	b.finds(t, "k", item)
}

func mixedLoad(t *testing.T, b *bench) {
	together(32, func(worker int) {
		for i := range 30 {
			key := fmt.Sprint("session:", (worker+i)%5)
			switch i % 6 {
			case 0, 1:
				b.put(t, key, b.in(time.Hour, strings.Repeat(key, 50), key))
			case 2:
				whole(t, key)(b.Take(t.Context(), key))
			case 3:
				if _, err := b.DeleteTagged(t.Context(), key); err != nil {
					t.Errorf("DeleteTagged: %v", err)
				}
			default:
				whole(t, key)(b.Get(t.Context(), key))
			}
		}
	})
	for i := range 5 {
		if err := b.Delete(t.Context(), fmt.Sprint("session:", i)); err != nil {
			t.Errorf("Delete: %v", err)
		}
		b.deleteTagged(t, fmt.Sprint("session:", i), 0)
	}
	b.counts(t, "", 0)
}

// whole checks an answer that may be not found, but never another item's.
func whole(t *testing.T, key string) func(store.Item, error) {
	return func(item store.Item, err error) {
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			t.Errorf("%q: %v", key, err)
		case !bytes.Equal(item.Value, []byte(strings.Repeat(key, 50))) || !slices.Equal(item.Tags, []string{key}):
			t.Errorf("%q: a broken item %.80q %q", key, item.Value, item.Tags)
		}
	}
}

func counts(t *testing.T, b *bench) {
	if _, ok := b.Store.(store.Counter); !ok {
		t.Skip("the store does not count")
	}
	for i := range 10 {
		b.put(t, fmt.Sprint("session:", i), b.in(time.Hour, "v", "tag", fmt.Sprint("sub:", i%2)))
		b.put(t, fmt.Sprint("session:", i), b.in(time.Hour, "again", "tag", fmt.Sprint("sub:", i%2)))
	}
	b.put(t, "lease:1", b.in(time.Hour, "v"))
	b.put(t, "lease:2", b.in(life, "v"))
	b.put(t, "plain", b.in(time.Hour, "v"))
	b.counts(t, "session:", 10)
	b.counts(t, "session:1", 1)
	b.counts(t, "sess", 10)
	b.counts(t, "other:", 0)
	b.counts(t, "pla", 1)
	b.advance(life + 20*time.Millisecond)
	b.counts(t, "lease:", 1)
	b.counts(t, "", 12)
	b.deleteTagged(t, "sub:1", 5)
	b.counts(t, "session:", 5)
	_, _ = b.Take(t.Context(), "session:0")
	_ = b.Delete(t.Context(), "session:2")
	b.counts(t, "session:", 3)
	b.counts(t, "", 5)
}

func list(t *testing.T, b *bench) {
	lister, ok := b.Store.(store.Lister)
	if !ok {
		t.Fatal("every store of ours can list")
	}
	const many = 600 // more than one step of any store
	want := map[string]store.Item{}
	for i := range many {
		want[fmt.Sprint("lease:", i)] = b.in(time.Hour, fmt.Sprint("v", i), "tag", fmt.Sprint("key:", i%3))
	}
	want["lease:\xff"], want["lease:"] = b.in(time.Hour, "odd"), b.in(time.Hour, "the prefix itself")
	for key, item := range want {
		b.put(t, key, item)
	}
	for _, key := range []string{"lease", "lease;", "leasf:1", "a", "xlease:1"} {
		b.put(t, key, b.in(time.Hour, "another"))
	}
	b.put(t, "lease:short", b.in(life, "v"))
	b.advance(life + 20*time.Millisecond)
	told := map[string]int{}
	err := lister.List(t.Context(), "lease:", func(key string, item store.Item) error {
		told[key]++
		same(t, item, want[key])
		copy(item.Value, "XXXX")
		return b.Delete(t.Context(), "lease;") // the store may be used meanwhile
	})
	if err != nil || len(told) != len(want) {
		t.Fatalf("%d told, %v, want %d", len(told), err, len(want))
	}
	for key, n := range told {
		if n != 1 {
			t.Errorf("%q told %d times", key, n)
		}
	}
	b.finds(t, "lease:7", want["lease:7"])
	listEnds(t, b, lister)
}

// listEnds holds how a list ends early, and that an empty one is no error.
func listEnds(t *testing.T, b *bench, lister store.Lister) {
	t.Helper()
	enough, calls := errors.New("enough"), 0
	each := func(string, store.Item) error { calls++; return enough }
	if err := lister.List(t.Context(), "lease:", each); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("an error of the caller: %v after %d calls, want it after 1", err, calls)
	}
	if err := lister.List(t.Context(), "nothing:", each); err != nil || calls != 1 {
		t.Errorf("nothing there: %v, %d calls", err, calls)
	}
	if err := lister.List(ended(), "lease:", each); !errors.Is(err, store.ErrUnavailable) || calls != 1 {
		t.Errorf("an ended context: %v, %d calls, want ErrUnavailable", err, calls)
	}
}

func touch(t *testing.T, b *bench) {
	toucher, ok := b.Store.(store.Toucher)
	if !ok {
		t.Fatal("every store of ours can touch")
	}
	long := b.in(2*time.Hour, "v", "tag")
	b.put(t, "k", b.in(time.Hour, "v", "tag"))
	for _, expires := range []time.Time{long.Expires, long.Expires.Add(-90 * time.Minute)} {
		if err := toucher.Touch(t.Context(), "k", expires); err != nil {
			t.Fatal(err)
		}
		b.finds(t, "k", long)
	}
	b.deleteTagged(t, "tag", 1)
	if err := toucher.Touch(t.Context(), "k", long.Expires); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("touching what has gone: %v", err)
	}
	b.lacks(t, "k")
	if err := toucher.Touch(ended(), "k", long.Expires); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("touching with an ended context: %v", err)
	}
}

// together runs do(0) to do(n-1) at once and waits for all.
func together(n int, do func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}
