package limit

import (
	"context"
	"fmt"
	"math"
	"time"
)

// remembered is for how long at most a refusal by the store is given again
// without asking it. It is short, so that what an operator clears there is
// clear soon.
const remembered = 10 * time.Second

// longest is the longest window or ban that a store counts.
const longest = 100 * 365 * 24 * time.Hour

// Shared limits a rate over all processes that count in one store. Each Take
// is one round trip, except that a key which the store has refused is refused
// here, for as long as it surely would be and 10 seconds at most. A flood,
// so, costs the store nothing.
//
// No window of the given length, wherever it begins, holds more admitted
// requests of all processes together than the limit, as Tallier has it:
// by the store's clock, and while the store loses nothing. A limit of up to 32
// requests is exact, and with a higher one a request may count for up to a
// 32nd of the window too long, never too short.
type Shared struct {
	store Tallier
	tally Tally // but for its key and what is added
	name  string
	clock func() int64
	full  *table[refusal]
}

// refusal is a key that the store admits nothing for.
type refusal struct {
	until int64 // as the store has it
	known int64 // not to be asked about before
}

// NewShared makes a Shared that admits requests in every window of the length
// per, which counts as a millisecond at least. When either is not positive, it
// admits nothing. Those of the same name and numbers count together. now is
// time.Now when nil.
func NewShared(t Tallier, name string, requests int, per time.Duration, now func() time.Time) *Shared {
	if per <= 0 {
		requests, per = 0, time.Second
	}
	s := &Shared{store: t, clock: since(now), tally: Tally{Most: max(requests, 0), Window: countable(per), Add: 1}}
	s.name = fmt.Sprint("rate ", name, " ", s.tally.Most, " ", s.tally.Window, "\x00")
	s.full = newTable(maxKeys, func(r *refusal, now int64) bool { return r.known <= now })
	return s
}

// countable answers d within the bounds of what a store counts.
func countable(d time.Duration) time.Duration { return min(max(d, time.Millisecond), longest) }

// since answers a clock in nanoseconds from now on.
func since(now func() time.Time) func() int64 {
	if now == nil {
		now = time.Now
	}
	began := now()
	return func() int64 { return int64(now().Sub(began)) }
}

// Take counts one request of key and says whether it is admitted. When the
// store does not answer, nobody is admitted: the error wraps
// store.ErrUnavailable.
func (s *Shared) Take(ctx context.Context, key string) (Limit, error) {
	l := Limit{Limit: s.tally.Most, Window: s.tally.Window}
	began := s.clock()
	if wait := s.refused(key, began); wait > 0 {
		l.Reset, l.RetryAfter = wait, wait
		return l, nil
	}
	t := s.tally
	t.Key = s.name + key
	got, err := s.store.Tally(ctx, t)
	if err != nil {
		return Limit{}, fmt.Errorf("rate limit: %w", err)
	}
	l.OK, l.Remaining, l.Reset = got.Counted == 1, max(0, t.Most-got.Sum), got.Reset
	if !l.OK {
		l.RetryAfter = got.Reset
	}
	if l.Remaining == 0 {
		s.refuse(key, began, got.Reset)
	}
	return l, nil
}

// Full reports whether Take would refuse key now, as far as that is known
// without asking the store: of a key that others have filled it is false until
// the first Take. It counts nothing.
func (s *Shared) Full(key string) bool { return s.refused(key, s.clock()) > 0 }

// refused answers for how long key is refused, as far as is known.
func (s *Shared) refused(key string, now int64) time.Duration {
	if s.tally.Most == 0 {
		return s.tally.Window
	}
	shard := s.full.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if r := shard.find(key); r != nil && now < r.known {
		return time.Duration(r.until - now)
	}
	return 0
}

// refuse remembers that the store admits nothing for key. Its answer is as old
// as the question: nobody is refused for longer than by the store.
func (s *Shared) refuse(key string, asked int64, wait time.Duration) {
	shard := s.full.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	*shard.use(key, asked) = refusal{until: asked + int64(wait), known: asked + int64(min(wait, remembered))}
}

// Failures counts failures per key and bans a key for a while after too many:
// Guesses for this process alone, SharedGuesses for all that share a store. An
// error wraps store.ErrUnavailable and means that nobody could count: then
// nobody may be told whether an attempt was right.
type Failures interface {
	// Banned answers for how long key is still banned; 0 when it is not.
	Banned(ctx context.Context, key string) (time.Duration, error)
	// Fail counts a failure of key. For a key that is banned it counts nothing
	// and answers for how long that lasts. Of attempts made at once, so, no
	// more than the allowed tries are told that they were wrong.
	Fail(ctx context.Context, key string) (time.Duration, error)
	// Forgive takes back up to most of the failures counted last for key, and
	// answers how many these were. It ends no ban.
	Forgive(ctx context.Context, key string, most int) (int, error)
}

var _, _ Failures = (*Guesses)(nil), (*SharedGuesses)(nil)

// SharedGuesses is Failures over all processes that count in one store. Each
// method is one round trip, except that a ban is remembered for up to 10
// seconds. That there is none is not: it is asked for each time.
//
// A failure that the store cannot count is counted here, so that guessing is
// not free while the store answers and cannot write.
type SharedGuesses struct {
	store Tallier
	tally Tally // but for its key and what is added
	name  string
	here  *Guesses
}

// NewSharedGuesses makes a SharedGuesses that bans a key for the duration of
// ban at its tries-th failure (tries is at least 1) within any window. Those of
// the same name and numbers count together. keys is about how many bans, and
// failures that the store could not count, are remembered here. now is
// time.Now when nil.
func NewSharedGuesses(t Tallier, name string, tries int, window, ban time.Duration, keys int, now func() time.Time) *SharedGuesses {
	g := &SharedGuesses{
		store: t, here: NewGuesses(tries, window, ban, keys, now),
		tally: Tally{Most: max(tries, 1), Window: countable(window), Ban: countable(ban)},
	}
	g.name = fmt.Sprint("failures ", name, " ", g.tally.Most, " ", g.tally.Window, " ", g.tally.Ban, "\x00")
	return g
}

// Banned implements Failures.
func (g *SharedGuesses) Banned(ctx context.Context, key string) (time.Duration, error) {
	if here := g.here.banned(key); here > 0 {
		return here, nil
	}
	got, err := g.ask(ctx, key, 0)
	return got.Banned, err
}

// Fail implements Failures.
func (g *SharedGuesses) Fail(ctx context.Context, key string) (time.Duration, error) {
	if here := g.here.banned(key); here > 0 {
		return here, nil
	}
	got, err := g.ask(ctx, key, 1)
	switch {
	case err != nil:
		g.here.fail(key)
		return 0, err
	case got.Counted == 1:
		return 0, nil
	}
	return got.Banned, nil
}

// Forgive implements Failures.
func (g *SharedGuesses) Forgive(ctx context.Context, key string, most int) (int, error) {
	if most <= 0 {
		return 0, nil
	}
	got, err := g.ask(ctx, key, -min(most, math.MaxInt32))
	return -got.Counted, err
}

func (g *SharedGuesses) ask(ctx context.Context, key string, add int) (Tallied, error) {
	asked := g.here.clock()
	t := g.tally
	t.Key, t.Add = g.name+key, add
	got, err := g.store.Tally(ctx, t)
	if err != nil {
		return Tallied{}, fmt.Errorf("throttle: %w", err)
	}
	if got.Banned > 0 {
		g.here.ban(key, asked+int64(got.Banned), asked+int64(min(got.Banned, remembered)))
	}
	return got, nil
}
