package session_test

import (
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store/memory"
)

// A clock that is set back while the store is away gives no session more time:
// none without a grace, and not the length of the step with one.
func TestAClockThatGoesBackWhileTheStoreIsAway(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Minute} {
		c := &clock{now: time.Now()}
		st := memory.New(memory.Options{Now: c.Now})
		t.Cleanup(func() { _ = st.Close() })
		f := newFleet(t, c, grace, st)
		cookie := f.signIn("alice")
		f.want(0, cookie, "old")
		f.stores[0].down.Store(true)
		f.stores[0].lost()
		c.move(-30 * time.Minute)
		f.want(0, cookie, "unavailable")
		f.stores[0].down.Store(false)
		f.want(0, cookie, "old")
	}
}

// The secret that signed a cookie is taken out of the document while the
// session behind it is being refreshed: what the refresh brings back into
// memory is no way around the secret.
func TestACookieOfARemovedSecretThatIsBeingRefreshed(t *testing.T) {
	overFleets(t, func(t *testing.T, f *fleet) {
		alice := f.signIn("alice")
		hold := make(chan struct{})
		f.issuer.set(func() { f.issuer.hold, f.issuer.begun = hold, make(chan struct{}, 10) })
		f.clock.move(2 * time.Minute)
		f.want(0, alice, "old")
		<-f.issuer.begun
		for _, s := range f.each {
			s.Rekey([][]byte{key('n')})
		}
		f.want(0, alice, "nobody")
		close(hold)
		eventually(t, "it is refreshed", func() bool { return f.results(session.Renewed) == 1 })
		for range 20 {
			for n := range f.each {
				f.want(n, alice, "nobody")
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}
