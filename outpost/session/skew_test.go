package session_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/session"
)

// TestClocksThatDiffer: two processes over one Redis, the second of which is
// some minutes ahead or behind. Nobody is lost, no refresh token is used twice,
// and limits differ by no more than the clocks do.
func TestClocksThatDiffer(t *testing.T) {
	server := parts.RedisWith(t, parts.RedisOptions{})
	for _, skew := range []time.Duration{2 * time.Minute, -2 * time.Minute} {
		t.Run(skew.String(), func(t *testing.T) {
			c := &clock{now: time.Now()}
			f := newFleet(t, c, 0)
			f.app.Session.Refresh = 10 * time.Minute
			for _, ahead := range []time.Duration{0, skew} {
				s := session.New(overRedis(t, server), [][]byte{key('k')}, session.Options{
					Now: func() time.Time { return c.Now().Add(ahead) },
					Observe: func(r session.Renewal) {
						f.mu.Lock()
						defer f.mu.Unlock()
						f.told = append(f.told, r)
					},
				})
				f.each, f.kinds = append(f.each, s), append(f.kinds, s.Credential("company", f.issuer, f.app.Cookie, f.app.Session))
				t.Cleanup(func() { _ = s.Close(context.Background()) })
			}
			cookie := f.signIn(fmt.Sprint("alice", skew))
			f.want(0, cookie, "old")
			f.want(1, cookie, "old")
			const rounds = 12
			for round := range rounds {
				f.issuer.set(func() { f.issuer.groups = []string{fmt.Sprint("g", round)} })
				c.move(10*time.Minute + 2*skew.Abs()) // due by any of the two clocks
				var wg sync.WaitGroup
				for n := range 20 {
					wg.Go(func() {
						if got := f.groups(t.Context(), n%2, cookie); got == "nobody" {
							t.Errorf("round %d: lost on process %d", round, n%2)
						}
					})
				}
				wg.Wait()
				f.becomes(cookie, fmt.Sprint("g", round))
			}
			if f.results(session.Refused)+f.results(session.Lost) > 0 {
				t.Error("a refresh token was used twice, or lost")
			}
			if n := f.issuer.calls.Load(); n > 2*rounds {
				t.Errorf("%d refreshes in %d rounds", n, rounds)
			}
			// The idle limit is that of some clock or other.
			c.move(50*time.Minute - skew.Abs())
			f.want(0, cookie, fmt.Sprint("g", rounds-1))
			f.want(1, cookie, fmt.Sprint("g", rounds-1))
			c.move(time.Hour + 2*skew.Abs() + time.Second)
			f.want(0, cookie, "nobody")
			f.want(1, cookie, "nobody")
		})
	}
}
