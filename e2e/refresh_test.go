package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// meter stands on the way from akprox to the issuer, and notes which refresh
// tokens it saw, how often.
type meter struct {
	*httptest.Server
	mu   sync.Mutex
	used map[string]int
	last string
	hold chan struct{} // refreshes wait until it is closed, if not nil
}

func newMeter(t *testing.T, to string) *meter {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{used: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(&url.URL{Scheme: target.Scheme, Host: target.Host}) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if nobody listened
	}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return
		}
		if form, _ := url.ParseQuery(string(body)); form.Get("grant_type") == "refresh_token" {
			m.note(form.Get("refresh_token"))
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *meter) note(token string) {
	m.mu.Lock()
	m.used[token]++
	m.last = token
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

// refreshes answers how many there were, and fails the test where a token came
// twice.
func (m *meter) refreshes(t *testing.T) int {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, times := range m.used {
		if n += times; times > 1 {
			t.Errorf("one refresh token was used %d times", times)
		}
	}
	return n
}

func (m *meter) holdBack(hold chan struct{}) { m.mu.Lock(); m.hold = hold; m.mu.Unlock() }

// refreshing is an issuer, and two akprox over one Redis.
type refreshing struct {
	*stage
	meter   *meter
	akproxs [2]*parts.Process
	plain   *http.Client
}

const refreshBound = 20 * time.Second

func newRefreshing(t *testing.T, issuer, prompt string) *refreshing {
	t.Helper()
	parts.Need(t)
	ports := [2]int{parts.Port(t), parts.Port(t)}
	r := &refreshing{stage: &stage{port: ports[0]}, plain: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 64}}}
	r.app = r.origin(appHost)
	r.issuer = issuers[issuer](t, parts.IssuerConfig{RedirectURIs: []string{r.app + "/akprox/callback"}})
	r.meter = newMeter(t, r.issuer.URL)
	redis := parts.RedisWith(t, parts.RedisOptions{})
	program := parts.Upstream(t).URL
	for i, port := range ports {
		r.akproxs[i] = parts.Akprox(t, fmt.Sprintf(`version: 1
server: { http: "127.0.0.1:%d", https: "", metrics: "" }
secret: { value: the-secret-of-both-instances-0123456789 }
store: { kind: redis, url: "redis://%s", timeout: 10s }
log: { decisions: refused, level: debug }
providers:
  - name: company
    kind: oidc
    issuer: %q
    backchannel_url: %q
    client_id: %s
    client_secret: { value: %s }
    scopes: [openid, profile, email, groups, offline_access]%s
applications:
  - name: app
    mode: proxy
    external_url: %q
    upstream: %q
    credentials: [company]
    session: { refresh: %s }
`, port, redis.Addr(), r.issuer.URL, r.meter.URL, r.issuer.ClientID, r.issuer.ClientSecret, prompt, r.app, program, refreshBound), port, "")
	}
	r.awaitSignIn(t)
	return r
}

// signedIn answers the cookies of somebody new.
func (r *refreshing) signedIn(t *testing.T, user string) string {
	t.Helper()
	p := r.person(t)
	p.arrive(r.app+"/", user)
	var pairs []string
	for _, c := range p.cookies(r.app) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

// ask asks one of the two with a cookie, and answers the status and the groups
// that the program was told.
func (r *refreshing) ask(n int, cookie string) (int, string, error) {
	req, err := http.NewRequest(http.MethodGet, "http://"+r.akproxs[n].Addr()+"/", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Host = strings.TrimPrefix(r.app, "http://")
	req.Header = with(program, "Cookie", cookie)
	resp, err := r.plain.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var e parts.Echoed
	if resp.StatusCode == http.StatusOK {
		err = json.NewDecoder(resp.Body).Decode(&e)
	}
	return resp.StatusCode, e.Header.Get("X-Auth-Groups"), err
}

func (r *refreshing) want(t *testing.T, cookie string, status int) {
	t.Helper()
	for n := range r.akproxs {
		if got, _, err := r.ask(n, cookie); err != nil || got != status {
			t.Errorf("instance %d: got %d %v, want %d", n, got, err, status)
		}
	}
}

// TestRefresh lets sessions live on at real issuers that replace each refresh
// token, and end a grant whose token comes twice.
func TestRefresh(t *testing.T) {
	t.Parallel()
	for name, prompt := range map[string]string{"oidc-provider": "\n    prompt: consent", "dex": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRefreshing(t, name, prompt)
			var cookies []string
			if name == "dex" { // it has one refresh token for each person and client
				cookies = []string{r.signedIn(t, "alice"), r.signedIn(t, "bob")}
			}
			for len(cookies) < 100 && name != "dex" {
				cookies = append(cookies, r.signedIn(t, "alice"))
			}
			r.allAtOnce(t, cookies)
			alice := cookies[0]
			r.slowIssuer(t, alice)
			if name == "dex" { // it forgets everything when it starts again: that is a no
				r.issuer.Restart()
				eventuallyWithin(t, 2*time.Minute, "the session outlives its grant", func() bool {
					status, _, err := r.ask(0, alice)
					return err == nil && status == http.StatusUnauthorized
				})
				eventually(t, "the other instance has it still", func() bool {
					status, _, err := r.ask(1, alice)
					return err == nil && status == http.StatusUnauthorized
				})
				return
			}
			r.silentIssuer(t, alice)
			r.revoked(t, alice)
		})
	}
}

