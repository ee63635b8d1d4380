package limit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis/redistest"
)

// recorded notes when the store counted.
type recorded struct {
	limit.Tallier
	mu sync.Mutex
	at []time.Time
	n  atomic.Int64 // calls
}

func (r *recorded) Tally(ctx context.Context, t limit.Tally) (limit.Tallied, error) {
	r.n.Add(1)
	got, err := r.Tallier.Tally(ctx, t)
	if err == nil && got.Counted == 1 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.at = append(r.at, got.At)
	}
	return got, err
}

func (r *recorded) counted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.at)
}

func take(t *testing.T, s *limit.Shared, key string) limit.Limit {
	t.Helper()
	l, err := s.Take(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNoWindowHoldsMoreThanTheLimitOverTwoProcesses(t *testing.T) {
	address := parts.Redis(t).Addr()
	for _, requests := range []int{1, 7, 32, 100} {
		t.Run(fmt.Sprint(requests), func(t *testing.T) {
			t.Parallel()
			const per = 500 * time.Millisecond
			both := [2]*recorded{{Tallier: redistest.Open(t, address)}, {Tallier: redistest.Open(t, address)}}
			var admitted, refused atomic.Int64
			var all sync.WaitGroup
			// Who of the two is admitted is chance.
			begun := time.Now()
			more := func() bool {
				one, other, took := both[0].counted(), both[1].counted(), time.Since(begun)
				return took < 6*per || took < time.Minute && (one == 0 || other == 0 || one+other < 4*requests)
			}
			for _, counts := range both {
				s := limit.NewShared(counts, t.Name(), requests, per, nil)
				for range 8 {
					all.Go(func() {
						for more() {
							l, err := s.Take(t.Context(), "alice")
							switch {
							case err != nil:
								t.Error(err)
								return
							case l.OK:
								admitted.Add(1)
							default:
								refused.Add(1)
								if l.RetryAfter <= 0 || l.RetryAfter > per || l.Remaining != 0 {
									t.Errorf("refused with %+v", l)
								}
								time.Sleep(time.Millisecond)
							}
						}
					})
				}
			}
			all.Wait()
			at := append(both[0].at, both[1].at...)
			slices.SortFunc(at, time.Time.Compare)
			if len(at) != int(admitted.Load()) || refused.Load() == 0 {
				t.Fatalf("%d admitted, %d counted, %d refused", admitted.Load(), len(at), refused.Load())
			}
			for i := requests; i < len(at); i++ {
				if apart := at[i].Sub(at[i-requests]); apart < per {
					t.Fatalf("%d requests within %v", requests+1, apart)
				}
			}
			// What one refuses is what the other has admitted.
			if len(both[0].at) == 0 || len(both[1].at) == 0 || len(at) < 4*requests {
				t.Errorf("admitted %d by the one, %d by the other", len(both[0].at), len(both[1].at))
			}
			asked := both[0].n.Load() + both[1].n.Load()
			t.Logf("%d admitted (%d and %d), %d refused, %d round trips", len(at), len(both[0].at), len(both[1].at), refused.Load(), asked)
			if asked >= admitted.Load()+refused.Load() {
				t.Error("every refusal has asked the store")
			}
		})
	}
}

func TestASharedLimitTellsHowItStands(t *testing.T) {
	address := parts.Redis(t).Addr()
	one, other := limit.NewShared(redistest.Open(t, address), "app", 2, time.Hour, nil), limit.NewShared(redistest.Open(t, address), "app", 2, time.Hour, nil)
	if one.Full("alice") || other.Full("alice") {
		t.Error("full before anybody asked")
	}
	if l := take(t, one, "alice"); !l.OK || l.Limit != 2 || l.Window != time.Hour || l.Remaining != 1 || l.Reset != time.Hour || l.RetryAfter != 0 {
		t.Errorf("first %+v", l)
	}
	if l := take(t, other, "alice"); !l.OK || l.Remaining != 0 || l.Reset > time.Hour || l.Reset < time.Hour-time.Minute {
		t.Errorf("second %+v", l)
	}
	if one.Full("alice") || !other.Full("alice") {
		t.Errorf("full is %t where nobody could know, %t where the last was admitted", one.Full("alice"), other.Full("alice"))
	}
	for _, s := range []*limit.Shared{one, other} {
		if l := take(t, s, "alice"); l.OK || l.Remaining != 0 || l.RetryAfter != l.Reset || l.Reset <= 0 || l.Reset > time.Hour {
			t.Errorf("third %+v", l)
		}
		if !s.Full("alice") || s.Full("bob") {
			t.Errorf("full: alice %t, bob %t", s.Full("alice"), s.Full("bob"))
		}
	}
	if l := take(t, one, "bob"); !l.OK {
		t.Error("alice's count is bob's")
	}
	for name, s := range map[string]*limit.Shared{
		"another name":    limit.NewShared(redistest.Open(t, address), "app rules[0]", 2, time.Hour, nil),
		"another number":  limit.NewShared(redistest.Open(t, address), "app", 3, time.Hour, nil),
		"another window":  limit.NewShared(redistest.Open(t, address), "app", 2, time.Minute, nil),
		"a long window":   limit.NewShared(redistest.Open(t, address), "app", 2, 1<<62, nil),
		"a tiny window":   limit.NewShared(redistest.Open(t, address), "app", 2, 1, nil),
		"a million at it": limit.NewShared(redistest.Open(t, address), "app", 1_000_000, time.Hour, nil),
	} {
		if l := take(t, s, "alice"); !l.OK {
			t.Errorf("%s: %+v", name, l)
		}
	}
	for _, s := range []*limit.Shared{limit.NewShared(nil, "none", 0, time.Hour, nil), limit.NewShared(nil, "none", 5, 0, nil)} {
		if l := take(t, s, "alice"); l.OK || !s.Full("alice") || l.RetryAfter <= 0 || l.Limit != 0 {
			t.Errorf("a limit of nothing: %+v", l)
		}
	}
}

func TestARefusalIsRememberedForSecondsAlone(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	asked := &recorded{Tallier: redistest.Open(t, parts.Redis(t).Addr())}
	s := limit.NewShared(asked, "app", 1, time.Hour, now)
	take(t, s, "alice")
	for range 1000 {
		if l := take(t, s, "alice"); l.OK {
			t.Fatal("admitted")
		}
	}
	if n := asked.n.Load(); n != 1 {
		t.Errorf("%d round trips, not one", n)
	}
	ahead.Store(int64(11 * time.Second))
	if l := take(t, s, "alice"); l.OK || asked.n.Load() != 2 {
		t.Errorf("%+v after %d round trips: the store was to be asked again", l, asked.n.Load())
	}
}

func TestAStoreThatDoesNotAnswerAdmitsNobody(t *testing.T) {
	redis := parts.Redis(t)
	st := redistest.Open(t, redis.Addr())
	s := limit.NewShared(st, "app", 3, time.Hour, nil)
	g := limit.NewSharedGuesses(st, "people", 3, time.Hour, time.Hour, 100, nil)
	take(t, s, "alice")
	take(t, s, "full")
	take(t, s, "full")
	take(t, s, "full")
	redis.Stop()
	if l, err := s.Take(t.Context(), "alice"); !errors.Is(err, store.ErrUnavailable) || l.OK {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := s.Take(t.Context(), "full"); err != nil || l.OK {
		t.Errorf("what is known to be full: %+v, %v", l, err)
	}
	if _, err := g.Banned(t.Context(), "bob"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Banned: %v", err)
	}
	for range 3 {
		if _, err := g.Fail(t.Context(), "bob"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("Fail: %v", err)
		}
	}
	if _, err := g.Forgive(t.Context(), "eve", 1); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Forgive: %v", err)
	}
	// What could not be counted there was counted here.
	if d, err := g.Banned(t.Context(), "bob"); d <= 0 || err != nil {
		t.Errorf("after three failures: %v, %v", d, err)
	}
	redis.Restart()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if l, err := s.Take(t.Context(), "alice"); err == nil && l.OK {
			break
		} else if time.Now().After(end) {
			t.Fatalf("not by itself: %+v, %v", l, err)
		}
	}
}

func TestFailuresOnTwoProcessesBanOnBoth(t *testing.T) {
	address := parts.Redis(t).Addr()
	guesses := func() *limit.SharedGuesses {
		return limit.NewSharedGuesses(redistest.Open(t, address), "people", 5, time.Hour, 2*time.Hour, 100, nil)
	}
	one, other := guesses(), guesses()
	for i := range 5 {
		g := []*limit.SharedGuesses{one, other}[i%2]
		if d, err := g.Banned(t.Context(), "bob"); d != 0 || err != nil {
			t.Fatalf("failure %d: banned %v, %v", i, d, err)
		}
		if d, err := g.Fail(t.Context(), "bob"); d != 0 || err != nil {
			t.Fatalf("failure %d: %v, %v", i, d, err)
		}
	}
	for name, g := range map[string]*limit.SharedGuesses{"one": one, "other": other, "one that begins": guesses()} {
		for what, ask := range map[string]func(context.Context, string) (time.Duration, error){"Banned": g.Banned, "Fail": g.Fail} {
			for range 2 { // by the store, and remembered
				if d, err := ask(t.Context(), "bob"); err != nil || d <= time.Hour || d > 2*time.Hour {
					t.Errorf("%s: %s is %v, %v", name, what, d, err)
				}
			}
		}
		if d, err := g.Banned(t.Context(), "eve"); d != 0 || err != nil {
			t.Errorf("%s: eve %v, %v", name, d, err)
		}
		if n, err := g.Forgive(t.Context(), "bob", 5); n != 0 || err != nil {
			t.Errorf("%s: forgave %d, %v", name, n, err)
		}
	}
}

func TestForgivenFailuresDoNotCountAnywhere(t *testing.T) {
	address := parts.Redis(t).Addr()
	one := limit.NewSharedGuesses(redistest.Open(t, address), "people", 3, time.Hour, time.Hour, 100, nil)
	other := limit.NewSharedGuesses(redistest.Open(t, address), "people", 3, time.Hour, time.Hour, 100, nil)
	for range 10 {
		for range 2 {
			if d, err := one.Fail(t.Context(), "bob"); d != 0 || err != nil {
				t.Fatal(d, err)
			}
		}
		if n, err := other.Forgive(t.Context(), "bob", 1000); n != 2 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n, err := other.Forgive(t.Context(), "bob", 0); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

func TestOfManySharedGuessesAtOnceOnlyTheTriesAreTold(t *testing.T) {
	address := parts.Redis(t).Addr()
	both := [2]*limit.SharedGuesses{}
	for i := range both {
		both[i] = limit.NewSharedGuesses(redistest.Open(t, address), "people", 5, time.Hour, time.Hour, 100, nil)
	}
	var told atomic.Int64
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			if d, err := both[i%2].Fail(t.Context(), "bob"); err != nil {
				t.Error(err)
			} else if d == 0 {
				told.Add(1)
			}
		})
	}
	all.Wait()
	if n := told.Load(); n != 5 {
		t.Fatalf("%d were told", n)
	}
}

func BenchmarkSharedTake(b *testing.B) {
	st := redistest.Open(b, parts.Redis(b).Addr())
	for _, requests := range []int{3, 32, 1 << 40} {
		per := time.Minute
		if requests == 32 {
			per = time.Millisecond // admitted and refused in turn, with all marks
		}
		s := limit.NewShared(st, "bench", requests, per, nil)
		b.Run(fmt.Sprint(requests), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Take(b.Context(), "alice"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(requests, " in parallel"), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(16)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := s.Take(b.Context(), "alice"); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
