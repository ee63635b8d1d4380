package session_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/outpost/store/redis"
)

// rotating is an issuer that gives each refresh token once, and ends a grant
// whose token comes a second time.
type rotating struct {
	url, client string

	mu      sync.Mutex
	groups  []string
	tokens  map[string]string // newest refresh token → grant
	used    map[string]string
	ended   map[string]bool
	asked   map[string]int // by subject
	silent  bool           // it does not answer
	partial bool           // it answers with a new token, and then falls silent
	sid     string         // of what it answers; "" for that of before
	life    time.Duration  // of its access tokens; 0: it does not tell
	hold    chan struct{}  // it answers when this is closed
	begun   chan struct{}  // gets one for every question, if not nil
	calls   atomic.Int64
}

func newRotating() *rotating {
	return &rotating{url: "https://id.example.com", client: "akprox", tokens: map[string]string{}, used: map[string]string{}, ended: map[string]bool{}, asked: map[string]int{}}
}

func (i *rotating) AuthURL(context.Context, outpost.AuthQuery) (string, error) { return "", nil }
func (i *rotating) Exchange(context.Context, outpost.AuthQuery, string) (*outpost.Grant, error) {
	return nil, nil
}
func (i *rotating) EndSessionURL(context.Context, string, string) (string, error) { return "", nil }
func (i *rotating) Ready() error                                                  { return nil }
func (i *rotating) IssuerURL() string                                             { return i.url }
func (i *rotating) ClientID() string                                              { return i.client }

// grant begins a grant of user.
func (i *rotating) grant(user string) *outpost.Grant {
	i.mu.Lock()
	defer i.mu.Unlock()
	first := "r-" + user + "-0"
	i.tokens[first] = user
	return &outpost.Grant{
		Identity: &outpost.Identity{Subject: "s-" + user, Username: user, Groups: []string{"old"}, Provider: "company"},
		SID:      "sid-" + user, Refresh: first, Expires: i.until(),
	}
}

func (i *rotating) until() time.Time {
	if i.life == 0 {
		return time.Time{}
	}
	return time.Now().Add(i.life)
}

func (i *rotating) Refresh(ctx context.Context, g *outpost.Grant) (*outpost.Grant, error) {
	i.mu.Lock()
	hold, begun := i.hold, i.begun
	i.mu.Unlock()
	if begun != nil {
		begun <- struct{}{}
	}
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", outpost.ErrUnavailable, ctx.Err())
		}
	}
	n := i.calls.Add(1)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.silent {
		return nil, outpost.ErrUnavailable
	}
	i.asked[g.Identity.Subject]++
	if user, again := i.used[g.Refresh]; again {
		i.ended[user] = true
	}
	user, ok := i.tokens[g.Refresh]
	if !ok || i.ended[user] {
		return nil, errors.New("invalid_grant")
	}
	delete(i.tokens, g.Refresh)
	i.used[g.Refresh] = user
	next := fmt.Sprint("r-", user, "-", n)
	i.tokens[next] = user
	if i.partial {
		return &outpost.Grant{Identity: g.Identity, Refresh: next}, outpost.ErrUnavailable
	}
	id := &outpost.Identity{Subject: g.Identity.Subject, Username: user, Groups: slices.Clone(i.groups), Provider: "company"}
	return &outpost.Grant{Identity: id, SID: cmp.Or(i.sid, g.SID), Refresh: next, Expires: i.until()}, nil
}

func (i *rotating) set(change func()) { i.mu.Lock(); defer i.mu.Unlock(); change() }

// fleet is several processes over what they share, and one issuer.
type fleet struct {
	t      *testing.T
	issuer *rotating
	clock  *clock
	app    *outpost.Application
	each   []*session.Sessions
	stores []*faulty
	kinds  []outpost.Credential
	mu     sync.Mutex
	told   []session.Renewal
}

