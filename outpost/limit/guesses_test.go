package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestGuesses(t *testing.T) {
	type step struct {
		at   time.Duration
		do   string // fail, forgive or look
		key  string
		want time.Duration // how long it is banned; the number forgiven in nanoseconds
	}
	const m = time.Minute
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"three failures in the window ban", []step{
			{0, "fail", "bob", 0},
			{m, "fail", "bob", 0},
			{m, "look", "bob", 0},
			{m, "fail", "bob", 0},
			{m, "look", "bob", 5 * m},
			{2 * m, "fail", "bob", 4 * m},
			{6*m - 1, "look", "bob", 1},
			{6 * m, "look", "bob", 0},
		}},
		{"trying while banned does not prolong it", []step{
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{4 * m, "fail", "bob", m},
			{5 * m, "look", "bob", 0},
			{5 * m, "fail", "bob", 0},
			{5 * m, "look", "bob", 0},
		}},
		{"failures leave the window one by one", []step{
			{0, "fail", "bob", 0},
			{m, "fail", "bob", 0},
			{2 * m, "fail", "bob", 0},
			{2 * m, "look", "bob", 0},
			{2*m + 1, "fail", "bob", 0},
			{2*m + 1, "look", "bob", 5 * m},
		}},
		{"one key does not ban another", []step{
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "look", "eve", 0},
			{0, "fail", "eve", 0},
		}},
		{"forgiven failures do not count", []step{
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "forgive", "bob", 2},
			{0, "forgive", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "look", "bob", 0},
		}},
		{"a ban is not forgiven", []step{
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "fail", "bob", 0},
			{0, "forgive", "bob", 0},
			{0, "look", "bob", 5 * m},
		}},
		{"nobody is forgiven who never failed", []step{{0, "forgive", "bob", 0}, {0, "look", "bob", 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now clock
			g := NewGuesses(3, 2*m, 5*m, 100, now.now)
			for i, s := range c.steps {
				now.set(s.at)
				got := time.Duration(0)
				switch s.do {
				case "fail":
					got = g.fail(s.key)
				case "forgive":
					got = time.Duration(g.forgive(s.key, 2))
				default:
					got = g.banned(s.key)
				}
				if got != s.want {
					t.Fatalf("step %d: %s %s: got %s, want %s", i, s.do, s.key, got, s.want)
				}
			}
		})
	}
}

func TestOfManyGuessesAtOnceOnlyTheTriesAreTold(t *testing.T) {
	g := NewGuesses(5, time.Hour, time.Hour, 100, nil)
	var told atomic.Int64
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if g.fail("bob") == 0 {
				told.Add(1)
			}
		})
	}
	all.Wait()
	if n := told.Load(); n != 5 {
		t.Fatalf("%d were told", n)
	}
}

func TestFailuresOf100000NamesLeaveMemoryBounded(t *testing.T) {
	var now clock
	g := NewGuesses(5, time.Minute, time.Minute, 10_000, now.now)
	for i := range 100_000 {
		now.forward(time.Millisecond)
		g.fail(fmt.Sprint("name ", i))
	}
	if n := g.keys.len(); n > 10_000 {
		t.Fatalf("%d are kept", n)
	}
	if g.banned("never seen"); g.keys.find("never seen") {
		t.Fatal("looking keeps a key")
	}
}

func (t *table[E]) find(key string) bool { return t.shard(key).find(key) != nil }
