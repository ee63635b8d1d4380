package e2e_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// The hosts of the applications of two instances that share their counts.
const (
	sharedLimitHost  = "limited.example.test" // 40 requests in an hour, by tokens of Hydra
	sharedTokenHost  = "tokens.example.test"  // the same tokens, any number
	sharedPeopleHost = "people.example.test"  // passwords; five wrong ones ban for an hour
)

// pair is two instances of one document behind one nginx, over one Redis.
type pair struct {
	addresses [2]string
	akprox    [2]*parts.Process
	redis     *parts.Process
	hydra     *parts.OryHydra
	asked     *relay // on the way to Hydra's introspection
	edge      int
}

func newPair(t *testing.T) *pair {
	t.Helper()
	parts.Need(t)
	p := &pair{redis: parts.Redis(t), edge: parts.Port(t)}
	var clients []parts.OAuthClient
	for _, name := range []string{"alice", "bob", "carol"} {
		clients = append(clients, parts.OAuthClient{ID: name, Secret: clientsSecret, GrantTypes: []string{"client_credentials"}})
	}
	p.hydra = parts.Hydra(t, clients, "openid")
	p.asked = newRelay(t, strings.TrimSuffix(p.hydra.Admin, "/admin"))
	var documents [2]string
	for i := range p.akprox {
		port := parts.Port(t)
		p.addresses[i] = fmt.Sprintf("127.0.0.1:%d", port)
		documents[i] = strings.NewReplacer("ADDRESS", p.addresses[i], "REDIS", p.redis.Addr(), "ASKED", p.asked.URL, "EDGE", fmt.Sprint(p.edge)).
			Replace(gatewayFile(t, "shared.yaml"))
		p.akprox[i] = parts.Akprox(t, documents[i], port, "")
		t.Cleanup(func() { faultless(t, p.akprox[i]) })
	}
	program := strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	s := &stage{front: nginx, port: p.edge, program: program}
	printed := snippets(t, nginx.snippet, documents[0], []string{"limited", "tokens", "people"})
	for i := range printed {
		printed[i] = strings.ReplaceAll(printed[i], "server "+p.addresses[0]+";", "server "+p.addresses[0]+"; server "+p.addresses[1]+";")
	}
	startNginx(t, s, printed)
	return p
}

func (p *pair) token(t *testing.T, client string) string {
	t.Helper()
	return token(t, p.hydra.URL+"/oauth2/token", client)
}

// at asks a host through nginx, which asks the instances in turn.
func (p *pair) at(t *testing.T, host string, h http.Header) reply {
	t.Helper()
	c := &person{client(t), t, nil}
	return c.send(http.MethodGet, fmt.Sprintf("http://%s:%d/x", host, p.edge), h, nil)
}

// many sends requests at once, and answers how many were answered by which
// status.
func (p *pair) many(t *testing.T, n int, host string, h http.Header) map[int]int {
	t.Helper()
	c := &person{client(t), t, nil}
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[int]int{}
	for range n {
		all.Go(func() {
			r := c.send(http.MethodGet, fmt.Sprintf("http://%s:%d/x", host, p.edge), h, nil)
			mu.Lock()
			defer mu.Unlock()
			got[r.status]++
		})
	}
	all.Wait()
	return got
}

