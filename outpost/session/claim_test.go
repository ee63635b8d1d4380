package session_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/outpost/store/redis"
)

// fate is what becomes of one call to a store.
type fate int

const (
	answered fate = iota
	dropped       // an error, and it does not happen
	unheard       // an error, and it has happened
	late          // an error, and it happens some seconds later
)

// shaky is a store whose calls have the fate that fate says. It takes an item as
// Redis does: it looks what stands there, and then deletes that very item, soon
// or late, and no other.
type shaky struct {
	full
	mu   *sync.Mutex // of all that share the store
	fate func(call, key string) fate
}

func (s *shaky) do(call, key string, what func() error) error {
	alone := func() error { s.mu.Lock(); defer s.mu.Unlock(); return what() }
	failed := fmt.Errorf("timeout: %w", store.ErrUnavailable)
	switch s.fate(call, key) {
	case dropped:
		return failed
	case unheard:
		_ = alone()
		return failed
	case late:
		time.AfterFunc(rand.N(20*time.Second), func() { _ = alone() })
		return failed
	}
	return alone()
}

func (s *shaky) Get(ctx context.Context, key string) (item store.Item, err error) {
	if s.fate("get", key) != answered {
		return store.Item{}, store.ErrUnavailable
	}
	return s.full.Get(ctx, key)
}

func (s *shaky) Claim(ctx context.Context, key string, item store.Item) (mine bool, err error) {
	var won atomic.Bool // late, nobody asks any more
	err = s.do("claim", key, func() error {
		ok, err := s.full.Claim(context.WithoutCancel(ctx), key, item)
		won.Store(ok)
		return err
	})
	return err == nil && won.Load(), err
}

func (s *shaky) Put(ctx context.Context, key string, item store.Item) error {
	return s.do("put", key, func() error { return s.full.Put(context.WithoutCancel(ctx), key, item) })
}

func (s *shaky) Replace(ctx context.Context, key string, item store.Item) error {
	return s.do("replace", key, func() error { return s.full.Replace(context.WithoutCancel(ctx), key, item) })
}

func (s *shaky) Delete(ctx context.Context, key string) error {
	return s.do("delete", key, func() error { return s.full.Delete(context.WithoutCancel(ctx), key) })
}

func (s *shaky) Take(ctx context.Context, key string) (store.Item, error) {
	for {
		item, err := s.full.Get(ctx, key)
		if err != nil {
			return store.Item{}, err
		}
		other := errors.New("another one")
		err = s.do("take", key, func() error {
			now, err := s.full.Get(context.WithoutCancel(ctx), key)
			if err != nil || !now.Expires.Equal(item.Expires) || !bytes.Equal(now.Value, item.Value) {
				return other
			}
			return s.full.Delete(context.WithoutCancel(ctx), key)
		})
		if !errors.Is(err, other) {
			return item, err
		}
	}
}

func isClaim(key string) bool { return strings.HasPrefix(key, "refresh:") }

// first answers a fate that the first such call for a claim has, and no other.
func first(call string, what fate) func(string, string) fate {
	var calls atomic.Int64
	return func(c, key string) fate {
		if c == call && isClaim(key) && calls.Add(1) == 1 {
			return what
		}
		return answered
	}
}

// overShaky runs test over so many processes that share a memory. Only the calls
// of the first one have a fate.
func overShaky(t *testing.T, processes int, fate func(call, key string) fate, test func(t *testing.T, f *fleet, st store.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { _ = s.Close() }()
		stores := []store.Store{&shaky{full: s, mu: &sync.Mutex{}, fate: fate}}
		for len(stores) < processes {
			stores = append(stores, s)
		}
		overShared(t, time.Minute, stores, func(t *testing.T, f *fleet) { test(t, f, s) })
	})
}

// renewals waits until the issuer has been asked so often, and answers how long
// after the session was due that was.
func (f *fleet) renewals(cookie string, want int64) time.Duration {
	f.t.Helper()
	due := time.Now()
	for f.issuer.calls.Load() < want {
		for n := range f.kinds {
			if got := f.groups(f.t.Context(), n, cookie); got != "old" && got != "" {
				f.t.Fatalf("process %d: %q", n, got)
			}
		}
		if time.Sleep(50 * time.Millisecond); time.Since(due) > time.Hour {
			f.t.Fatal("it is never refreshed")
		}
	}
	return time.Since(due)
}