// overFleets runs test over one process with each store of its own, and over
// two that share a real Redis.
func overFleets(t *testing.T, test func(t *testing.T, f *fleet)) {
	now := func() *clock { return &clock{now: time.Now()} }
	t.Run("memory", func(t *testing.T) {
		c := now()
		s := memory.New(memory.Options{Now: c.Now})
		t.Cleanup(func() { _ = s.Close() })
		test(t, newFleet(t, c, 0, s))
	})
	t.Run("disk", func(t *testing.T) {
		c := now()
		s, err := disk.Open(t.TempDir(), disk.Options{Now: c.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		test(t, newFleet(t, c, 0, s))
	})
	t.Run("two over redis", func(t *testing.T) {
		server := parts.RedisWith(t, parts.RedisOptions{})
		test(t, newFleet(t, now(), 0, overRedis(t, server), overRedis(t, server)))
	})
}

func overRedis(t *testing.T, server *parts.RedisServer) store.Store {
	t.Helper()
	s, err := redis.New(redis.Options{URL: "redis://" + server.Addr(), Keys: [][]byte{key('s')}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	eventually(t, "redis answers", func() bool { return s.Delete(t.Context(), "nothing") == nil })
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal("never: " + what)
}

func newFleet(t *testing.T, c *clock, grace time.Duration, stores ...store.Store) *fleet {
	f := &fleet{t: t, issuer: newRotating(), clock: c}
	f.app = &outpost.Application{
		Name: "wiki", Cookie: outpost.CookieReach{Name: "akprox_12345678"},
		Session: outpost.Lifetimes{Idle: time.Hour, Absolute: 10 * time.Hour, Refresh: time.Minute},
		SignIn:  &outpost.SignInWay{Provider: "company", Issuer: f.issuer},
	}
	for _, st := range stores {
		broken := &faulty{full: st.(full)}
		s := session.New(broken, [][]byte{key('k')}, session.Options{Now: c.Now, Grace: grace, Observe: func(r session.Renewal) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.told = append(f.told, r)
		}})
		f.each, f.stores = append(f.each, s), append(f.stores, broken)
		f.kinds = append(f.kinds, s.Credential("company", f.issuer, f.app.Cookie, f.app.Session))
		t.Cleanup(func() { _ = s.Close(context.Background()) })
	}
	return f
}

// full is every power of a store of ours.
type full interface {
	store.Store
	store.Toucher
	store.Claimer
	store.Replacer
	store.Lister
}

// faulty is a store that can be silent.
type faulty struct {
	full
	down    atomic.Bool
	noWrite atomic.Bool // Replace alone
	gets    atomic.Int64
	changed atomic.Pointer[func(string)]

	mu   sync.Mutex
	cuts int // how often the store itself said that its watch was lost
}

func (s *faulty) Watch(changed func(string)) {
	s.changed.Store(&changed)
	if w, ok := s.full.(store.Watcher); ok {
		w.Watch(func(key string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if key == "" {
				s.cuts++
			}
			changed(key)
		})
	}
}

func (s *faulty) wasCut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cuts
}

func (s *faulty) lost() { (*s.changed.Load())("") }

func (s *faulty) Get(ctx context.Context, key string) (store.Item, error) {
	s.gets.Add(1)
	if s.down.Load() {
		return store.Item{}, store.ErrUnavailable
	}
	return s.full.Get(ctx, key)
}

func (s *faulty) Replace(ctx context.Context, key string, item store.Item) error {
	if s.down.Load() || s.noWrite.Load() {
		return store.ErrUnavailable
	}
	return s.full.Replace(ctx, key, item)
}

// run lets the time go by by itself, sessions being due after a second. Redis
// knows no other time.
func (f *fleet) run() {
	f.clock.mu.Lock()
	f.clock.runs = true
	f.clock.mu.Unlock()
	f.app.Session.Refresh = time.Second
	f.ask(f.issuer)
}

// ask makes issuer the one that is asked.
func (f *fleet) ask(issuer outpost.Issuer) {
	for n := range f.each {
		f.kinds[n] = f.each[n].Credential("company", issuer, f.app.Cookie, f.app.Session)
	}
}

func (f *fleet) results(r session.Result) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.told {
		if t.Result == r {
			n++
		}
	}
	return n
}

func (f *fleet) signIn(user string) string {
	f.t.Helper()
	w := httptest.NewRecorder()
	if err := f.each[0].Create(f.t.Context(), w, httptest.NewRequest("GET", "/", nil), f.app, f.issuer.grant(user)); err != nil {
		f.t.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	return c.Name + "=" + c.Value
}

// groups answers the groups that process n sees, or the error.
func (f *fleet) groups(ctx context.Context, n int, cookie string) string {
	id, err := f.kinds[n].Identify(ctx, &outpost.Request{Header: http.Header{"Cookie": {cookie}}})
	switch {
	case errors.Is(err, outpost.ErrNoCredential):
		return "nobody"
	case errors.Is(err, outpost.ErrUnavailable):
		return "unavailable"
	case err != nil:
		return err.Error()
	}
	return strings.Join(id.Groups, " ")
}

func (f *fleet) want(n int, cookie, want string) {
	f.t.Helper()
	if got := f.groups(f.t.Context(), n, cookie); got != want {
		f.t.Errorf("process %d: got %q, want %q", n, got, want)
	}
}

func (f *fleet) becomes(cookie, want string) {
	f.t.Helper()
	for n := range f.each {
		polls := 0
		eventually(f.t, fmt.Sprintf("process %d sees %s", n, want), func() bool {
			if polls++; polls%200 == 0 {
				f.clock.move(3 * time.Second) // who found another at it looks again after two, which never pass where time stands
			}
			return f.groups(f.t.Context(), n, cookie) == want
		})
	}
}

func TestGroupsReachASessionWithinTheBound(t *testing.T) {
	overFleets(t, func(_ *testing.T, f *fleet) {
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.groups = []string{"new"} })
		f.clock.move(59 * time.Second)
		f.want(0, alice, "old")
		if n := f.issuer.calls.Load(); n != 0 {
			f.t.Errorf("the issuer was asked %d times before the session was due", n)
		}
		f.clock.move(2 * time.Second)
		f.want(0, alice, "old") // the request that finds it due does not wait
		f.becomes(alice, "new")
		if n := f.issuer.calls.Load(); n != 1 {
			f.t.Errorf("the issuer was asked %d times", n)
		}
		for i := range 3 { // and again, with the token of the last time
			f.issuer.set(func() { f.issuer.groups = []string{fmt.Sprint("g", i)} })
			f.clock.move(61 * time.Second)
			f.becomes(alice, fmt.Sprint("g", i))
		}
	})
}

