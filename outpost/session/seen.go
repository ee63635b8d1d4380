package session

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
)

// maxSeen bounds how many sessions are held decoded in memory. The others are
// read from the store again: slower by microseconds, and just as right.
const maxSeen = 50_000

// entry is a session held decoded.
type entry struct {
	key     string
	record  *Record
	expires atomic.Int64 // Unix nanoseconds
	busy    atomic.Bool  // an extension is under way
}

func (e *entry) alive(now time.Time, life outpost.Lifetimes) bool {
	return now.UnixNano() < e.expires.Load() && now.Before(e.record.Created.Add(life.Absolute))
}

// seen holds sessions by their cookie's value, so that a check needs neither
// the signature nor the store again. Its zero value is ready.
type seen struct {
	entries sync.Map // string → *entry
	count   atomic.Int64
	epoch   atomic.Uint64 // counts endings
}

func (s *seen) get(value string) *entry {
	v, ok := s.entries.Load(value)
	if !ok {
		return nil
	}
	return v.(*entry)
}

// put remembers e, which was read when epoch was current. The epoch is looked
// at again afterwards: a session that was ended between the reading and the
// remembering must not come back.
func (s *seen) put(value string, e *entry, epoch uint64) {
	if s.count.Load() >= maxSeen {
		s.shrink()
	}
	if _, had := s.entries.Swap(value, e); !had {
		s.count.Add(1)
	}
	if s.epoch.Load() != epoch {
		s.drop(value)
	}
}

// forget is called after the store has deleted the session.
func (s *seen) forget(value string) {
	s.epoch.Add(1)
	s.drop(value)
}

// forgetAll is called after the store has deleted a group of sessions.
func (s *seen) forgetAll() {
	s.epoch.Add(1)
	s.entries.Range(func(k, _ any) bool { s.drop(k.(string)); return true })
}

func (s *seen) drop(value string) {
	if _, had := s.entries.LoadAndDelete(value); had {
		s.count.Add(-1)
	}
}

// shrink drops some tenth of the entries; which ones does not matter.
func (s *seen) shrink() {
	n := 0
	s.entries.Range(func(k, _ any) bool {
		s.drop(k.(string))
		n++
		return n < maxSeen/10
	})
}
