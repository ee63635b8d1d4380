package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// tap stands between akprox and the issuer, and notes whose session was
// refreshed when.
type tap struct {
	*httptest.Server
	mu      sync.Mutex
	whose   map[string]string   // refresh token → subject
	asked   map[string][]*asked // by subject
	renewed func()
}

// asked is one refresh, from its request until akprox has had the answer, and
// time to write it.
type asked struct{ from, to time.Time }

const writing = 300 * time.Millisecond

func newTap(t *testing.T, renewed func()) *tap {
	t.Helper()
	p := &tap{whose: map[string]string{}, asked: map[string][]*asked{}, renewed: renewed}
	p.Server = httptest.NewUnstartedServer(nil)
	t.Cleanup(p.Close)
	return p
}

// to lets it begin, towards the issuer, and answers its own address.
func (p *tap) to(issuer string) string {
	target, err := url.Parse(issuer)
	if err != nil {
		panic(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host}) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if nobody listened
		ErrorLog:     nil,
	}
	proxy.ModifyResponse = p.learn
	p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, _ := url.ParseQuery(string(body)); form.Get("grant_type") == "refresh_token" {
			a := &asked{from: time.Now()}
			p.mu.Lock()
			user := p.whose[form.Get("refresh_token")]
			p.asked[user] = append(p.asked[user], a)
			p.mu.Unlock()
			defer func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				a.to = time.Now()
			}()
		}
		proxy.ServeHTTP(w, r)
	})
	p.Start()
	return p.URL
}