func TestAHundredDueAtOnceAreEachRefreshedOnce(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		var cookies []string
		for i := range 100 {
			cookies = append(cookies, f.signIn(fmt.Sprint("u", i)))
		}
		f.issuer.set(func() { f.issuer.groups = []string{"new"} })
		f.clock.move(2 * time.Minute)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if got := f.groups(t.Context(), i/100%len(f.each), cookies[i%100]); got != "old" && got != "new" {
					t.Errorf("request %d: %s", i, got)
				}
			})
		}
		wg.Wait()
		for _, c := range cookies {
			f.becomes(c, "new")
		}
		f.issuer.mu.Lock()
		defer f.issuer.mu.Unlock()
		for subject, n := range f.issuer.asked {
			if n != 1 {
				t.Errorf("%s was refreshed %d times", subject, n)
			}
		}
		if len(f.issuer.asked) != 100 {
			t.Errorf("%d were refreshed", len(f.issuer.asked))
		}
	})
}

func TestTheIssuersNoEndsTheSession(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice, bob := f.signIn("alice"), f.signIn("bob")
		f.issuer.set(func() { f.issuer.ended["alice"] = true; f.issuer.groups = []string{"new"} })
		f.clock.move(2 * time.Minute)
		f.want(0, alice, "old")
		f.want(0, bob, "old")
		f.becomes(alice, "nobody")
		f.becomes(bob, "new")
		eventually(t, "it is told", func() bool { return f.results(session.Refused) == 1 })
	})
}

func TestTheIssuersSilenceEndsNothing(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		f.run()
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.silent = true; f.issuer.groups = []string{"new"} })
		eventually(t, "it was tried", func() bool { f.want(0, alice, "old"); return f.results(session.Postponed) > 0 })
		for range 50 {
			f.want(0, alice, "old")
		}
		f.issuer.set(func() { f.issuer.silent = false })
		f.becomes(alice, "new")
	})
}

