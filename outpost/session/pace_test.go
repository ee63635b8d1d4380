package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
)

// inItsOwnTime runs test over so many processes that share a memory, in a time
// that passes only while everybody waits. A session is due after refresh.
func inItsOwnTime(t *testing.T, processes int, refresh time.Duration, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		defer func() { _ = s.Close() }()
		overShared(t, refresh, slices.Repeat([]store.Store{s}, processes), test)
	})
}

func overShared(t *testing.T, refresh time.Duration, stores []store.Store, test func(t *testing.T, f *fleet)) {
	t.Helper()
	f := newFleet(t, &clock{runs: true}, 0, stores...)
	f.app.Session.Refresh = refresh
	f.ask(f.issuer)
	test(t, f)
	for _, s := range f.each {
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// use uses the session twenty times a second for so long, with each process in
// turn.
func (f *fleet) use(cookie string, long time.Duration, want ...string) {
	f.t.Helper()
	for n := 0; long > 0; n++ {
		if got := f.groups(f.t.Context(), n%len(f.kinds), cookie); !slices.Contains(want, got) {
			f.t.Fatalf("got %q, want one of %q", got, want)
		}
		time.Sleep(50 * time.Millisecond)
		long -= 50 * time.Millisecond
	}
}

// slow is an issuer that takes its time, and notes when it was asked. then, if
// set, answers in its place.
type slow struct {
	*rotating
	took time.Duration
	then func(context.Context, *outpost.Grant) (*outpost.Grant, error)
	at   []time.Time // guarded by rotating.mu
}

func (i *slow) Refresh(ctx context.Context, g *outpost.Grant) (*outpost.Grant, error) {
	i.set(func() { i.at = append(i.at, time.Now()) })
	time.Sleep(i.took)
	if i.then != nil {
		return i.then(ctx, g)
	}
	return i.rotating.Refresh(ctx, g)
}

// times answers when it was asked.
func (i *slow) times() (at []time.Time) {
	i.set(func() { at = slices.Clone(i.at) })
	return at
}

// However long an issuer takes to say nothing, it is asked after 2 seconds, 4
// and so on up to a minute, each time within a fifth of that and as long as it
// takes itself.
func TestASlowSilenceIsAskedMoreAndMoreSeldomToo(t *testing.T) {
	for _, took := range []time.Duration{0, 100 * time.Millisecond, 3 * time.Second, 20 * time.Second} {
		for _, partial := range []bool{false, true} {
			inItsOwnTime(t, 1, time.Minute, func(t *testing.T, f *fleet) {
				i := &slow{rotating: f.issuer, took: took}
				f.issuer.silent, f.issuer.partial = !partial, partial
				f.ask(i)
				f.use(f.signIn("alice"), 10*time.Minute, "old")
				at := i.times()
				if n := len(at); n < 9 || n > 16 {
					t.Errorf("partial %t, an answer takes %v: asked %d times in 10 minutes", partial, took, n)
				}
				for n := 1; n < len(at); n++ {
					want := min(2*time.Second<<(n-1), time.Minute)
					gap := at[n].Sub(at[n-1]) - took
					if gap < want*3/4 || gap > want*5/4+3*time.Second {
						t.Errorf("partial %t, an answer takes %v: waited %v before try %d, want about %v", partial, took, gap, n+1, want)
					}
				}
			})
		}
	}
}

// The access token's end brings a refresh forward: by a fifth of its life, by a
// minute at most, and never to within five seconds of the last.
func TestARefreshComesBeforeTheAccessTokenEnds(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		0:                 time.Hour, // not told
		10 * time.Hour:    time.Hour,
		10 * time.Minute:  9 * time.Minute,
		100 * time.Second: 80 * time.Second,
		6 * time.Second:   5 * time.Second,
		time.Second:       5 * time.Second,
	} {
		inItsOwnTime(t, 1, time.Hour, func(t *testing.T, f *fleet) {
			i := &slow{rotating: f.issuer}
			f.issuer.life = life
			f.ask(i)
			begun := time.Now()
			f.use(f.signIn("alice"), 3*want+time.Minute, "old", "")
			if len(i.times()) < 3 {
				t.Fatalf("life %v: asked %d times", life, len(i.times()))
			}
			for n, at := range i.times()[:3] {
				if gap := at.Sub(begun); gap < want || gap > want+time.Second {
					t.Errorf("life %v: refresh %d after %v, want %v", life, n+1, gap, want)
				}
				begun = at
			}
		})
	}
}

// At most sixteen refreshes are under way towards one issuer; the others wait
// for their turn, and those of another one for nobody.
func TestNoMoreThanSixteenAtOnceTowardsOneIssuer(t *testing.T) {
	inItsOwnTime(t, 1, time.Minute, func(t *testing.T, f *fleet) {
		hold := make(chan struct{})
		f.issuer.hold, f.issuer.begun, f.issuer.groups = hold, make(chan struct{}, 100), []string{"new"}
		var cookies []string
		for n := range 50 {
			cookies = append(cookies, f.signIn(fmt.Sprint("u", n)))
		}
		other := newRotating() // another client of the same issuer
		other.client, other.groups = "another", []string{"new"}
		app := *f.app
		app.SignIn = &outpost.SignInWay{Provider: "company", Issuer: other}
		one := &fleet{t: t, issuer: other, app: &app, each: f.each, kinds: slices.Clone(f.kinds)}
		one.ask(other)
		bob := one.signIn("bob")

		time.Sleep(time.Minute)
		for _, c := range cookies {
			f.want(0, c, "old")
		}
		one.want(0, bob, "old")
		synctest.Wait()
		if n := len(f.issuer.begun); n != 16 {
			t.Errorf("%d are under way", n)
		}
		one.want(0, bob, "new")
		close(hold)
		synctest.Wait()
		for _, c := range cookies {
			f.want(0, c, "new")
		}
		if n := f.issuer.calls.Load(); n != 50 {
			t.Errorf("the issuer was asked %d times", n)
		}
	})
}

// A refresh token that is too long to be kept has made the old one void: that is
// not used again, and the session goes on without refreshes.
func TestARefreshTokenThatIsTooLong(t *testing.T) {
	for _, partial := range []bool{false, true} {
		inItsOwnTime(t, 1, time.Minute, func(t *testing.T, f *fleet) {
			i := &slow{rotating: f.issuer}
			i.then = func(ctx context.Context, g *outpost.Grant) (*outpost.Grant, error) {
				got, err := f.issuer.Refresh(ctx, g)
				if got != nil {
					got.Refresh += strings.Repeat("x", 8<<10)
				}
				return got, err
			}
			f.issuer.groups, f.issuer.partial = []string{"new"}, partial
			f.ask(i)
			alice := f.signIn("alice")
			f.use(alice, 30*time.Minute, "old", "new")
			f.want(0, alice, map[bool]string{false: "new", true: "old"}[partial])
			if len(i.times()) != 1 {
				t.Errorf("partial %t: asked %d times", partial, len(i.times()))
			}
		})
	}
}

// What the issuer says of somebody may be too much for the store. The session
// goes on as it was, with the newest token, until it is less again.
func TestAnAnswerThatHasNoRoom(t *testing.T) {
	inItsOwnTime(t, 1, time.Minute, func(t *testing.T, f *fleet) {
		i := &slow{rotating: f.issuer}
		f.ask(i)
		f.issuer.groups = slices.Repeat([]string{strings.Repeat("g", 100)}, 700)
		alice := f.signIn("alice")
		f.use(alice, 20*time.Minute, "old")
		if n := len(i.times()); n < 10 || n > 30 {
			t.Errorf("asked %d times in 20 minutes", n)
		}
		f.mu.Lock()
		for _, r := range f.told {
			if r.Result != session.Postponed || !errors.Is(r.Err, store.ErrTooLarge) {
				t.Errorf("%s: %v", r.Result, r.Err)
			}
		}
		f.mu.Unlock()
		f.issuer.set(func() { f.issuer.groups = []string{"few"} })
		f.use(alice, 2*time.Minute, "old", "few")
		f.want(0, alice, "few")
	})
}
