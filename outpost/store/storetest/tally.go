package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
)

// tallier answers the store as what counts; nil when it does not.
func (b *bench) tallier() limit.Tallier {
	t, _ := b.Store.(limit.Tallier)
	return t
}

func (b *bench) tally(t *testing.T, what limit.Tally) limit.Tallied {
	t.Helper()
	got, err := b.tallier().Tally(t.Context(), what)
	if err != nil {
		t.Fatalf("Tally(%+v): %v", what, err)
	}
	return got
}

// counted is what a Tallier should have of one key, kept in the simplest way:
// every moment by itself.
type counted struct {
	at    []int64
	until int64
}

// step does what t asks for at a moment, and answers what a Tallier has to. Of
// more than limit.Marks it knows the bounds alone: see tallyModel.
func (c *counted) step(t limit.Tally, now int64) limit.Tallied {
	c.forget(now - t.Window.Microseconds())
	var got limit.Tallied
	switch banned := t.Ban > 0 && c.until > now; {
	case t.Add > 0 && !banned && len(c.at) < t.Most:
		got.Counted = 1
		c.at = append(c.at, now)
		if t.Ban > 0 && len(c.at) == t.Most {
			c.at, c.until = nil, now+t.Ban.Microseconds()
		}
	case t.Add < 0:
		got.Counted = -min(-t.Add, len(c.at))
		c.at = c.at[:len(c.at)+got.Counted]
	}
	got.Sum = len(c.at)
	if len(c.at) > 0 {
		got.Reset = time.Duration(c.at[0]-now)*time.Microsecond + t.Window
	}
	if t.Ban > 0 {
		got.Banned = time.Duration(max(0, c.until-now)) * time.Microsecond
	}
	return got
}

func (c *counted) forget(then int64) {
	for len(c.at) > 0 && c.at[0] <= then {
		c.at = c.at[1:]
	}
}

// tries is how often a limit is counted anew over wall time, each time in twice
// the window, because calls took so long that it was never met.
const tries = 5

// tallyModel compares answers with those of the model, at the moments that the
// store says they were given at.
func tallyModel(t *testing.T, b *bench) {
	if b.tallier() == nil {
		return
	}
	for i, what := range []limit.Tally{
		{Most: 1, Window: 30 * time.Millisecond},
		{Most: 3, Window: 50 * time.Millisecond},
		{Most: limit.Marks, Window: 100 * time.Millisecond},
		{Most: 1, Window: 30 * time.Millisecond, Ban: 20 * time.Millisecond},
		{Most: 5, Window: 60 * time.Millisecond, Ban: 40 * time.Millisecond},
		{Most: 5, Window: 40 * time.Millisecond, Ban: 80 * time.Millisecond},
	} {
		sleep := what.Window / 3
		for try := 0; ; try++ {
			what.Key = fmt.Sprint("model ", i, " ", try)
			if b.tallySteps(t, what, uint64(i), sleep) > 0 {
				break
			}
			if !b.wall || try == tries {
				t.Errorf("%+v was never met", what)
				break
			}
			what.Window *= 2
		}
	}
}

// tallySteps compares many answers, with sleeps of less than sleep between some
// of them, and says how many were refused.
func (b *bench) tallySteps(t *testing.T, what limit.Tally, seed uint64, sleep time.Duration) (refused int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's
	var model counted
	for step := range 400 {
		what.Add = []int{1, 1, 1, 1, 1, 1, 1, 0, 0, -1, -3}[random.IntN(11)]
		got := b.tally(t, what)
		want := model.step(what, got.At.UnixMicro())
		if want.At = got.At; got != want {
			t.Fatalf("step %d, %+v: got %+v, want %+v", step, what, got, want)
		}
		if what.Add == 1 && got.Counted == 0 {
			refused++
		}
		if random.IntN(8) == 0 {
			b.advance(time.Duration(random.Int64N(int64(sleep))))
		}
	}
	return refused
}