// An issuer that does not answer is asked more and more seldom, however often
// the session is used.
func TestASilentIssuerIsAskedMoreAndMoreSeldom(t *testing.T) {
	for _, partial := range []bool{false, true} {
		c := &clock{now: time.Now()}
		s := memory.New(memory.Options{Now: c.Now})
		t.Cleanup(func() { _ = s.Close() })
		f := newFleet(t, c, 0, s)
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.silent, f.issuer.partial = !partial, partial })
		c.move(2 * time.Minute)
		for range 60 { // a minute
			told := f.results(session.Postponed)
			asked := f.issuer.calls.Load()
			f.want(0, alice, "old")
			time.Sleep(5 * time.Millisecond)
			if f.issuer.calls.Load() > asked {
				eventually(t, "it is told", func() bool { return f.results(session.Postponed) > told })
			}
			c.move(time.Second)
		}
		if n := f.issuer.calls.Load(); n < 3 || n > 6 {
			t.Errorf("partial %t: the issuer was asked %d times in a minute", partial, n)
		}
	}
}

func TestANewRefreshTokenBesideSilenceIsKept(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		f.run()
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.partial = true; f.issuer.groups = []string{"new"} })
		eventually(t, "it was tried", func() bool { f.want(0, alice, "old"); return f.results(session.Postponed) > 0 })
		f.issuer.set(func() { f.issuer.partial = false })
		f.becomes(alice, "new")
	})
}

// The issuer has answered, and the store is silent: the only token that the
// issuer still takes is held until it can be written, and nobody uses the old.
func TestTheNewestRefreshTokenOutlivesASilentStore(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.groups = []string{"new"} })
		f.clock.move(2 * time.Minute)
		f.stores[0].noWrite.Store(true)
		f.want(0, alice, "old")
		eventually(t, "the issuer is asked", func() bool { return f.issuer.calls.Load() == 1 })
		for n := range f.each {
			for range 20 {
				f.want(n, alice, "old")
			}
		}
		f.stores[0].noWrite.Store(false)
		f.becomes(alice, "new")
		if n := f.issuer.calls.Load(); n != 1 {
			t.Errorf("the issuer was asked %d times", n)
		}
	})
}

func TestASessionEndedDuringARefreshDoesNotComeBack(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		hold := make(chan struct{})
		f.issuer.set(func() { f.issuer.hold, f.issuer.begun = hold, make(chan struct{}, 10) })
		f.clock.move(2 * time.Minute)
		f.want(0, alice, "old")
		<-f.issuer.begun
		last := len(f.each) - 1
		if n, err := f.each[last].EndTagged(t.Context(), session.SIDTag("company", "sid-alice")); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		f.want(last, alice, "nobody")
		close(hold)
		eventually(t, "the answer is dropped", func() bool { return f.results(session.Gone) == 1 })
		f.becomes(alice, "nobody")
	})
}

func TestAClientThatLeavesDuringARefresh(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		hold := make(chan struct{})
		f.issuer.set(func() {
			f.issuer.hold, f.issuer.begun, f.issuer.groups = hold, make(chan struct{}, 10), []string{"new"}
		})
		f.clock.move(2 * time.Minute)
		ctx, leave := context.WithCancel(t.Context())
		if got := f.groups(ctx, 0, alice); got != "old" {
			t.Fatal(got)
		}
		<-f.issuer.begun
		leave()
		close(hold)
		f.becomes(alice, "new")
	})
}

func TestAStopWaitsForARefresh(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		hold := make(chan struct{})
		f.issuer.set(func() {
			f.issuer.hold, f.issuer.begun, f.issuer.groups = hold, make(chan struct{}, 10), []string{"new"}
		})
		f.clock.move(2 * time.Minute)
		f.want(0, alice, "old")
		<-f.issuer.begun
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := f.each[0].Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it did not wait: %v", err)
		}
		close(hold)
		if err := f.each[0].Close(t.Context()); err != nil {
			t.Error(err)
		}
		f.want(0, alice, "new")
	})
}

