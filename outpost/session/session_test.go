package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/memory"
)

// clock is a time that a test moves.
type clock struct {
	mu   sync.Mutex
	now  time.Time
	runs bool // it is the real time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runs {
		return time.Now()
	}
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is Sessions over one store, and an application.
type bench struct {
	*session.Sessions
	store store.Store
	clock *clock
	app   *outpost.Application
	kind  outpost.Credential
}

func key(c byte) []byte { return []byte(strings.Repeat(string(c), 32)) }

// overStores runs test over every store.
func overStores(t *testing.T, test func(t *testing.T, b *bench)) {
	for name, open := range map[string]func(t *testing.T, now func() time.Time) store.Store{
		"memory": func(t *testing.T, now func() time.Time) store.Store {
			s := memory.New(memory.Options{Now: now})
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		"disk": func(t *testing.T, now func() time.Time) store.Store {
			s, err := disk.Open(t.TempDir(), disk.Options{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
			st := open(t, c.Now)
			test(t, newBench(st, c))
		})
	}
}

func newBench(st store.Store, c *clock) *bench {
	b := &bench{Sessions: session.New(st, [][]byte{key('k')}, session.Options{Now: c.Now}), store: st, clock: c}
	b.app = &outpost.Application{
		Name: "wiki", Cookie: outpost.CookieReach{Name: "akprox_12345678", Secure: true},
		Session: outpost.Lifetimes{Idle: time.Hour, Absolute: 10 * time.Hour},
	}
	b.kind = b.Credential("company", nil, b.app.Cookie, b.app.Session)
	return b
}

// signIn makes a session of user and answers the browser's Cookie header.
func (b *bench) signIn(t *testing.T, user, cookie string) string {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	g := &outpost.Grant{Identity: &outpost.Identity{Subject: "s-" + user, Username: user, Provider: "company"}, SID: "sid-" + user}
	if err := b.Create(t.Context(), w, r, b.app, g); err != nil {
		t.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	return c.Name + "=" + c.Value
}

// who answers the user that the kind sees, or the error's word.
func (b *bench) who(t *testing.T, cookies ...string) string {
	t.Helper()
	h := http.Header{}
	for _, c := range cookies {
		h.Add("Cookie", c)
	}
	id, err := b.kind.Identify(t.Context(), &outpost.Request{Header: h})
	switch {
	case errors.Is(err, outpost.ErrNoCredential):
		return "nobody"
	case errors.Is(err, outpost.ErrUnavailable):
		return "unavailable"
	case err != nil:
		return err.Error()
	}
	return id.Username
}

func (b *bench) want(t *testing.T, want string, cookies ...string) {
	t.Helper()
	if got := b.who(t, cookies...); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestACookieIsWhatTheContractSays(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		b.app.Cookie.Domain = "example.com"
		w := httptest.NewRecorder()
		g := &outpost.Grant{Identity: &outpost.Identity{Subject: "1", Provider: "company"}}
		if err := b.Create(t.Context(), w, httptest.NewRequest("GET", "/", nil), b.app, g); err != nil {
			t.Fatal(err)
		}
		c := w.Result().Cookies()[0]
		if c.Name != "akprox_12345678" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "example.com" {
			t.Errorf("got %s", strings.Replace(c.String(), c.Value, "…", 1))
		}
	})
}

func TestSessionsEndAndLive(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		alice := b.signIn(t, "alice", "")
		bob := b.signIn(t, "bob", "")
		b.want(t, "alice", alice)
		b.want(t, "bob", bob)
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Cookie", alice)
		rec, err := b.End(t.Context(), w, r, b.app)
		if err != nil || rec == nil || rec.Identity.Username != "alice" {
			t.Fatalf("ended %v, %v", rec, err)
		}
		if c := w.Result().Cookies(); len(c) != 1 || c[0].MaxAge >= 0 {
			t.Errorf("the browser keeps its cookie: %v", c)
		}
		b.want(t, "nobody", alice)
		b.want(t, "bob", bob)
		if n, err := b.EndTagged(t.Context(), session.SubjectTag("company", "s-bob")); n != 1 || err != nil {
			t.Errorf("ended %d, %v", n, err)
		}
		b.want(t, "nobody", bob)
	})
}

// A subject, or an issuer's session id, that is too long for a tag as it is.
func TestSessionsOfASubjectOfAKiBEnd(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		subject, sid := strings.Repeat("s", 1<<10), strings.Repeat("i", 1<<10)
		for _, tag := range []string{session.SubjectTag("company", subject), session.SIDTag("company", sid)} {
			cookies := b.signIn(t, "alice", "")
			w := httptest.NewRecorder()
			g := &outpost.Grant{Identity: &outpost.Identity{Subject: subject, Username: "alice", Provider: "company"}, SID: sid}
			if err := b.Create(t.Context(), w, httptest.NewRequest("GET", "/", nil), b.app, g); err != nil {
				t.Fatal(err)
			}
			c := w.Result().Cookies()[0]
			if n, err := b.EndTagged(t.Context(), tag); n != 1 || err != nil {
				t.Errorf("ended %d, %v", n, err)
			}
			b.want(t, "nobody", c.Name+"="+c.Value)
			b.want(t, "alice", cookies) // another one of that name
		}
	})
}