// A claim that was not answered may stand, and one that was given back too. The
// process whose it is goes on; only while it cannot tell does nobody.
func TestACallForAClaimThatIsNotAnswered(t *testing.T) {
	for _, c := range []struct {
		call   string
		what   fate
		silent bool          // the issuer, at first
		within time.Duration // after the failure
	}{
		{"claim", dropped, false, 10 * time.Second},
		{"claim", unheard, false, 10 * time.Second},
		{"claim", late, false, 30 * time.Second},
		{"take", dropped, false, 10 * time.Second},
		{"take", unheard, false, 10 * time.Second},
		{"take", late, false, 30 * time.Second},
		{"put", dropped, true, 6 * time.Minute}, // a pause may come late, and then be in anybody's way
		{"put", unheard, true, 6 * time.Minute},
		{"put", late, true, 6 * time.Minute},
	} {
		t.Run(fmt.Sprint(c.call, c.what), func(t *testing.T) {
			overShaky(t, 1, first(c.call, c.what), func(t *testing.T, f *fleet, _ store.Store) {
				alice := f.signIn("alice")
				for n := range int64(3) {
					f.issuer.set(func() { f.issuer.silent = c.silent && n == 0 })
					time.Sleep(time.Minute)
					took := f.renewals(alice, n+1)
					if took > c.within || c.silent && n == 1 && took < 3*time.Minute {
						t.Errorf("refresh %d: %v after it was due", n+1, took)
					}
				}
			})
		})
	}
}

// noRoom is a store in which no record has room any more.
type noRoom struct{ full }

func (noRoom) Replace(context.Context, string, store.Item) error { return store.ErrTooLarge }

// Where the issuer has answered and that could not be kept, the token that it
// has replaced is left alone while the claim stands: here and elsewhere.
func TestALostRefreshTokenIsNotUsedWhileTheClaimStands(t *testing.T) {
	for _, silent := range []bool{true, false} { // the store, for minutes; or it says no at once
		synctest.Test(t, func(t *testing.T) {
			s := memory.New(memory.Options{})
			defer func() { _ = s.Close() }()
			stores := []store.Store{s, s}
			if !silent {
				stores[0] = noRoom{s}
			}
			overShared(t, time.Minute, stores, func(t *testing.T, f *fleet) {
				alice := f.signIn("alice")
				f.stores[0].noWrite.Store(silent)
				time.Sleep(time.Minute)
				f.want(0, alice, "old")
				synctest.Wait()
				f.use(alice, 4*time.Minute, "old")
				if n := f.results(session.Lost); n != 1 {
					t.Fatalf("lost %d times", n)
				}
				f.use(alice, 58*time.Second, "old")
				if n := f.issuer.calls.Load(); n != 1 {
					t.Errorf("the issuer was asked %d times", n)
				}
				time.Sleep(time.Minute)
				for f.groups(t.Context(), 1, alice) == "old" { // it has to say so itself
					time.Sleep(time.Second)
				}
				if n := f.results(session.Refused); n != 1 {
					t.Errorf("refused %d times", n)
				}
			})
		})
	}
}

