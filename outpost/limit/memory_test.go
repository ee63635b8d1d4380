package limit

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that tests set; it counts from an arbitrary moment.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) set(d time.Duration)     { c.at.Store(int64(d)) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

func take(t *testing.T, m *Memory, key string) Limit {
	t.Helper()
	l, err := m.Take(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestMemory(t *testing.T) {
	const s = time.Second
	type step struct {
		at    time.Duration
		key   string
		ok    bool
		left  int
		reset time.Duration
		retry time.Duration
	}
	for _, c := range []struct {
		name     string
		requests int
		per      time.Duration
		steps    []step
	}{
		{"G13 the fourth of three in ten seconds waits for the first to leave", 3, 10 * s, []step{
			{0, "alice", true, 2, 10 * s, 0},
			{1 * s, "alice", true, 1, 9 * s, 0},
			{2 * s, "alice", true, 0, 8 * s, 0},
			{3 * s, "alice", false, 0, 7 * s, 7 * s},
			{9999 * time.Millisecond, "alice", false, 0, time.Millisecond, time.Millisecond},
		}},
		{"G13 the window slides, one request at a time", 3, 10 * s, []step{
			{0, "alice", true, 2, 10 * s, 0},
			{1 * s, "alice", true, 1, 9 * s, 0},
			{2 * s, "alice", true, 0, 8 * s, 0},
			{10 * s, "alice", true, 0, 1 * s, 0},
			{10 * s, "alice", false, 0, 1 * s, 1 * s},
			{11 * s, "alice", true, 0, 1 * s, 0},
			{30 * s, "alice", true, 2, 10 * s, 0},
		}},
		{"G13 somebody else is not affected", 1, 10 * s, []step{
			{0, "alice", true, 0, 10 * s, 0},
			{0, "alice", false, 0, 10 * s, 10 * s},
			{0, "bob", true, 0, 10 * s, 0},
		}},
		{"a refused request is not counted", 1, 10 * s, []step{
			{0, "alice", true, 0, 10 * s, 0},
			{5 * s, "alice", false, 0, 5 * s, 5 * s},
			{9 * s, "alice", false, 0, 1 * s, 1 * s},
			{10 * s, "alice", true, 0, 10 * s, 0},
		}},
		{"a clock that goes back lets nobody in", 1, 10 * s, []step{
			{20 * s, "alice", true, 0, 10 * s, 0},
			{0, "alice", false, 0, 10 * s, 10 * s},
			{29 * s, "alice", false, 0, 1 * s, 1 * s},
		}},
		{"a limit of nothing admits nobody", 0, 10 * s, []step{{0, "alice", false, 0, 0, 10 * s}}},
		{"a limit below nothing admits nobody", -1, 10 * s, []step{{0, "alice", false, 0, 0, 10 * s}}},
		{"a window without length admits nobody", 5, 0, []step{{0, "alice", false, 0, 0, s}}},
		{"an empty key is a key", 1, s, []step{{0, "", true, 0, s, 0}, {0, "", false, 0, s, s}}},
		{"a window of centuries", 1, math.MaxInt64, []step{
			{0, "alice", true, 0, math.MaxInt64 / 2, 0},
			{math.MaxInt64 / 4, "alice", false, 0, math.MaxInt64/2 - math.MaxInt64/4, math.MaxInt64/2 - math.MaxInt64/4},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now clock
			m := New(c.requests, c.per, now.now)
			for i, step := range c.steps {
				now.set(step.at)
				want := Limit{
					OK: step.ok, Limit: max(c.requests, 0), Window: m.windowLength(),
					Remaining: step.left, Reset: step.reset, RetryAfter: step.retry,
				}
				if c.per <= 0 {
					want.Limit = 0
				}
				if got := take(t, m, step.key); got != want {
					t.Fatalf("step %d: got %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

func (m *Memory) windowLength() time.Duration { return time.Duration(m.per) }

func TestNoWindowWhereverItBeginsHoldsMoreThanTheLimit(t *testing.T) {
	const per = 10 * time.Second
	for _, requests := range []int{1, 2, 3, 31, 32, 33, 100, 1000} {
		for seed := range uint64(5) {
			random := rand.New(rand.NewPCG(seed, uint64(requests)))
			var now clock
			m := New(requests, per, now.now)
			var admitted []time.Duration
			refused := 0
			// Bursts and pauses, asked about three times as often as admitted.
			for len(admitted) < 5*requests+20 {
				now.forward(time.Duration(random.Int64N(int64(per) / int64(requests) * 2 / 3)))
				if random.IntN(requests+3) == 0 {
					now.forward(time.Duration(random.Int64N(int64(per) * 2)))
				}
				at := time.Duration(now.at.Load())
				l := take(t, m, "alice")
				if !l.OK {
					refused++
					if l.RetryAfter <= 0 || l.RetryAfter > per {
						t.Fatalf("limit %d: retry after %s", requests, l.RetryAfter)
					}
					// What is kept too long is at most a 32nd of the window.
					if n := countSince(admitted, at-per-per/marks); n < requests {
						t.Fatalf("limit %d: refused with %d in the window", requests, n)
					}
					continue
				}
				admitted = append(admitted, at)
				if n := countSince(admitted, at-per); n > requests {
					t.Fatalf("limit %d: admitted %d in one window", requests, n)
				}
			}
			if refused == 0 {
				t.Fatalf("limit %d was never met", requests)
			}
		}
	}
}

func countSince(times []time.Duration, then time.Duration) int {
	n := 0
	for _, at := range times {
		if at > then {
			n++
		}
	}
	return n
}

func TestWhoWaitsAsLongAsToldIsAdmitted(t *testing.T) {
	for _, requests := range []int{1, 3, 32, 33, 1000} {
		var now clock
		m := New(requests, time.Minute, now.now)
		for i := range 5 * requests {
			l := take(t, m, "alice")
			if !l.OK {
				now.forward(l.RetryAfter)
				if again := take(t, m, "alice"); !again.OK {
					t.Fatalf("limit %d, request %d: told %s, then refused for %s", requests, i, l.RetryAfter, again.RetryAfter)
				}
			}
			now.forward(7 * time.Millisecond)
		}
	}
}

func TestAWindowIsKeptInBoundedMemory(t *testing.T) {
	var now clock
	m := New(1_000_000, time.Minute, now.now)
	for range 200_000 {
		take(t, m, "alice")
		now.forward(time.Millisecond)
	}
	s := m.windows.shard("alice")
	if n := len(s.find("alice").marks); n > marks+2 {
		t.Fatalf("%d marks", n)
	}
}

func Test300000KeysLeaveMemoryBounded(t *testing.T) {
	var now clock
	m := New(3, time.Minute, now.now)
	for i := range 300_000 {
		now.forward(time.Microsecond)
		take(t, m, fmt.Sprint("stranger ", i))
		if i%100 == 0 {
			take(t, m, "alice") // who keeps asking is not dropped
		}
	}
	if n := m.windows.len(); n > maxKeys {
		t.Fatalf("%d keys are kept", n)
	}
	if l := take(t, m, "alice"); l.OK {
		t.Fatal("a flood of strangers made room for alice")
	}
	now.forward(time.Hour)
	for i := range 3 * maxKeys / 2 {
		take(t, m, fmt.Sprint("later ", i))
		now.forward(time.Second)
	}
	if n := m.windows.len(); n > 4*shards {
		t.Fatalf("%d keys are kept of which most are idle", n)
	}
}

func TestManyAtOnceAreAdmittedNoMoreThanTheLimit(t *testing.T) {
	m := New(100, time.Hour, nil)
	var admitted atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				if l, _ := m.Take(context.Background(), "alice"); l.OK {
					admitted.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := admitted.Load(); n != 100 {
		t.Fatalf("%d were admitted", n)
	}
}

func TestAddressKey(t *testing.T) {
	for _, c := range []struct {
		name, a, b string
		same       bool
	}{
		{"two IPv4 neighbours are two", "192.0.2.1", "192.0.2.2", false},
		{"IPv4 inside of IPv6 is that IPv4", "192.0.2.1", "::ffff:192.0.2.1", true},
		{"IPv4 translated to IPv6 is that IPv4", "192.0.2.1", "64:ff9b::192.0.2.1", true},
		{"two translated neighbours are two", "64:ff9b::c000:201", "64:ff9b::c000:202", false},
		{"a /64 is one", "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", true},
		{"two /64 are two", "2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"a zone makes no other key", "fe80::1%eth0", "fe80::1", true},
		{"IPv6 loopback is not IPv4 nothing", "::1", "0.0.0.0", false},
		{"an unknown address is nobody's", "", "0.0.0.0", false},
		{"an unknown address is not IPv6 nothing", "", "::", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if same := AddressKey(address(c.a)) == AddressKey(address(c.b)); same != c.same {
				t.Fatalf("%s and %s: same is %t", c.a, c.b, same)
			}
		})
	}
}

func address(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

func BenchmarkTake(b *testing.B) {
	for _, requests := range []int{3, 1000, 1 << 40} {
		b.Run(fmt.Sprint(requests), func(b *testing.B) {
			m := New(requests, time.Minute, nil)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = m.Take(context.Background(), "alice")
			}
		})
	}
	b.Run("strangers in parallel", func(b *testing.B) {
		m := New(1000, time.Minute, nil)
		keys := make([]string, 200_000)
		for i := range keys {
			keys[i] = fmt.Sprint("stranger ", i)
		}
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for i := rand.IntN(len(keys)); p.Next(); i++ {
				_, _ = m.Take(context.Background(), keys[i%len(keys)])
			}
		})
	})
}
