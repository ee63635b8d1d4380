package limit

import (
	"hash/maphash"
	"sync"
)

// shards is how many locks a table has.
const shards = 64

// table keeps an E for each key, of the keys used last. Its shards are
// independent of each other and bounded each, so that a flood of keys costs
// neither memory nor a lock that everybody needs.
type table[E any] struct {
	seed   maphash.Seed
	idle   func(e *E, now int64) bool // whether e says nothing any more
	shards [shards]shard[E]
}

// newTable makes a table of at most entries keys, and at least one per shard.
func newTable[E any](entries int, idle func(*E, int64) bool) *table[E] {
	t := &table[E]{seed: maphash.MakeSeed(), idle: idle}
	for i := range t.shards {
		s := &t.shards[i]
		s.table, s.most, s.entries = t, max(1, entries/shards), map[string]*entry[E]{}
		s.ends.newer, s.ends.older = &s.ends, &s.ends
	}
	return t
}

// shard answers the shard of key. Its caller holds the lock while it uses it
// and whatever it got from it.
func (t *table[E]) shard(key string) *shard[E] {
	return &t.shards[maphash.String(t.seed, key)%shards]
}

// len answers how many keys are kept.
func (t *table[E]) len() int {
	n := 0
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

type shard[E any] struct {
	mu      sync.Mutex
	table   *table[E]
	most    int
	entries map[string]*entry[E]
	ends    entry[E] // of the ring by use: ends.older is the newest entry, ends.newer the oldest
}

type entry[E any] struct {
	newer, older *entry[E]
	key          string
	value        E
}

// find answers what is kept for key, or nil.
func (s *shard[E]) find(key string) *E {
	if e := s.entries[key]; e != nil {
		return &e.value
	}
	return nil
}

// use answers what is kept for key, new if need be, and makes it the last
// that a flood of other keys drops.
func (s *shard[E]) use(key string, now int64) *E {
	e := s.entries[key]
	if e == nil {
		s.makeRoom(now)
		e = &entry[E]{key: key}
		s.entries[key] = e
	} else {
		e.newer.older, e.older.newer = e.older, e.newer
	}
	e.newer, e.older = &s.ends, s.ends.older
	e.older.newer, s.ends.older = e, e
	return &e.value
}

// makeRoom drops the oldest entry when the shard is full, and in any case up
// to two old ones that are idle, so that a table shrinks after a flood.
func (s *shard[E]) makeRoom(now int64) {
	for range 2 {
		oldest := s.ends.newer
		if oldest == &s.ends || len(s.entries) < s.most && !s.table.idle(&oldest.value, now) {
			return
		}
		oldest.newer.older, oldest.older.newer = oldest.older, oldest.newer
		delete(s.entries, oldest.key)
	}
}