// learn notes whose a refresh token is.
func (p *tap) learn(resp *http.Response) error {
	if resp.Request.Method != http.MethodPost || resp.StatusCode != http.StatusOK {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	var tokens struct {
		ID      string `json:"id_token"`
		Refresh string `json:"refresh_token"`
	}
	var claims struct{ Sub string }
	if json.Unmarshal(body, &tokens) != nil || tokens.Refresh == "" || strings.Count(tokens.ID, ".") != 2 {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(tokens.ID, ".")[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.whose[tokens.Refresh] = claims.Sub
	if n := len(p.asked[claims.Sub]); n > 0 && p.asked[claims.Sub][n-1].to.IsZero() {
		p.renewed()
	}
	return nil
}

// cut reports whether a refresh of the user's was under way at a time.
func (p *tap) cut(user string, at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked[user] {
		if a.from.Before(at.Add(writing)) && (a.to.IsZero() || a.to.Add(writing).After(at)) {
			return true
		}
	}
	return false
}

// soaking is a fleet over Sentinel, and people who use it.
type soaking struct {
	*fleet
	*ledger
	t        *testing.T
	tap      *tap
	redis    *parts.RedisSentinels
	stop     chan struct{}
	people   atomic.Int64
	workers  sync.WaitGroup
	variants int
}

const (
	soakSessions = 60  // that live at a time
	soakRate     = 400 // requests a second
)

// TestSoak: no answer is wrong while things break.
func TestSoak(t *testing.T) {
	t.Parallel()
	length, measured := soak()
	// Beside other tests, a program may get no processor for more than the second
	// that is the default.
	bound, life, timeout := 5*time.Second, 10*time.Second, 3*time.Second
	if measured {
		bound, life, timeout = 100*time.Millisecond, 25*time.Second, time.Second
	}
	s := &soaking{t: t, stop: make(chan struct{})}
	s.tap = newTap(t, func() { s.count(colRefreshes) })
	s.ledger = newLedger(bound, s.tap.cut)
	s.begin("start")
	s.redis = parts.Sentinel(t, parts.RedisOptions{Keep: true, Args: []string{"--min-replicas-to-write", "1"}}, 2, "")
	for _, w := range s.redis.Sentinels {
		w.Do(t, "SENTINEL", "SET", s.redis.Master, "down-after-milliseconds", fmt.Sprint((timeout + time.Second).Milliseconds()))
	}
	s.fleet = newFleet(t, fleetWants{
		store:   fmt.Sprintf("addresses: [%q, %q, %q], sentinel: { master: %s }, grace: 30s, timeout: %v", s.redis.Sentinels[0].Addr(), s.redis.Sentinels[1].Addr(), s.redis.Sentinels[2].Addr(), s.redis.Master, timeout),
		session: "idle: 8h, absolute: 24h, refresh: 20s",
		issuer:  parts.IssuerConfig{TokenTTL: life}, asked: s.tap.to,
	})
	for len(s.live) < soakSessions {
		s.signIn()
	}
	s.use()
	rounds := max(1, int(length/(100*time.Second)))
	for round := range rounds {
		s.round(round, length/time.Duration(rounds)/20)
	}
	close(s.stop)
	s.workers.Wait()
	s.audit()
	t.Logf("%v, %d requests of sessions; the latest 2xx after an end came %v after it\n%s", length, s.requests, s.latest, s.table())
	for _, e := range s.excused {
		t.Log("lost as documented: ", e)
	}
	for _, w := range s.wrong {
		t.Error(w)
	}
	if len(s.wrong) > 0 {
		s.why()
	}
	for _, c := range []string{colLive, colEnded, colForged, colPublic, colIn, colOut, colRefreshes, colReloads} {
		n := 0
		for _, phase := range s.phases {
			n += s.counts[phase][c]
		}
		if n == 0 {
			t.Errorf("there was nothing of %q", c)
		}
	}
}

// use begins to use the fleet: pages at a steady rate, sign-ins and ends as
// often as keeps their number, and a new document now and then.
func (s *soaking) use() {
	tickets := make(chan struct{}, soakRate)
	s.workers.Go(func() {
		defer close(tickets)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for s.goesOn() {
			<-tick.C
			for range soakRate / 50 {
				select {
				case tickets <- struct{}{}:
				default: // the machine does not keep up
				}
			}
		}
	})
	for range 24 {
		s.workers.Go(func() {
			for range tickets {
				s.page()
			}
		})
	}
	every := func(d time.Duration, do func()) {
		s.workers.Go(func() {
			for s.goesOn() {
				do()
				time.Sleep(d)
			}
		})
	}
	for range 2 {
		every(1200*time.Millisecond, func() {
			s.mu.Lock()
			full := len(s.live) >= soakSessions+10
			s.mu.Unlock()
			if !full {
				s.signIn()
			}
		})
	}
	every(900*time.Millisecond, s.endOne)
	every(4*time.Second, s.reload)
}

func (s *soaking) goesOn() bool {
	select {
	case <-s.stop:
		return false
	default:
		return true
	}
}

// page asks for one page: of somebody who is signed in, or was, or never was.
func (s *soaking) page() {
	asked := time.Now()
	switch n := mathrand.IntN(100); { // #nosec G404 -- any will do
	case n < 3:
		s.refused("forged", s.forged())
	case n < 6:
		s.refused("none", "")
	case n < 10:
		if status, user, err := s.ask("/public/x", s.forged()); err != nil || status != http.StatusOK || user != "" {
			s.faultNow("public: %d %q %v", status, user, err)
		}
		s.count(colPublic)
	default:
		h := s.pick(n < 75)
		if h == nil {
			return
		}
		status, user, err := s.ask("/", h.cookie)
		s.judge(h, asked, status, user, err)
	}
}

func (s *soaking) refused(what, cookie string) {
	asked := time.Now()
	status, _, err := s.ask("/", cookie)
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := s.within(storeGone, asked, time.Now()) || s.within(issuerGone, asked, time.Now()) // nobody can sign in
	if err != nil || status != http.StatusUnauthorized && (status != http.StatusServiceUnavailable || !gone) {
		s.fault("%s cookie: %d %v", what, status, err)
	}
	s.counts[s.phase][colForged]++
}

// forged answers a cookie that nobody gave out: one of ours with another byte,
// or another signature.
func (s *soaking) forged() string {
	h := s.pick(true)
	if h == nil {
		return ""
	}
	name, value, _ := strings.Cut(h.cookie, "=")
	raw, err := base64.URLEncoding.DecodeString(value)
	if err != nil {
		return name + "=" + rand.Text()
	}
	raw[mathrand.IntN(len(raw))] ^= 1 << mathrand.IntN(8) // #nosec G404 -- any will do
	return name + "=" + base64.URLEncoding.EncodeToString(raw)
}

// signIn signs somebody new in, and some of them in two browsers.
func (s *soaking) signIn() {
	user := fmt.Sprint("user-", s.people.Add(1))
	began := time.Now()
	var some []*held
	for range 1 + mathrand.IntN(4)/3 { // #nosec G404 -- any will do
		h := &held{user: user, browser: s.browser()}
		if !s.signedIn(h, began) {
			break
		}
		some = append(some, h)
	}
	s.add(some...)
}

// signedIn signs in, and reports whether that was possible. Where nothing is out
// of order it has to be in the end: on a busy machine the issuer may be slower
// than akprox waits for it.
func (s *soaking) signedIn(h *held, began time.Time) bool {
	for ; ; time.Sleep(time.Second) {
		var err error
		if h.cookie, err = s.enter(h.browser, h.user); err == nil {
			return true
		}
		now := time.Now()
		s.mu.Lock()
		s.counts[s.phase][colInNot]++
		excused := s.within(storeGone, began, now) || s.within(issuerGone, began, now) || s.within(killed, began, now)
		late := now.Sub(began) > 30*time.Second
		if late && !excused {
			s.fault("sign in: %v", err)
		}
		s.mu.Unlock()
		if late || excused {
			return false
		}
	}
}

// endOne ends a session, or all of one person, in one of the four ways.
func (s *soaking) endOne() {
	h := s.pick(true)
	s.mu.Lock()
	few := len(s.live) < soakSessions/2
	s.mu.Unlock()
	if h == nil || few {
		return
	}
	way := mathrand.IntN(20) // #nosec G404 -- any will do
	all := way < 3 || way >= 16
	some := s.end(h, all)
	if len(some) == 0 {
		return
	}
	began := time.Now()
	var done bool
	var err error
	switch {
	case way < 3:
		done, err = s.command(h.user)
	case way < 7:
		done, err = s.atIssuer(h)
	default:
		var status int
		status, err = s.signOut(s.app, h.cookie, all)
		done = status == http.StatusFound || status == http.StatusSeeOther
		if err == nil && !done {
			err = fmt.Errorf("answered %d", status)
		}
	}
	s.acknowledged(some, done)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !done && !s.within(storeGone, began, now) && !s.within(issuerGone, began, now) && !s.within(killed, began, now) {
		s.fault("the sign-out of %s: %v", h.user, err)
	}
}

// command ends all sessions of a user from the command line.
func (s *soaking) command(user string) (bool, error) {
	cmd := exec.Command(parts.AkproxPath(s.t), "sessions", "end", "--config", s.files[0], "--subject", user) // #nosec G204
	out, err := cmd.CombinedOutput()
	if err != nil {
		return false, fmt.Errorf("%w: %s", err, out)
	}
	return true, nil
}

// atIssuer ends the session at the issuer, which tells akprox before it answers.
func (s *soaking) atIssuer(h *held) (bool, error) {
	told := func() int { return strings.Count(s.issuer.Output(), "backchannel.success akprox "+h.user+" ") }
	before := told()
	if _, err := s.issuer.SignOut(h.browser, s.issuer.URL+"/session/end"); err != nil {
		return false, err
	}
	for end := time.Now().Add(20 * time.Second); told() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false, fmt.Errorf("the issuer could not tell: %s", last(s.issuer.Output(), 300))
		}
	}
	return true, nil
}

func last(text string, n int) string { return text[max(0, len(text)-n):] }

// reload gives one of the instances another document.
func (s *soaking) reload() {
	s.variants++
	rule := fmt.Sprintf("\n      - { paths: [/variant/%d/**], allow: nobody }\n", s.variants)
	i := s.variants % len(s.akproxs)
	text := strings.NewReplacer(s.akproxs[0].Addr(), s.akproxs[i].Addr(), s.metrics[0], s.metrics[i]).Replace(s.text)
	putDocument(s.t, s.files[i], strings.TrimRight(text, "\n")+rule)
	s.count(colReloads)
}

// round lets each thing break once, u apart and more.
func (s *soaking) round(n int, u time.Duration) {
	s.begin("calm")
	time.Sleep(3 * u)

	s.begin("instance killed")
	i := n % len(s.akproxs)
	closed := s.open(killed)
	s.akproxs[i].Kill()
	time.Sleep(u)
	closed()
	time.Sleep(u)
	s.akproxs[i].Restart()
	s.awaitReady(s.t, i, true)

	s.begin("issuer stopped")
	closed = s.open(issuerGone)
	s.issuer.Stop()
	time.Sleep(3 * u)
	s.issuer.Restart()
	s.all(true)
	closed()

	s.begin("issuer back")
	time.Sleep(2 * u)

	s.begin("Redis primary killed")
	closed = s.open(storeGone)
	dead := s.redis.Primary(s.t)
	dead.Kill()
	eventuallyWithin(s.t, 60*time.Second, "no other primary", func() bool { return s.redis.Primary(s.t) != dead })
	s.awaitWrites()
	s.all(false)
	closed()
	time.Sleep(u)
	s.begin("old primary back")
	s.awaitSentinels(dead) // one that has not heard would send people to it, as the documentation says
	dead.Restart()
	time.Sleep(2 * u)

	s.begin("rolling restart")
	for i, a := range s.akproxs {
		a.Stop()
		a.Restart()
		s.awaitReady(s.t, i, true)
		time.Sleep(max(u/2, 1500*time.Millisecond)) // nginx leaves it out for a second
	}
	s.begin("calm")
	time.Sleep(4 * u)
}

func (s *soaking) all(issuer bool) {
	for i := range s.akproxs {
		s.awaitReady(s.t, i, issuer)
	}
}

// awaitWrites waits until the failover is over: for three seconds there has
// been one primary, which takes writes because it has a replica.
func (s *soaking) awaitWrites() {
	var last *parts.RedisServer
	good := 0
	eventuallyWithin(s.t, 2*time.Minute, "the failover has no end", func() bool {
		now := s.redis.Primary(s.t)
		_, err := now.Try(s.t, "SET", "probe", "1")
		state, _ := now.Try(s.t, "INFO", "replication")
		if good++; now != last || err != nil || !strings.Contains(state, "role:master") || !strings.Contains(state, "state=online") {
			good = 0
		}
		last = now
		time.Sleep(200 * time.Millisecond)
		return good >= 10
	})
}

// awaitSentinels waits until no sentinel holds the dead one for the primary.
func (s *soaking) awaitSentinels(dead *parts.RedisServer) {
	for _, w := range s.redis.Sentinels {
		eventuallyWithin(s.t, 2*time.Minute, "a sentinel has not heard of the failover", func() bool {
			out, err := w.Try(s.t, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.redis.Master)
			return err == nil && !strings.HasSuffix(out, port(&stage{port: dead.Port()}))
		})
	}
}

// why logs what the instances say of the store and the issuer.
func (s *soaking) why() {
	for i, a := range s.akproxs {
		for line := range strings.Lines(a.Output()) {
			if strings.Contains(line, `"unavailable: `) || strings.Contains(line, "issuer") {
				s.t.Logf("instance %d: %s", i, strings.TrimSpace(line))
			}
		}
	}
}

// audit asks every instance about every session.
func (s *soaking) audit() {
	s.begin("audit")
	for i := range s.akproxs {
		for _, h := range append(append([]*held(nil), s.live...), s.ended...) {
			asked := time.Now()
			status, user := s.at(i, h.cookie)
			n := 0
			_, _ = fmt.Sscan(status, &n)
			s.judge(h, asked, n, user, nil)
		}
	}
}
