package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// TestHundredDueAtThree: a hundred sessions are due at once, and each is asked
// with ten times, at three instances behind nginx: no 401, one refresh each.
func TestHundredDueAtThree(t *testing.T) {
	t.Parallel()
	const bound = 20 * time.Second
	redis := parts.RedisWith(t, parts.RedisOptions{})
	var m *meter
	f := newFleet(t, fleetWants{
		store:   fmt.Sprintf("url: %q, timeout: 10s", "redis://"+redis.Addr()),
		session: fmt.Sprintf("idle: 8h, absolute: 24h, refresh: %v", bound),
		asked:   func(issuer string) string { m = newMeter(t, issuer); return m.URL },
	})
	cookies := make([]string, 100)
	inParallel(4, len(cookies), func(i int) {
		var err error
		if cookies[i], err = f.enter(f.browser(), fmt.Sprint("user-", i)); err != nil {
			t.Error(err)
		}
	})
	if t.Failed() {
		return
	}
	time.Sleep(bound + time.Second)
	before, began := m.refreshes(t), time.Now()
	inParallel(100, 10*len(cookies), func(i int) {
		if status, user, err := f.ask("/", cookies[i%len(cookies)]); err != nil || status != http.StatusOK || user != fmt.Sprint("user-", i%len(cookies)) {
			t.Errorf("request %d: %d %q %v", i, status, user, err)
		}
	})
	eventually(t, "not all were refreshed", func() bool { return m.refreshes(t)-before >= len(cookies) })
	n, took := m.refreshes(t)-before, time.Since(began)
	t.Logf("%d requests of %d sessions: %d refreshes in %v", 10*len(cookies), len(cookies), n, took)
	if n != len(cookies) && took < bound {
		t.Errorf("%d refreshes of %d sessions", n, len(cookies))
	}
	for i, a := range f.akproxs {
		if strings.Contains(a.Output(), "session ended by the issuer") {
			t.Errorf("instance %d has lost a session", i)
		}
	}
}

// TestFleetOverCluster: a primary of a Cluster dies, and no session does.
func TestFleetOverCluster(t *testing.T) {
	t.Parallel()
	nodes := parts.RedisCluster(t, parts.RedisOptions{}, 1)
	f := newFleet(t, fleetWants{
		store:   fmt.Sprintf("addresses: [%q, %q, %q], timeout: 3s", nodes[0].Addr(), nodes[1].Addr(), nodes[2].Addr()),
		session: "idle: 8h, absolute: 24h, refresh: 4h",
	})
	var cookies []string
	for i := range 9 {
		cookies = append(cookies, f.entered(t, fmt.Sprint("user-", i)))
		f.always(t, "before", cookies[i], "200")
	}
	time.Sleep(2 * time.Second) // a replica has them
	nodes[0].Kill()
	for _, cookie := range cookies {
		f.always(t, "a primary less", cookie, "200", "503")
	}
	eventuallyWithin(t, time.Minute, "nobody can sign in", func() bool {
		_, err := f.enter(f.browser(), "late")
		return err == nil
	})
	for _, cookie := range cookies {
		f.always(t, "the replica in its place", cookie, "200", "503")
	}
	for _, cookie := range cookies[:5] {
		if status, err := f.signOut(f.app, cookie, false); err != nil || status/100 != 3 {
			t.Errorf("sign-out: %d %v", status, err)
		}
		f.always(t, "ended", cookie, "401", "200")
	}
	for _, cookie := range cookies[5:] {
		f.always(t, "not ended", cookie, "200")
	}
}
