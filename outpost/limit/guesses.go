package limit

import (
	"fmt"
	"time"
)

// ThrottledError refuses an attempt, also a right one, because too many have
// failed before.
type ThrottledError struct {
	RetryAfter time.Duration // until the next attempt is looked at; above 0
}

// Error answers what happened and when it ends.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("too many failures; the next attempt is looked at in %s", e.RetryAfter.Round(time.Second))
}

// Guesses counts failures per key and bans a key for a while after too many.
// Trying while banned neither counts nor prolongs the ban.
type Guesses struct {
	tries       int
	window, ban int64 // nanoseconds
	now         func() time.Time
	began       time.Time
	keys        *table[failures]
}

// NewGuesses makes a Guesses that bans a key for the duration of ban at its
// tries-th failure (tries is at least 1) within any window. It remembers
// about the given number of keys, those that failed last. now is time.Now
// when nil.
func NewGuesses(tries int, window, ban time.Duration, keys int, now func() time.Time) *Guesses {
	if now == nil {
		now = time.Now
	}
	g := &Guesses{tries: max(tries, 1), window: min(int64(window), forever), ban: min(int64(ban), forever), now: now, began: now()}
	g.keys = newTable(keys, func(f *failures, now int64) bool {
		f.forget(now - g.window)
		return len(f.at) == 0 && f.until <= now
	})
	return g
}

// failures is what one key did wrong, oldest first, and until when it is
// banned.
type failures struct {
	at    []int64
	until int64
}

func (f *failures) forget(then int64) {
	gone := 0
	for gone < len(f.at) && f.at[gone] <= then {
		gone++
	}
	f.at = f.at[gone:]
}

// Banned answers for how long key is still banned; 0 when it is not.
func (g *Guesses) Banned(key string) time.Duration {
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(key)
	if f == nil || f.until == 0 {
		return 0
	}
	return time.Duration(max(0, f.until-g.clock()))
}

// Fail counts a failure of key. For a key that is banned it counts nothing and
// answers for how long that lasts. Of attempts made at once, so, no more than
// the allowed tries are told that they were wrong.
func (g *Guesses) Fail(key string) time.Duration {
	now := g.clock()
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.use(key, now)
	if f.until > now {
		return time.Duration(f.until - now)
	}
	f.forget(now - g.window)
	f.at = append(f.at, now)
	if len(f.at) >= g.tries {
		f.at, f.until = nil, now+g.ban
	}
	return 0
}

// Forgive takes back up to most of the failures counted last for key, and
// answers how many these were. It ends no ban.
func (g *Guesses) Forgive(key string, most int) int {
	now := g.clock()
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(key)
	if f == nil {
		return 0
	}
	f.forget(now - g.window)
	n := min(most, len(f.at))
	f.at = f.at[:len(f.at)-n]
	return n
}

func (g *Guesses) clock() int64 { return int64(g.now().Sub(g.began)) }

// Throttled implements outpost.Throttled.
func (e *ThrottledError) Throttled() time.Duration { return e.RetryAfter }