func basicAuth(user, password string) http.Header {
	return with(program, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// TestTwoInstancesCountTogether: what is counted on one instance counts on the
// other, an issuer is asked once for both, and what needs the counts is
// unavailable without the store, until it is back.
func TestTwoInstancesCountTogether(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	// One test after the other: nginx asks the instances in turn, so that each
	// has its part of every row.
	t.Run("introspection", func(t *testing.T) { sharedAnswers(t, p) })
	t.Run("rate limit", func(t *testing.T) { sharedRate(t, p) })
	t.Run("throttle", func(t *testing.T) { sharedThrottle(t, p) })
	t.Run("without the store", func(t *testing.T) { sharedOutage(t, p) })
}

func sharedAnswers(t *testing.T, p *pair) {
	var good, bad []int64
	for range 5 {
		alice := bearer(p.token(t, "alice"))
		calls := p.asked.calledFor(func() {
			if got := p.many(t, 50, sharedTokenHost, alice); got[http.StatusOK] != 50 {
				t.Errorf("answers %v", got)
			}
		})
		good = append(good, calls)
		calls = p.asked.calledFor(func() {
			if got := p.many(t, 50, sharedTokenHost, bearer("no-such-token-"+fmt.Sprint(p.asked.calls.Load()))); got[http.StatusUnauthorized] != 50 {
				t.Errorf("answers %v", got)
			}
		})
		bad = append(bad, calls)
	}
	// An instance does not wait for the other for ever: on a busy machine it
	// may ask for itself now and then, never more.
	all, once := slices.Concat(good, bad), 0
	for _, calls := range all {
		if calls == 1 {
			once++
		}
	}
	if once < 8 || slices.Min(all) < 1 || slices.Max(all) > 2 {
		t.Errorf("questions of two instances about one token: %v, about one bad token: %v", good, bad)
	}
	for i, a := range p.akprox {
		if !strings.Contains(a.Output(), `"outcome":"allow"`) {
			t.Errorf("instance %d was not asked", i)
		}
	}
}

func sharedRate(t *testing.T, p *pair) {
	for _, who := range []string{"alice", "bob"} {
		got := p.many(t, 150, sharedLimitHost, bearer(p.token(t, who)))
		if got[http.StatusOK] != 40 || got[http.StatusTooManyRequests] != 110 {
			t.Errorf("%s: %v, not 40 of 150", who, got)
		}
		// Another token of the same identity, at each of the instances.
		again := bearer(p.token(t, who))
		for _, address := range p.addresses {
			r := asTraefik(t, client(t), address, fmt.Sprintf("http://%s:%d/x", sharedLimitHost, p.edge), again)
			if r.status != http.StatusTooManyRequests || r.header.Get("Retry-After") == "" || !strings.HasPrefix(r.header.Get("RateLimit"), `"default";r=0;t=`) {
				t.Errorf("%s at %s: %d, %v", who, address, r.status, r.header)
			}
		}
	}
}

func sharedThrottle(t *testing.T, p *pair) {
	origin := fmt.Sprintf("http://%s:%d/x", sharedPeopleHost, p.edge)
	ask := func(i, want int, user, password, from string) {
		t.Helper()
		r := asTraefik(t, client(t), p.addresses[i], origin, with(basicAuth(user, password), "X-Forwarded-For", from))
		if r.status != want {
			t.Errorf("%s with %q from %s at instance %d: %d, not %d", user, password, from, i, r.status, want)
		}
	}
	for i := range 5 {
		ask(i%2, http.StatusUnauthorized, "john", "wrong"+fmt.Sprint(i), fmt.Sprintf("198.51.100.%d", i))
	}
	for i := range p.addresses {
		ask(i, http.StatusTooManyRequests, "john", "right", "198.51.100.77") // the user is banned
		ask(i, http.StatusOK, "jane", "right", "198.51.100.77")
	}
	for i := range 5 {
		ask(i%2, http.StatusUnauthorized, fmt.Sprint("nobody", i), "wrong", "203.0.113.5")
	}
	for i := range p.addresses {
		ask(i, http.StatusTooManyRequests, "jane", "right", "203.0.113.5") // the address is
	}
	p.akprox[0].Restart()
	ask(0, http.StatusTooManyRequests, "john", "right", "198.51.100.78")
	ask(0, http.StatusTooManyRequests, "jane", "right", "203.0.113.5")
	ask(0, http.StatusOK, "jane", "right", "198.51.100.78")
	if r := p.at(t, sharedPeopleHost, basicAuth("john", "right")); r.status != http.StatusTooManyRequests {
		t.Errorf("john behind nginx: %d", r.status)
	}
}

func sharedOutage(t *testing.T, p *pair) {
	known, carol := bearer(p.token(t, "carol")), bearer(p.token(t, "carol"))
	if got := p.many(t, 4, sharedTokenHost, known); got[http.StatusOK] != 4 {
		t.Fatalf("answers %v", got)
	}
	p.redis.Kill()
	for range 6 {
		for _, c := range []struct {
			host string
			h    http.Header
			want int
		}{
			{sharedLimitHost, known, http.StatusServiceUnavailable},
			{sharedPeopleHost, basicAuth("jane", "right"), http.StatusServiceUnavailable},
			{sharedPeopleHost, basicAuth("jane", "wrong"), http.StatusServiceUnavailable},
			{sharedTokenHost, known, http.StatusOK},
			{sharedTokenHost, carol, http.StatusOK}, // each asks the issuer for itself
			{sharedTokenHost, bearer("no-such-token"), http.StatusUnauthorized},
		} {
			if r := p.at(t, c.host, c.h); r.status != c.want {
				t.Errorf("%s without Redis: %d, not %d", c.host, r.status, c.want)
			}
		}
	}
	p.redis.Restart()
	for _, address := range p.addresses {
		eventually(t, "the limit is not counted again at "+address, func() bool {
			return asTraefik(t, client(t), address, fmt.Sprintf("http://%s:%d/x", sharedLimitHost, p.edge), carol).status == http.StatusOK
		})
		eventually(t, "passwords are not looked at again at "+address, func() bool {
			h := with(basicAuth("jane", "right"), "X-Forwarded-For", "198.51.100.79")
			return asTraefik(t, client(t), address, fmt.Sprintf("http://%s:%d/x", sharedPeopleHost, p.edge), h).status == http.StatusOK
		})
	}
}