func TestEverySignInHasANewID(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		first := b.signIn(t, "alice", "")
		second := b.signIn(t, "alice", first)
		if first == second {
			t.Error("the id was used again")
		}
		b.want(t, "nobody", first)
		b.want(t, "alice", second)
	})
}

func TestCookiesThatAreNotOursAreNobody(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		good := b.signIn(t, "alice", "")
		value := strings.TrimPrefix(good, "akprox_12345678=")
		other := newBench(b.store, b.clock)
		other.app.Cookie.Name = "akprox_87654321"
		for name, cookie := range map[string]string{
			"authentik CVE-2026-25748: not base64":   "akprox_12345678=%%%not-base64",
			"empty":                                  "akprox_12345678=",
			"made up by the client":                  "akprox_12345678=0123456789abcdef0123456789abcdef",
			"cut short":                              good[:len(good)-2],
			"one byte changed":                       good[:30] + "A" + good[31:],
			"another application's, under this name": "akprox_12345678=" + strings.TrimPrefix(other.signIn(t, "eve", ""), "akprox_87654321="),
			"under another name":                     "akprox_87654321=" + value,
			"a longer name":                          "xakprox_12345678=" + value,
			"a MiB":                                  "akprox_12345678=" + strings.Repeat("a", 1<<20),
			"chunk spelling":                         "akprox_12345678_1of50000000=a",
			"two hundred others":                     strings.Repeat("a=b; ", 200),
		} {
			t.Run(name, func(t *testing.T) { b.want(t, "nobody", cookie) })
		}
		b.want(t, "alice", "a=b; "+good+"; c=d")
		b.want(t, "alice", "x=y", good)
		b.want(t, "alice", "akprox_12345678=planted-by-another-host; "+good)
		b.want(t, "alice", `akprox_12345678="`+value+`"`)
	})
}

// Another host of the domain may plant as many cookies of our name before ours
// as proxies let through: who signs out is signed out all the same.
func TestPlantedCookiesHideNothing(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		good := b.signIn(t, "alice", "")
		junk := strings.Repeat("akprox_12345678=x; ", 300) + strings.Repeat("akprox_12345678="+strings.Repeat("A", len(good)-len("akprox_12345678="))+"; ", 60)
		b.want(t, "alice", junk+good)
		if rec, err := b.Current(t.Context(), b.app, http.Header{"Cookie": {junk + good}}); err != nil || rec.Identity.Username != "alice" {
			t.Errorf("current: %v, %v", rec, err)
		}
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Cookie", junk+good)
		if rec, err := b.End(t.Context(), httptest.NewRecorder(), r, b.app); err != nil || rec == nil {
			t.Errorf("end: %v, %v", rec, err)
		}
		b.want(t, "nobody", good)
	})
}

// One session has one spelling of its cookie: another one that means the same
// bytes would outlive the sign-out in memory.
func TestAnotherSpellingOfACookieIsNobody(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		cookie := b.signIn(t, "alice", "")
		b.want(t, "alice", cookie)
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		at := len(strings.TrimRight(cookie, "=")) - 1
		for _, c := range alphabet {
			if other := cookie[:at] + string(c) + cookie[at+1:]; other != cookie {
				b.want(t, "nobody", other)
			}
		}
		b.want(t, "nobody", cookie+"\n")
		b.want(t, "nobody", strings.TrimRight(cookie, "=")+"\r"+strings.Repeat("=", strings.Count(cookie, "=")-1))
	})
}

func TestAnOldKeyIsNobody(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		alice := b.signIn(t, "alice", "")
		b.want(t, "alice", alice)
		b.Rekey([][]byte{key('n')})
		b.want(t, "nobody", alice)
	})
}

func TestAnotherProvidersSessionIsNotMine(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		alice := b.signIn(t, "alice", "")
		b.kind = b.Credential("people", nil, b.app.Cookie, b.app.Session)
		b.want(t, "nobody", alice)
	})
}

func TestIdleAndAbsoluteLimits(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		alice := b.signIn(t, "alice", "")
		for range 12 { // in use all the time, for nine hours
			b.clock.move(45 * time.Minute)
			b.want(t, "alice", alice)
			b.settle(t, alice)
		}
		b.clock.move(61 * time.Minute)
		b.want(t, "nobody", alice) // the absolute limit
		idle := b.signIn(t, "idle", "")
		b.clock.move(59 * time.Minute)
		b.want(t, "idle", idle)
		b.settle(t, idle)
		b.clock.move(61 * time.Minute)
		b.want(t, "nobody", idle)
	})
}

