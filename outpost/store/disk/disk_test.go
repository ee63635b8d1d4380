package disk_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/storetest"
)

func TestStoreKeepsItsPromises(t *testing.T) {
	storetest.Run(t, storetest.Options{Open: func(t *testing.T, now func() time.Time) store.Store {
		return open(t, t.TempDir(), disk.Options{Now: now, SweepEvery: 20 * time.Millisecond})
	}})
}

func TestItemsTagsAndCountsAreThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	for i := range 10 {
		put(t, s, fmt.Sprint("session:", i))
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	s = open(t, dir, disk.Options{})
	item, err := s.Get(t.Context(), "session:3")
	if err != nil || len(item.Tags) != 2 {
		t.Errorf("Get = %v, %v", item, err)
	}
	if n, err := s.DeleteTagged(t.Context(), "sub:session:3"); n != 1 || err != nil {
		t.Errorf("DeleteTagged = %d, %v, want 1", n, err)
	}
	if n, err := s.Count(t.Context(), "session:"); n != 9 || err != nil {
		t.Errorf("Count = %d, %v, want 9", n, err)
	}
}

func TestSweepRemovesAnyNumberOfExpiredItems(t *testing.T) {
	var passed atomic.Int64
	start := time.Now()
	now := func() time.Time { return start.Add(time.Duration(passed.Load())) }
	s := open(t, t.TempDir(), disk.Options{Now: now, SweepEvery: 10 * time.Millisecond})
	together(2000, func(i int) { put(t, s, fmt.Sprint("session:", i)) })
	passed.Store(int64(2 * time.Hour))
	put(t, s, "plain")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n, err := s.Count(t.Context(), "session:")
		if n == 0 && err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("Count = %d, %v, want all swept", n, err)
		}
	}
}

func TestEveryCallOnAClosedStoreIsUnavailable(t *testing.T) {
	s := open(t, t.TempDir(), disk.Options{})
	put(t, s, "k")
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	ctx := t.Context()
	_, getError := s.Get(ctx, "k")
	_, takeError := s.Take(ctx, "k")
	_, taggedError := s.DeleteTagged(ctx, "sub:k")
	_, countError := s.Count(ctx, "")
	for name, err := range map[string]error{
		"get": getError, "take": takeError, "delete tagged": taggedError, "count": countError,
		"put": s.Put(ctx, "k", item("k")), "delete": s.Delete(ctx, "k"),
	} {
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}

func TestCloseUnderLoadLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, disk.Options{})
	var kept [64]int
	time.AfterFunc(50*time.Millisecond, func() { _ = s.Close() })
	together(len(kept), func(worker int) {
		for s.Put(context.Background(), fmt.Sprint(worker, ":", kept[worker]), item("k")) == nil {
			kept[worker]++
		}
	})
	s = open(t, dir, disk.Options{})
	for worker, n := range kept {
		for i := range n {
			if _, err := s.Get(t.Context(), fmt.Sprint(worker, ":", i)); err != nil {
				t.Fatalf("write %d of worker %d: %v", i, worker, err)
			}
		}
	}
}

func TestReadsAndWritesGoOnWhileALargeFileIsTrimmed(t *testing.T) {
	s := open(t, t.TempDir(), disk.Options{SweepEvery: 20 * time.Millisecond})
	large := item("k")
	large.Value = []byte(strings.Repeat("v", store.MaxValue))
	together(16, func(worker int) {
		for i := range 36 { // 36 MiB in all, which is enough to be trimmed
			key := fmt.Sprint(worker, ":", i)
			if err := s.Put(t.Context(), key, large); err != nil {
				t.Errorf("Put: %v", err)
			}
			if got, err := s.Get(t.Context(), key); err != nil || len(got.Value) != store.MaxValue {
				t.Errorf("Get: %d bytes, %v", len(got.Value), err)
			}
		}
	})
}

func BenchmarkGet(b *testing.B) {
	s := open(b, b.TempDir(), disk.Options{})
	together(10_000, func(i int) { put(b, s, fmt.Sprint("session:", i)) })
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if _, err := s.Get(b.Context(), fmt.Sprint("session:", i%10_000)); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := open(b, b.TempDir(), disk.Options{})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, s, fmt.Sprint("session:", i%10_000))
	}
}

func BenchmarkPutFrom256AtOnce(b *testing.B) {
	s := open(b, b.TempDir(), disk.Options{})
	b.SetParallelism(128)
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			put(b, s, fmt.Sprint("session:", n.Add(1)%100_000))
		}
	})
}

func open(t testing.TB, dir string, o disk.Options) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func item(key string) store.Item {
	return store.Item{
		Value: []byte(strings.Repeat("v", 300)), Expires: time.Now().Add(time.Hour), Tags: []string{"sub:" + key, "app:x"},
	}
}

func put(t testing.TB, s store.Store, key string) {
	t.Helper()
	if err := s.Put(context.Background(), key, item(key)); err != nil {
		t.Errorf("Put(%q): %v", key, err)
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
