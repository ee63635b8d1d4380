package limit

import (
	"context"
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

// Guesses is Failures in this process alone. Trying while banned neither counts
// nor prolongs the ban. Its errors are always nil.
type Guesses struct {
	tries  int
	window int64 // nanoseconds
	lasts  int64 // a ban, in nanoseconds
	clock  func() int64
	keys   *table[failures]
}

// NewGuesses makes a Guesses that bans a key for the duration of ban at its
// tries-th failure (tries is at least 1) within any window. It remembers
// about the given number of keys, those that failed last. now is time.Now
// when nil.
func NewGuesses(tries int, window, ban time.Duration, keys int, now func() time.Time) *Guesses {
	g := &Guesses{tries: max(tries, 1), window: min(int64(window), forever), lasts: min(int64(ban), forever), clock: since(now)}
	g.keys = newTable(keys, func(f *failures, now int64) bool {
		f.forget(now - g.window)
		return len(f.at) == 0 && f.known <= now
	})
	return g
}

// failures is what one key did wrong, oldest first, and until when it is
// banned.
type failures struct {
	at    []int64
	until int64
	known int64 // that it is banned: of a ban by a store, sooner than until
}

func (f *failures) forget(then int64) {
	gone := 0
	for gone < len(f.at) && f.at[gone] <= then {
		gone++
	}
	f.at = f.at[gone:]
}

// Banned implements Failures.
func (g *Guesses) Banned(_ context.Context, key string) (time.Duration, error) {
	return g.banned(key), nil
}

// Fail implements Failures.
func (g *Guesses) Fail(_ context.Context, key string) (time.Duration, error) {
	return g.fail(key), nil
}

// Forgive implements Failures.
func (g *Guesses) Forgive(_ context.Context, key string, most int) (int, error) {
	return g.forgive(key, most), nil
}

func (g *Guesses) banned(key string) time.Duration {
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.find(key)
	if f == nil || f.until == 0 {
		return 0
	}
	now := g.clock()
	if f.known <= now {
		return 0
	}
	return time.Duration(f.until - now)
}

func (g *Guesses) fail(key string) time.Duration {
	now := g.clock()
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.use(key, now)
	if f.known > now {
		return time.Duration(f.until - now)
	}
	f.forget(now - g.window)
	f.at = append(f.at, now)
	if len(f.at) >= g.tries {
		f.at, f.until = nil, now+g.lasts
		f.known = f.until
	}
	return 0
}

func (g *Guesses) forgive(key string, most int) int {
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

// ban remembers that a store bans key until then. Within known, nobody has to
// ask it again.
func (g *Guesses) ban(key string, until, known int64) {
	s := g.keys.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.use(key, g.clock()); f.known < known {
		f.until, f.known = until, known
	}
}

// Throttled implements outpost.Throttled.
func (e *ThrottledError) Throttled() time.Duration { return e.RetryAfter }
