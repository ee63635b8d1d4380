package demo

import (
	"crypto/rand"
	"sync"
	"time"
)

// shelf keeps things for a while under names that nobody can guess. It holds
// a bounded number, so that nobody fills the memory.
type shelf[T any] struct {
	life time.Duration
	most int
	now  func() time.Time

	mu    sync.Mutex
	items map[string]shelved[T]
}

type shelved[T any] struct {
	thing T
	until time.Time
}

func newShelf[T any](life time.Duration, most int, now func() time.Time) *shelf[T] {
	return &shelf[T]{life: life, most: most, now: now, items: map[string]shelved[T]{}}
}

// put answers the name of thing, or "" when the shelf is full.
func (s *shelf[T]) put(thing T) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.items) >= s.most {
		for name, item := range s.items {
			if now.After(item.until) {
				delete(s.items, name)
			}
		}
	}
	if len(s.items) >= s.most {
		return ""
	}
	name := rand.Text()
	s.items[name] = shelved[T]{thing, now.Add(s.life)}
	return name
}

// get answers the thing called name while it lives.
func (s *shelf[T]) get(name string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.items[name]
	return item.thing, ok && !s.now().After(item.until)
}

// take is get that nobody can do twice.
func (s *shelf[T]) take(name string) (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	item, ok := s.items[name]
	delete(s.items, name)
	return item.thing, ok && !s.now().After(item.until)
}
