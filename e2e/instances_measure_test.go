package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store/redis"
)

// measuring is a fleet over one Redis, and sessions by the thousand.
type measuring struct {
	*fleet
	redis    *parts.RedisServer
	store    *redis.Store
	sessions *session.Sessions
	guarded  *outpost.Application
	sample   *session.Record // of somebody who has signed in at the issuer
}

// vouching is the issuer of the fleet, as far as a session knows it.
type vouching struct {
	outpost.Issuer
	url, client string
}

func (v vouching) IssuerURL() string { return v.url }
func (v vouching) ClientID() string  { return v.client }
func (v vouching) Refresh(context.Context, *outpost.Grant) (*outpost.Grant, error) {
	return nil, outpost.ErrUnavailable
}

func newMeasuring(t *testing.T) *measuring {
	t.Helper()
	parts.Need(t)
	m := &measuring{redis: parts.RedisWith(t, parts.RedisOptions{})}
	w := fleetWants{
		store:   fmt.Sprintf("url: %q, timeout: 2s", "redis://"+m.redis.Addr()),
		session: "idle: 8h, absolute: 24h, refresh: 4h",
		issuer:  parts.IssuerConfig{TokenTTL: 8 * time.Hour},
	}
	if _, measured := soak(); measured {
		w.program = plainAkprox(t)
	}
	m.fleet = newFleet(t, w)
	seals, err := stores.Derive([][]byte{[]byte(fleetSecret)}, "store")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := stores.Derive([][]byte{[]byte(fleetSecret)}, "session cookie")
	if err != nil {
		t.Fatal(err)
	}
	if m.store, err = redis.New(redis.Options{URL: "redis://" + m.redis.Addr(), Keys: seals, Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.store.Close() })
	m.sessions = session.New(m.store, keys, session.Options{})
	cookie := m.entered(t, "alice")
	name, _, _ := strings.Cut(cookie, "=")
	m.guarded = &outpost.Application{
		Name: "app", Cookie: outpost.CookieReach{Name: name}, Session: outpost.Lifetimes{Idle: 8 * time.Hour, Absolute: 24 * time.Hour, Refresh: 4 * time.Hour},
		SignIn: &outpost.SignInWay{Provider: "company", Issuer: vouching{nil, m.issuer.URL, m.issuer.ClientID}},
	}
	if m.sample, err = m.sessions.Current(t.Context(), m.guarded, http.Header{"Cookie": {cookie}}); err != nil {
		t.Fatal(err)
	}
	return m
}

// make makes sessions like the one of the sample, each of another person, and
// answers their cookies.
func (m *measuring) make(t *testing.T, n int) []string {
	t.Helper()
	cookies := make([]string, n)
	inParallel(64, n, func(i int) {
		id, refresh := m.sample.Identity, strings.Clone(m.sample.Refresh)
		user := fmt.Sprint("person-", i)
		g := &outpost.Grant{
			Identity: &outpost.Identity{
				Subject: user, Username: id.Username, Email: id.Email, Name: id.Name, Groups: id.Groups,
				Scopes: id.Scopes, Claims: id.Claims, Provider: id.Provider, IDToken: id.IDToken,
			},
			SID: m.sample.SID + user, Refresh: refresh, Expires: time.Now().Add(8 * time.Hour),
		}
		w := httptest.NewRecorder()
		if err := m.sessions.Create(t.Context(), w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), m.guarded, g); err != nil {
			t.Error(err)
			return
		}
		c := w.Result().Cookies()[0]
		cookies[i] = c.Name + "=" + c.Value
	})
	if t.Failed() {
		t.FailNow()
	}
	return cookies
}