// What another process claimed stands, also if that is the life before of this
// one, or if it came while this one took its own claim away.
func TestAClaimOfAnotherProcessStands(t *testing.T) {
	claims := func(t *testing.T, st store.Store) (found []string) {
		t.Helper()
		err := st.(store.Lister).List(t.Context(), "refresh:", func(_ string, item store.Item) error {
			found = append(found, string(item.Value))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	t.Run("an earlier life", func(t *testing.T) {
		overShaky(t, 1, first("claim", unheard), func(t *testing.T, f *fleet, st store.Store) {
			alice := f.signIn("alice")
			time.Sleep(time.Minute)
			f.want(0, alice, "old")
			synctest.Wait()
			left := claims(t, st)
			next := newFleet(t, f.clock, 0, st)
			next.issuer, next.app = f.issuer, f.app
			next.ask(f.issuer)
			next.use(alice, 4*time.Minute+50*time.Second, "old")
			if n := f.issuer.calls.Load(); n != 0 || len(left) != 1 || claims(t, st)[0] != left[0] {
				t.Errorf("asked %d times; the claim was %q and is %q", n, left, claims(t, st))
			}
			if took := next.renewals(alice, 1); took > 20*time.Second {
				t.Errorf("%v after the claim has ended", took)
			}
		})
	})
	t.Run("soon, as its own is about to end", func(t *testing.T) {
		overShaky(t, 1, first("claim", unheard), func(t *testing.T, f *fleet, _ store.Store) {
			alice := f.signIn("alice")
			time.Sleep(time.Minute)
			f.want(0, alice, "old")
			time.Sleep(3 * time.Minute)
			f.use(alice, 2*time.Minute-time.Second, "old")
			if n := f.issuer.calls.Load(); n != 0 {
				t.Errorf("asked %d times", n)
			}
			if took := f.renewals(alice, 1); took > 20*time.Second {
				t.Errorf("%v after the claim has ended", took)
			}
		})
	})
	t.Run("one that comes in between", func(t *testing.T) {
		var f *fleet
		var st store.Store
		lost := first("claim", unheard)
		came := false
		fate := func(call, key string) fate {
			if call == "take" && isClaim(key) && !came {
				came = true
				_ = st.Put(f.t.Context(), key, store.Item{Value: []byte("another"), Expires: time.Now().Add(5 * time.Minute)})
			}
			return lost(call, key)
		}
		overShaky(t, 1, fate, func(t *testing.T, of *fleet, over store.Store) {
			f, st = of, over
			alice := f.signIn("alice")
			time.Sleep(time.Minute)
			f.use(alice, 4*time.Minute, "old")
			if got := claims(t, st); !came || len(got) != 1 || got[0] != "another" || f.issuer.calls.Load() != 0 {
				t.Errorf("%q stands, the issuer was asked %d times", got, f.issuer.calls.Load())
			}
		})
	})
}

// alone is an issuer that is asked for one session at a time, is silent now and
// then, and otherwise rotating.
type alone struct {
	*rotating
	t     *testing.T
	under sync.Map
}

func (i *alone) Refresh(ctx context.Context, g *outpost.Grant) (*outpost.Grant, error) {
	if _, twice := i.under.LoadOrStore(g.Identity.Subject, true); twice {
		i.t.Errorf("%s is refreshed twice at once", g.Identity.Subject)
	}
	defer i.under.Delete(g.Identity.Subject)
	time.Sleep(rand.N(5 * time.Second))
	if rand.N(4) == 0 {
		return nil, outpost.ErrUnavailable
	}
	return i.rotating.Refresh(ctx, g)
}

// Three processes over a store of which every tenth call fails, whether it
// happens or not, at once or later: no session is refreshed twice at once, no
// token is used twice, and all go on being refreshed.
func TestAStoreThatIsNotToBeReliedOn(t *testing.T) {
	chance := func(call, key string) fate {
		switch {
		case strings.HasPrefix(key, session.Prefix) && call == "put", rand.N(10) > 0:
			return answered
		case isClaim(key):
			return fate(1 + rand.N(3))
		}
		return fate(1 + rand.N(2))
	}
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { _ = s.Close() }()
		var mu sync.Mutex
		var stores []store.Store
		for range 3 {
			stores = append(stores, &shaky{full: s, mu: &mu, fate: chance})
		}
		overShared(t, 10*time.Second, stores, func(t *testing.T, f *fleet) {
			f.app.Session.Idle, f.app.Session.Absolute = 24*time.Hour, 24*time.Hour
			f.issuer.groups = []string{"new"}
			f.ask(&alone{rotating: f.issuer, t: t})
			var cookies []string
			for n := range 10 {
				cookies = append(cookies, f.signIn(fmt.Sprint("u", n)))
			}
			begun := time.Now()
			for time.Since(begun) < 2*time.Hour && !t.Failed() {
				for n, c := range cookies {
					if got := f.groups(t.Context(), rand.N(3), c); got == "nobody" {
						t.Errorf("session %d is lost", n)
					}
				}
				time.Sleep(rand.N(2 * time.Second))
			}
			time.Sleep(time.Minute) // what is late
			f.issuer.mu.Lock()
			defer f.issuer.mu.Unlock()
			for n := range cookies {
				if asked := f.issuer.asked[fmt.Sprint("s-u", n)]; asked < 100 {
					t.Errorf("session %d was refreshed %d times in two hours", n, asked)
				}
			}
		})
	})
}

// Redis stands still for longer than a call may take, as it does while it forks
// or waits for its disk: what was due in that time is refreshed soon after.
func TestARedisThatStandsStill(t *testing.T) {
	server := parts.RedisWith(t, parts.RedisOptions{})
	s, err := redis.New(redis.Options{URL: "redis://" + server.Addr(), Keys: [][]byte{key('s')}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	eventually(t, "redis answers", func() bool { return s.Delete(t.Context(), "nothing") == nil })
	f := newFleet(t, &clock{}, time.Hour, s)
	f.run()
	alice := f.signIn("alice")
	f.want(0, alice, "old")
	server.Pause()
	f.issuer.set(func() { f.issuer.groups = []string{"new"} })
	eventually(t, "its claim fails", func() bool { f.want(0, alice, "old"); return f.results(session.Postponed) > 0 })
	server.Resume()
	f.becomes(alice, "new")
}