// settle waits until a session's idle limit was moved in the store.
func (b *bench) settle(t *testing.T, cookie string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		fresh := newBench(b.store, &clock{now: b.clock.Now().Add(50 * time.Minute)})
		fresh.kind = fresh.Credential("company", nil, b.app.Cookie, outpost.Lifetimes{Absolute: b.app.Session.Absolute}) // looks without moving
		if fresh.who(t, cookie) != "nobody" || b.clock.Now().Add(50*time.Minute).After(time.Date(2030, 1, 2, 13, 4, 5, 0, time.UTC)) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the idle limit was not moved")
}

func TestAShorterLimitOfANewDocumentCountsAtOnce(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		alice := b.signIn(t, "alice", "")
		b.clock.move(30 * time.Minute)
		b.want(t, "alice", alice)
		b.kind = b.Credential("company", nil, b.app.Cookie, outpost.Lifetimes{Idle: time.Hour, Absolute: 20 * time.Minute})
		b.want(t, "nobody", alice)
	})
}

// broken is a store that fails while it is told to.
type broken struct {
	store.Store
	down bool
}

func (s *broken) Get(ctx context.Context, key string) (store.Item, error) {
	if s.down {
		return store.Item{}, fmt.Errorf("gone: %w", store.ErrUnavailable)
	}
	return s.Store.Get(ctx, key)
}

func (s *broken) Put(ctx context.Context, key string, item store.Item) error {
	if s.down {
		return fmt.Errorf("gone: %w", store.ErrUnavailable)
	}
	return s.Store.Put(ctx, key, item)
}

func TestAStoreThatIsGoneIsUnavailable(t *testing.T) {
	st := &broken{Store: memory.New(memory.Options{})}
	b := newBench(st, &clock{now: time.Now()})
	alice := b.signIn(t, "alice", "")
	st.down = true
	b.want(t, "unavailable", alice)
	w := httptest.NewRecorder()
	g := &outpost.Grant{Identity: &outpost.Identity{Subject: "1", Provider: "company"}}
	if err := b.Create(t.Context(), w, httptest.NewRequest("GET", "/", nil), b.app, g); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if len(w.Header()) > 0 {
		t.Errorf("a cookie was sent for a session that was not kept: %v", w.Header())
	}
	st.down = false
	b.want(t, "alice", alice)
}

func TestARecordOfGarbageIsNobody(t *testing.T) {
	b := newBench(memory.New(memory.Options{}), &clock{now: time.Now()})
	alice := b.signIn(t, "alice", "")
	b.Sessions = session.New(garbled{b.store}, [][]byte{key('k')}, session.Options{Now: b.clock.Now})
	b.kind = b.Credential("company", nil, b.app.Cookie, b.app.Session)
	b.want(t, "nobody", alice)
}

type garbled struct{ store.Store }

func (g garbled) Get(ctx context.Context, key string) (store.Item, error) {
	item, err := g.Store.Get(ctx, key)
	item.Value = []byte(`{"identity":null}`)
	return item, err
}

// An ending and a first sight at the same time: whatever their order, the
// session does not come back.
func TestAnEndedSessionNeverComesBack(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		for i := range 200 {
			cookie := b.signIn(t, fmt.Sprint("u", i), "")
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { b.who(t, cookie) })
			}
			wg.Go(func() {
				r := httptest.NewRequest("POST", "/", nil)
				r.Header.Set("Cookie", cookie)
				if _, err := b.End(t.Context(), httptest.NewRecorder(), r, b.app); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			if got := b.who(t, cookie); got != "nobody" {
				t.Fatalf("round %d: %s", i, got)
			}
		}
	})
}

// tinyauth CVE-2026-33544, under the race detector.
func TestFiftySignInsAtOnceAreEachTheirOwn(t *testing.T) {
	overStores(t, func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				user := fmt.Sprint("user", i)
				cookie := b.signIn(t, user, "")
				for range 20 {
					b.want(t, user, cookie)
				}
			})
		}
		wg.Wait()
	})
}

func BenchmarkIdentifySeen(bb *testing.B) {
	b := newBench(memory.New(memory.Options{}), &clock{now: time.Now()})
	w := httptest.NewRecorder()
	g := &outpost.Grant{Identity: &outpost.Identity{Subject: "1", Username: "alice", Provider: "company"}}
	if err := b.Create(bb.Context(), w, httptest.NewRequest("GET", "/", nil), b.app, g); err != nil {
		bb.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	r := &outpost.Request{Header: http.Header{"Cookie": {"theme=dark; " + c.Name + "=" + c.Value + "; x=y"}}}
	bb.ReportAllocs()
	for bb.Loop() {
		if _, err := b.kind.Identify(bb.Context(), r); err != nil {
			bb.Fatal(err)
		}
	}
}

// FuzzCookie holds that no cookie made up by a client is anybody's, and that
// reading it costs no more than its length.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"", "a=b", "akprox_12345678=", "akprox_12345678=x; akprox_12345678=y", `akprox_12345678="`, ";;;=;"} {
		f.Add(s)
	}
	b := newBench(memory.New(memory.Options{}), &clock{now: time.Now()})
	f.Fuzz(func(t *testing.T, cookie string) { b.want(t, "nobody", cookie) })
}
