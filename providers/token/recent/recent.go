package recent

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"
)

// Digest is what is kept of a token: never the token itself.
type Digest [sha256.Size]byte

// Key digests a token with the digest of everything that its acceptance
// depends on.
func Key(salt Digest, token string) Digest {
	var buf [2 << 10]byte // most tokens fit, and cost no allocation
	return sha256.Sum256(append(append(buf[:0], salt[:]...), token...))
}

// Bounds of a cache.
const (
	shards     = 16              // each with a lock of its own
	entrySize  = 8 << 10         // bytes that an entry may take on average
	sweepEvery = 5 * time.Second // between looking for what expired
)

// Cache keeps values until they expire, at most so many and so many bytes; who
// was not asked for the longest makes room. It may be used by many at once.
type Cache[V any] struct {
	shards  [shards]shard[V]
	evicted atomic.Uint64
}

type shard[V any] struct {
	mu    sync.Mutex
	byKey map[Digest]*list.Element
	order list.List // of *item[V], last used first
	room  int       // entries
	bytes int
	swept time.Time
}

type item[V any] struct {
	key   Digest
	value V
	until time.Time
	size  int
}

// New makes a Cache of about that many entries.
func New[V any](entries int) *Cache[V] {
	c := &Cache[V]{}
	for i := range c.shards {
		c.shards[i].byKey = map[Digest]*list.Element{}
		c.shards[i].room = max(1, (entries+shards-1)/shards)
	}
	return c
}

func (c *Cache[V]) of(key Digest) *shard[V] { return &c.shards[key[0]%shards] }

// Get answers what is kept under key and has not expired.
func (c *Cache[V]) Get(key Digest, now time.Time) (value V, ok bool) {
	s := c.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.byKey[key]
	if e == nil {
		return value, false
	}
	it := e.Value.(*item[V])
	if !now.Before(it.until) {
		s.remove(e)
		return value, false
	}
	s.order.MoveToFront(e)
	return it.value, true
}

// Put keeps value, which takes about size bytes, until then.
func (c *Cache[V]) Put(key Digest, value V, size int, now, until time.Time) {
	if !now.Before(until) {
		return
	}
	s := c.of(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.byKey[key]; e != nil {
		s.remove(e)
	}
	if now.Sub(s.swept).Abs() >= sweepEvery {
		s.sweep(now)
	}
	s.byKey[key] = s.order.PushFront(&item[V]{key, value, until, size})
	s.bytes += size
	for s.order.Len() > 1 && (s.order.Len() > s.room || s.bytes > s.room*entrySize) {
		s.remove(s.order.Back())
		c.evicted.Add(1)
	}
}

// Count answers how many have not expired. It walks them all.
func (c *Cache[V]) Count(now time.Time) int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.sweep(now)
		n += s.order.Len()
		s.mu.Unlock()
	}
	return n
}

func (s *shard[V]) sweep(now time.Time) {
	s.swept = now
	for e := s.order.Front(); e != nil; {
		next := e.Next()
		if !now.Before(e.Value.(*item[V]).until) {
			s.remove(e)
		}
		e = next
	}
}

func (s *shard[V]) remove(e *list.Element) {
	it := s.order.Remove(e).(*item[V])
	delete(s.byKey, it.key)
	s.bytes -= it.size
}

// Evicted answers how many left before their time, for want of room.
func (c *Cache[V]) Evicted() uint64 { return c.evicted.Load() }
