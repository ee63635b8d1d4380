package memory_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/outpost/store/storetest"
)

func TestStoreKeepsItsPromises(t *testing.T) {
	storetest.Run(t, storetest.Options{Open: func(t *testing.T, now func() time.Time) store.Store {
		s := memory.New(memory.Options{Now: now, SweepEvery: 20 * time.Millisecond})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}})
}

func TestSweepForgetsWhatExpiredAndCloseEndsIt(t *testing.T) {
	// synctest also fails when a goroutine outlives the test.
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		for i := range 1000 {
			put(t, s, fmt.Sprint("lease:", i), time.Minute)
		}
		put(t, s, "session:1", time.Hour)
		time.Sleep(time.Minute + 6*time.Second)
		if n, err := s.Count(t.Context(), ""); n != 1 || err != nil {
			t.Errorf("Count = %d, %v after a sweep, want 1", n, err)
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if _, err := s.Get(t.Context(), "session:1"); err != nil {
			t.Errorf("Get after Close: %v, want the item", err)
		}
		if _, err := s.Get(t.Context(), "lease:1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of what expired: %v", err)
		}
	})
}

func put(t testing.TB, s store.Store, key string, life time.Duration) {
	t.Helper()
	item := store.Item{
		Value: []byte(strings.Repeat("v", 300)), Expires: time.Now().Add(life), Tags: []string{"sub:" + key, "app:x"},
	}
	if err := s.Put(t.Context(), key, item); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

func BenchmarkGet(b *testing.B) {
	s := memory.New(memory.Options{})
	b.Cleanup(func() { _ = s.Close() })
	put(b, s, "session:1", time.Hour)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Get(b.Context(), "session:1"); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	s := memory.New(memory.Options{})
	b.Cleanup(func() { _ = s.Close() })
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		put(b, s, fmt.Sprint("session:", i%100_000), time.Hour)
	}
}