func TestARefreshKeepsTheLimits(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		f.app.Session.Absolute = 3 * time.Hour
		f.kinds[0] = f.each[0].Credential("company", f.issuer, f.app.Cookie, f.app.Session)
		alice := f.signIn("alice")
		for i := range 4 {
			f.issuer.set(func() { f.issuer.groups = []string{fmt.Sprint(i)} })
			f.clock.move(40 * time.Minute)
			eventually(t, "refreshed", func() bool { return f.groups(t.Context(), 0, alice) == fmt.Sprint(i) })
		}
		var got []session.Summary
		if err := f.each[0].List(t.Context(), func(s session.Summary) error { got = append(got, s); return nil }); err != nil || len(got) != 1 {
			t.Fatal(got, err)
		}
		s := got[0]
		if s.Subject != "s-alice" || s.Username != "alice" || s.Provider != "company" || s.Application != "wiki" || s.SID != "sid-alice" {
			t.Errorf("got %+v", s)
		}
		if end := s.Created.Add(3 * time.Hour); s.Expires.Sub(end).Abs() > time.Second {
			t.Errorf("it ends at %v, want %v", s.Expires, end)
		}
		f.clock.move(21 * time.Minute)
		f.want(0, alice, "nobody")
	})
}

// The issuer may name another session of its own than before: that one ends
// ours from then on.
func TestARefreshThatNamesAnotherSessionOfTheIssuer(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		f.issuer.set(func() { f.issuer.sid, f.issuer.groups = "another", []string{"new"} })
		f.clock.move(2 * time.Minute)
		f.becomes(alice, "new")
		for _, c := range []struct {
			sid  string
			ends int
			then string
		}{{"sid-alice", 0, "new"}, {"another", 1, "nobody"}} {
			if n, err := f.each[0].EndTagged(t.Context(), session.SIDTag("company", c.sid)); n != c.ends || err != nil {
				t.Errorf("%s ended %d sessions, %v", c.sid, n, err)
			}
			f.becomes(alice, c.then)
		}
	})
}

func TestASessionIsBoundToItsIssuer(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		for _, other := range []*rotating{{url: "https://other.example.com", client: "akprox"}, {url: f.issuer.url, client: "another"}} {
			kind := f.each[0].Credential("company", other, f.app.Cookie, f.app.Session)
			if _, err := kind.Identify(t.Context(), &outpost.Request{Header: http.Header{"Cookie": {alice}}}); !errors.Is(err, outpost.ErrNoCredential) {
				t.Errorf("%s %s: %v", other.url, other.client, err)
			}
			app := *f.app
			app.SignIn = &outpost.SignInWay{Provider: "company", Issuer: other}
			if rec, err := f.each[0].Current(t.Context(), &app, http.Header{"Cookie": {alice}}); !errors.Is(err, outpost.ErrNoCredential) {
				t.Errorf("current: %v %v", rec, err)
			}
		}
		if rec, err := f.each[0].Current(t.Context(), f.app, http.Header{"Cookie": {alice}}); err != nil || rec.Identity.Username != "alice" {
			t.Errorf("%v %v", rec, err)
		}
		f.want(0, alice, "old")
	})
}

func TestEndingIsSeenEverywhere(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice, bob := f.signIn("alice"), f.signIn("bob")
		for n := range f.each {
			f.want(n, alice, "old")
			f.want(n, bob, "old")
		}
		if n, err := f.each[0].EndTagged(t.Context(), session.SubjectTag("company", "s-alice")); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		f.want(0, alice, "nobody")
		f.becomes(alice, "nobody")
		f.becomes(bob, "old")
	})
}

func TestASeenSessionAsksTheStoreNothing(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		last := len(f.each) - 1
		st := f.stores[last]
		for range 20 { // anew when the watch was lost meanwhile, as it is said to be once at the start
			cuts := st.wasCut()
			f.want(last, alice, "old")
			before := st.gets.Load()
			for range 100 {
				f.want(last, alice, "old")
			}
			seen := st.gets.Load() - before
			st.lost()
			f.want(last, alice, "old")
			f.want(last, alice, "old")
			after := st.gets.Load() - before
			if st.wasCut() != cuts {
				continue
			}
			if seen != 0 {
				t.Errorf("asked %d times", seen)
			}
			if after != 1 {
				t.Errorf("after a lost watch asked %d times, want 1", after)
			}
			return
		}
		t.Error("the watch is lost all the time")
	})
}

