package session

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// maxSeen bounds how many sessions are held decoded in memory. The others are
// read from the store again: slower by microseconds, and just as right.
const maxSeen = 50_000

// entry is a session held decoded.
type entry struct {
	key, value string // in the store, and of the cookie
	cookies    *cookies
	tags       []string
	record     *Record
	era        *era
	expires    atomic.Int64 // Unix nanoseconds
	touching   atomic.Bool  // an extension is under way

	renewed, ends int64 // Unix nanoseconds: when the issuer vouched, and before the access token ends
	next          *tries
}

// tries is how the renewal of a session stands, from one time that the issuer
// vouched to the next, however often the session is read meanwhile.
type tries struct {
	after  atomic.Int64 // Unix nanoseconds: none is begun before
	failed atomic.Int32 // in a row
}

// era is a time throughout which the store told of every change.
type era struct{ lost atomic.Int64 } // when it ended, Unix nanoseconds; 0 while it lasts

func newEntry(key, value string, rec *Record, item store.Item, at *era) *entry {
	e := &entry{key: key, value: value, tags: item.Tags, record: rec, era: at, ends: math.MaxInt64, next: &tries{}}
	e.expires.Store(item.Expires.UnixNano())
	if rec.Refresh == "" {
		return e
	}
	e.renewed = rec.Renewed.UnixNano()
	if life := rec.Until.Sub(rec.Renewed); !rec.Until.IsZero() && life > 0 {
		e.ends = rec.Renewed.Add(max(life-min(life/5, maxAhead), minEvery)).UnixNano()
	}
	return e
}

func (e *entry) alive(now time.Time, life outpost.Lifetimes) bool {
	return now.UnixNano() < e.expires.Load() && now.Before(e.record.Created.Add(life.Absolute))
}

// confirmed reports whether the store would have told of a change.
func (e *entry) confirmed() bool { return e.era.lost.Load() == 0 }

// due reports whether a request is to begin the renewal of the session.
func (e *entry) due(now time.Time, every time.Duration) bool {
	return e.old(now, every) && now.UnixNano() >= e.next.after.Load()
}

// old reports whether the issuer has to vouch for the session again.
func (e *entry) old(now time.Time, every time.Duration) bool {
	return e.record.Refresh != "" && every > 0 && now.UnixNano() >= min(e.renewed+int64(every), e.ends)
}

// seen holds sessions by their cookie's value, so that a check needs neither
// the signature nor the store again.
type seen struct {
	entries sync.Map            // cookie's value → *entry
	era     atomic.Pointer[era] // the one that lasts

	mu      sync.Mutex // guards every change of entries, and what is below
	keys    map[string]string
	changes [256]uint64 // of the sessions whose key falls there
}

func newSeen() *seen {
	s := &seen{keys: map[string]string{}}
	s.era.Store(&era{})
	return s
}

func (s *seen) get(value string) *entry {
	v, ok := s.entries.Load(value)
	if !ok {
		return nil
	}
	return v.(*entry)
}

// at answers where changes of key are counted.
func (s *seen) at(key string) *uint64 {
	n := len(key)
	if n < 2 {
		return &s.changes[0]
	}
	return &s.changes[key[n-1]^key[n-2]<<3]
}

// mark answers what put wants to know: how things stood before the reading.
func (s *seen) mark(key string) (uint64, *era) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.at(key), s.era.Load()
}

// put remembers e, which was read after mark, unless its session has changed
// since: one that was ended between the reading and the remembering must not
// come back.
func (s *seen) put(e *entry, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if *s.at(e.key) != mark {
		return
	}
	if len(s.keys) >= maxSeen {
		s.shrink()
	}
	if old := s.get(e.value); old != nil && old.renewed == e.renewed {
		e.next = old.next
	}
	s.entries.Store(e.value, e)
	s.keys[e.key] = e.value
}

// forget drops the session under a key of the store, which has changed there.
func (s *seen) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*s.at(key)++
	s.drop(key)
}

// forgetTagged is called after the store has deleted a group of sessions;
// the tag "" is everybody's.
func (s *seen) forgetTagged(tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.changes {
		s.changes[i]++
	}
	s.entries.Range(func(_, v any) bool {
		if e := v.(*entry); tag == "" || slices.Contains(e.tags, tag) {
			s.drop(e.key)
		}
		return true
	})
}

// lose ends the era: from now on, everything held has to be asked for again.
func (s *seen) lose(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.era.Load().lost.Store(now.UnixNano())
	s.era.Store(&era{})
}

func (s *seen) drop(key string) {
	s.entries.Delete(s.keys[key])
	delete(s.keys, key)
}

// shrink drops some tenth of the entries; which ones does not matter.
func (s *seen) shrink() {
	n := 0
	for key := range s.keys {
		if n++; n > maxSeen/10 {
			return
		}
		s.drop(key)
	}
}