// tallyMany counts more than are kept one by one: never too few, and at most a
// Marks-th of the window too long.
func tallyMany(t *testing.T, b *bench) {
	if b.tallier() == nil {
		return
	}
	what := limit.Tally{Most: 3 * limit.Marks, Window: 320 * time.Millisecond, Add: 1}
	for try := 0; ; try++ {
		what.Key = fmt.Sprint("many ", try)
		counted, refused := b.tallyWindows(t, what)
		if refused > 0 && counted >= 8*what.Most {
			return
		}
		if !b.wall || try == tries {
			t.Fatalf("%d counted, %d refused", counted, refused)
		}
		if refused == 0 {
			what.Window *= 2
		}
	}
}

// tallyWindows counts what fills eight windows, at most a minute long.
func (b *bench) tallyWindows(t *testing.T, what limit.Tally) (counted, refused int) {
	t.Helper()
	var at []int64 // of those counted
	since := func(then int64) (n int) {
		for _, moment := range at {
			if moment > then {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(time.Minute); len(at) < 8*what.Most && time.Now().Before(end); {
		got := b.tally(t, what)
		now, window := got.At.UnixMicro(), what.Window.Microseconds()
		if got.Counted == 0 {
			refused++
			if n := since(now - window - window/limit.Marks); n < what.Most || got.Reset <= 0 || got.Reset > what.Window {
				t.Fatalf("refused with %d in the window, for %v", n, got.Reset)
			}
			b.advance(5 * time.Millisecond)
			continue
		}
		at = append(at, now)
		if n := since(now - window); n > what.Most {
			t.Fatalf("%d in one window", n)
		}
	}
	return len(at), refused
}

// tallyTogether counts at once.
func tallyTogether(t *testing.T, b *bench) {
	if b.tallier() == nil {
		return
	}
	for _, most := range []int{1, 5, limit.Marks, 3 * limit.Marks} {
		for _, ban := range []time.Duration{0, time.Hour} {
			what := limit.Tally{Key: fmt.Sprint("together ", most, ban), Most: most, Window: time.Hour, Ban: ban, Add: 1}
			var counted atomic.Int64
			together(2*most+10, func(int) {
				got, err := b.tallier().Tally(t.Context(), what)
				if err != nil {
					t.Error(err)
				}
				counted.Add(int64(got.Counted))
			})
			if n := counted.Load(); n != int64(most) {
				t.Errorf("%d of at most %d were counted, with a ban of %v", n, most, ban)
			}
			what.Add = 0
			if got := b.tally(t, what); (got.Banned > 0) != (ban > 0) || ban == 0 && got.Sum != most {
				t.Errorf("%d of at most %d, then %+v", most, most, got)
			}
		}
	}
}

// tallyKeys counts each key by itself, whatever it is made of.
func tallyKeys(t *testing.T, b *bench) {
	if b.tallier() == nil {
		return
	}
	for _, key := range []string{"", "\x00", "a", "a\x00", "session:a", "ü\xff\r\n", strings.Repeat("k", 3*store.MaxKey)} {
		what := limit.Tally{Key: key, Most: 1, Window: time.Hour, Add: 1}
		if first, second := b.tally(t, what), b.tally(t, what); first.Counted != 1 || second.Counted != 0 {
			t.Errorf("%.20q: %+v, then %+v", key, first, second)
		}
	}
	b.lacks(t, "a")
	b.put(t, "session:b", b.in(time.Hour, "v"))
	if got := b.tally(t, limit.Tally{Key: "session:b", Most: 1, Window: time.Hour, Add: 1}); got.Counted != 1 {
		t.Errorf("an item of that key: %+v", got)
	}
	b.counts(t, "session:", 1)
	if _, err := b.tallier().Tally(ended(), limit.Tally{Key: "c", Most: 1, Window: time.Hour, Add: 1}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("an ended context: %v", err)
	}
}