// inParallel calls do with 0 to n-1, some at a time.
func inParallel(workers, n int, do func(i int)) {
	work := make(chan int)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := range work {
				do(i)
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
}

// quantiles writes times as a figure.
func quantiles(took []time.Duration) string {
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("%d: half within %v, 99 of 100 within %v, the last %v", len(took), at(.5), at(.99), at(1))
}

// TestEndIsSeenEverywhere ends sessions on one instance, and asks the other two
// without a break when they know.
func TestEndIsSeenEverywhere(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	n := 100
	if _, measured := soak(); measured {
		n = 1000
	}
	var took []time.Duration
	for i, cookie := range m.make(t, n) {
		for k := range m.akproxs {
			if status, _ := m.at(k, cookie); status != "200" {
				t.Fatalf("session %d at instance %d: %s", i, k, status)
			}
		}
		at := i % len(m.akproxs)
		status, err := m.signOut("http://"+m.akproxs[at].Addr(), cookie, false)
		if err != nil || status/100 != 3 {
			t.Fatalf("sign-out: %d %v", status, err)
		}
		acknowledged := time.Now()
		var late [2]time.Duration
		var wg sync.WaitGroup
		for k := range late {
			wg.Go(func() {
				for status := "200"; status == "200"; late[k] = time.Since(acknowledged) {
					if status, _ = m.at((at+1+k)%len(m.akproxs), cookie); time.Since(acknowledged) > 30*time.Second {
						t.Errorf("session %d goes on", i)
						return
					}
				}
			})
		}
		wg.Wait()
		if status, _ := m.at(at, cookie); status == "200" {
			t.Errorf("session %d goes on where it was ended", i)
		}
		took = append(took, late[0], late[1])
	}
	t.Logf("from the answer to a sign-out until another instance has refused, by %s", quantiles(took))
	if worst := took[len(took)-1]; worst > 20*time.Second {
		t.Errorf("it took %v", worst)
	}
}

// TestSeenSessionsAskNothing: Redis itself counts its commands while sessions
// that were seen before are checked, and cookies that nobody gave out.
func TestSeenSessionsAskNothing(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	n := 2000
	if _, measured := soak(); measured {
		n = 10_000
	}
	cookies := m.make(t, 20)
	check := func(i int, want string, cookie string) {
		if status, _ := m.at(i%len(m.akproxs), cookie); status != want {
			t.Errorf("check %d: %s", i, status)
		}
	}
	inParallel(1, len(cookies)*len(m.akproxs), func(i int) { check(i, "200", cookies[i/len(m.akproxs)]) })
	forged := cookies[0][:len(cookies[0])-8] + "AAAAAAA="
	checks := func() {
		inParallel(8, n, func(i int) { check(i, "200", cookies[i/len(m.akproxs)%len(cookies)]) })
		inParallel(8, 500, func(i int) { check(i, "401", forged) })
	}
	counted, connected := m.commands(t, checks)
	if connected { // the end of a connection ends all that was known by it
		t.Logf("a connection was made anew while Redis counted %v: once more", counted)
		checks()
		counted, _ = m.commands(t, checks)
	}
	for _, entry := range counted {
		switch name, calls, _ := strings.Cut(entry, " "); name {
		case "ping", "role", "exists", "info", "config|resetstat": // the look at the node each second, and ours
		default:
			t.Errorf("%s calls of %s", calls, name)
		}
	}
	t.Logf("%d checks: Redis counts %s", n, strings.Join(counted, ", "))
}

// commands answers what Redis counts of each command during do, and whether
// anybody connected meanwhile.
func (m *measuring) commands(t *testing.T, do func()) (counted []string, connected bool) {
	t.Helper()
	m.redis.Do(t, "CONFIG", "RESETSTAT")
	do()
	for line := range strings.Lines(m.redis.Do(t, "INFO", "all")) {
		line = strings.TrimSpace(line)
		if connections, ok := strings.CutPrefix(line, "total_connections_received:"); ok {
			connected = connections != "1" // the one that asks for it
		}
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls="); ok {
			calls, _, _ := strings.Cut(rest, ",")
			counted = append(counted, name+" "+calls)
		}
	}
	return counted, connected
}

// memory answers what Redis uses, in bytes.
func (m *measuring) memory(t *testing.T) int {
	t.Helper()
	_, rest, _ := strings.Cut(m.redis.Do(t, "INFO", "memory"), "used_memory:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSizeOfSessions measures what a session takes, in Redis and in akprox, and
// what a check costs.
func TestSizeOfSessions(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	n, seen := 3000, 1500
	if _, measured := soak(); measured {
		n, seen = 100_000, 50_000
	}
	mib := func(bytes int) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
	idle, before := resident(t, m.akproxs[0].Pid()), m.memory(t)
	cookies := m.make(t, n)
	each := (m.memory(t) - before) / n
	t.Logf("%d sessions in Redis: %s, %d bytes each", n, mib(m.memory(t)-before), each)
	if each > 10<<10 {
		t.Errorf("a session takes %d bytes in Redis", each)
	}
	visit := func(from, to int) []time.Duration {
		took := make([]time.Duration, to-from)
		inParallel(4, to-from, func(i int) {
			began := time.Now()
			if status, _ := m.at(0, cookies[from+i]); status != "200" {
				t.Errorf("session %d: %s", from+i, status)
			}
			took[i] = time.Since(began)
		})
		return took
	}
	visit(0, 500) // connections, code
	first := resident(t, m.akproxs[0].Pid())
	unseen := visit(500, seen)
	held := resident(t, m.akproxs[0].Pid())
	t.Logf("akprox: %s idle, %s after 500 sessions, %s with %d: %d bytes each", mib(idle), mib(first), mib(held), seen, (held-first)/(seen-500))
	again := visit(500, seen)
	t.Logf("a check of a session that was not seen before, %s; seen, %s", quantiles(unseen), quantiles(again))
	visit(seen, n)
	t.Logf("akprox after all %d: %s; Redis with what it remembers for akprox: %d bytes a session", n, mib(resident(t, m.akproxs[0].Pid())), (m.memory(t)-before)/n)
}
