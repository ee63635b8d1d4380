// Package redistest opens stores over a Redis for tests of what is built on
// them.
package redistest

import (
	"errors"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
)

// Open opens a store over the server at address, host:port, as a process of
// its own would, and waits until it answers. It is closed with the test. A call
// may take five seconds: tests come in bursts, on busy machines.
func Open(t testing.TB, address string) *redis.Store {
	t.Helper()
	s, err := redis.New(redis.Options{Addresses: []string{address}, Keys: [][]byte{make([]byte, 32)}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err = s.Get(t.Context(), "ready"); errors.Is(err, store.ErrNotFound) {
			return s
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