// allAtOnce: a hundred sessions are due, and each is asked with ten times at
// once, over both instances: no 401, one refresh each.
func (r *refreshing) allAtOnce(t *testing.T, cookies []string) {
	t.Helper()
	time.Sleep(refreshBound + time.Second)
	before := r.meter.refreshes(t)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range 10 * len(cookies) {
		wg.Go(func() {
			if status, _, err := r.ask(i/len(cookies)%2, cookies[i%len(cookies)]); err != nil || status != http.StatusOK {
				t.Errorf("request %d: %d %v", i, status, err)
			}
		})
	}
	wg.Wait()
	eventually(t, "not all were refreshed", func() bool { return r.meter.refreshes(t)-before >= len(cookies) })
	took := time.Since(began)
	n := r.meter.refreshes(t) - before
	t.Logf("%d requests of %d sessions, %d refreshes, %v", 10*len(cookies), len(cookies), n, took)
	if n != len(cookies) && took < refreshBound {
		t.Errorf("%d refreshes of %d sessions", n, len(cookies))
	}
}

// slowIssuer: while it takes its time, the session serves on.
func (r *refreshing) slowIssuer(t *testing.T, cookie string) {
	t.Helper()
	hold := make(chan struct{})
	r.meter.holdBack(hold)
	before := r.meter.refreshes(t)
	eventuallyWithin(t, 3*refreshBound, "it is not refreshed", func() bool {
		r.want(t, cookie, http.StatusOK)
		return r.meter.refreshes(t) > before
	})
	for range 20 {
		r.want(t, cookie, http.StatusOK)
	}
	r.meter.holdBack(nil)
	close(hold)
}

// silentIssuer: without it the session lives on, and when it is back, with
// other groups, they reach every instance.
func (r *refreshing) silentIssuer(t *testing.T, cookie string) {
	t.Helper()
	r.issuer.Stop()
	for end := time.Now().Add(refreshBound + 5*time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		r.want(t, cookie, http.StatusOK)
	}
	r.issuer.Regroup("alice", "dev", "new")
	for n := range r.akproxs {
		// Its word counts for the bound, and a failed try is repeated within a minute.
		eventuallyWithin(t, refreshBound+90*time.Second, "the groups do not arrive", func() bool {
			status, groups, err := r.ask(n, cookie)
			if err != nil || status != http.StatusOK {
				t.Errorf("got %d %v", status, err)
			}
			return strings.Contains(groups, "new") && !strings.Contains(groups, "ops")
		})
	}
}

// revoked: the issuer has ended the grant, here because a token of it came a
// second time. The session ends, on both.
func (r *refreshing) revoked(t *testing.T, cookie string) {
	t.Helper()
	r.meter.mu.Lock()
	token := r.meter.last
	r.meter.mu.Unlock()
	req, err := http.NewRequest(http.MethodPost, r.issuer.URL+"/token", strings.NewReader(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(r.issuer.ClientID, r.issuer.ClientSecret)
	resp, err := r.plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Fatalf("the issuer takes a token twice: %s", resp.Status)
	}
	for n := range r.akproxs {
		eventuallyWithin(t, 3*refreshBound, "the session outlives its grant", func() bool {
			status, _, err := r.ask(n, cookie)
			return err == nil && status == http.StatusUnauthorized
		})
	}
	if out := r.akproxs[0].Output() + r.akproxs[1].Output(); !strings.Contains(out, "session ended by the issuer") {
		t.Error("the log does not tell why it ended")
	} else if strings.Contains(out, token) {
		t.Error("the log holds a refresh token")
	}
}

// eventuallyWithin is eventually with a time of its own.
func eventuallyWithin(t *testing.T, within time.Duration, otherwise string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(otherwise)
		}
	}
}