func TestAStoreThatIsSilent(t *testing.T) {
	for name, grace := range map[string]time.Duration{"no grace": 0, "a minute of grace": time.Minute} {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: time.Now()}
			kept := memory.New(memory.Options{Now: c.Now})
			defer func() { _ = kept.Close() }()
			f := newFleet(t, c, grace, kept)
			f.app.Session.Refresh = 0
			f.kinds[0] = f.each[0].Credential("company", f.issuer, f.app.Cookie, f.app.Session)
			alice, unseen := f.signIn("alice"), f.signIn("bob")
			f.want(0, alice, "old")
			f.stores[0].down.Store(true)
			f.want(0, alice, "old") // confirmed: the watch is not lost
			f.want(0, unseen, "unavailable")
			f.stores[0].lost()
			if grace == 0 {
				f.want(0, alice, "unavailable")
			} else {
				f.clock.move(59 * time.Second)
				before := f.stores[0].gets.Load()
				for range 100 {
					f.want(0, alice, "old")
				}
				if n := f.stores[0].gets.Load() - before; n > 1 {
					t.Errorf("a silent store was asked %d times in a moment", n)
				}
				f.stores[0].lost() // again: what was lost before stays lost since then
				f.clock.move(2 * time.Second)
				f.want(0, alice, "unavailable")
			}
			f.stores[0].down.Store(false)
			f.clock.move(time.Second)
			f.want(0, alice, "old")
			f.want(0, unseen, "old")
		})
	}
}

// What was ended while the store was out of sight is not served once it is back.
func TestEndedDuringALostWatch(t *testing.T) {
	c := &clock{now: time.Now()}
	kept := memory.New(memory.Options{Now: c.Now})
	defer func() { _ = kept.Close() }()
	f := newFleet(t, c, time.Hour, kept)
	alice := f.signIn("alice")
	f.want(0, alice, "old")
	if _, err := kept.DeleteTagged(t.Context(), session.SubjectTag("company", "s-alice")); err != nil {
		t.Fatal(err)
	}
	f.stores[0].lost()
	f.want(0, alice, "nobody")
}

func TestKeysAreRotatedByAList(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		old := f.signIn("alice")
		f.each[0].Rekey([][]byte{key('n'), key('k')})
		f.want(0, old, "old")
		fresh := f.signIn("bob")
		f.each[0].Rekey([][]byte{key('n')})
		f.want(0, old, "nobody")
		f.want(0, fresh, "old")
		if w := httptest.NewRecorder(); session.New(f.stores[0], nil, session.Options{}).Create(t.Context(), w, httptest.NewRequest("GET", "/", nil), f.app, f.issuer.grant("eve")) == nil {
			t.Error("a cookie was made without a key")
		}
	})
}

// A record as it was written before records named their issuer.
func TestARecordOfAnEarlierVersion(t *testing.T) {
	for name, c := range map[string]struct{ record, want string }{
		"of this issuer and client":   {`{"iss":"https://id.example.com","aud":"akprox"}`, "old"},
		"one audience in a list":      {`{"iss":"https://id.example.com","aud":["akprox"]}`, "old"},
		"several audiences and azp":   {`{"iss":"https://id.example.com","aud":["akprox","api"],"azp":"akprox"}`, "old"},
		"several audiences, no azp":   {`{"iss":"https://id.example.com","aud":["akprox","api"]}`, "nobody"},
		"of another issuer":           {`{"iss":"https://other.example.com","aud":"akprox"}`, "nobody"},
		"of another client":           {`{"iss":"https://id.example.com","aud":"other"}`, "nobody"},
		"of no issuer, as a password": {`{}`, "nobody"},
	} {
		t.Run(name, func(t *testing.T) {
			clk := &clock{now: time.Now()}
			kept := memory.New(memory.Options{Now: clk.Now})
			defer func() { _ = kept.Close() }()
			f := newFleet(t, clk, 0, kept)
			alice := f.signIn("alice")
			err := kept.List(t.Context(), session.Prefix, func(key string, item store.Item) error {
				item.Value = fmt.Appendf(nil, `{"identity":{"sub":"s-alice","username":"alice","groups":["old"],"claims":%s,"provider":"company"},"cookie":"akprox_12345678","sid":"sid-alice","created":%q}`,
					c.record, clk.Now().Format(time.RFC3339))
				return kept.Put(t.Context(), key, item)
			})
			if err != nil {
				t.Fatal(err)
			}
			f.want(0, alice, c.want)
			f.clock.move(10 * time.Minute) // it has no refresh token, and so is never due
			f.want(0, alice, c.want)
			if f.issuer.calls.Load() != 0 {
				t.Error("the issuer was asked")
			}
		})
	}
}
