package password_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store/redis/redistest"
	"github.com/akprox/akprox/providers/password"
)

func from(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}) }

func TestFailuresAtTwoInstancesThrottleAtBoth(t *testing.T) {
	address := parts.Redis(t).Addr()
	fresh := func() *password.Users { return open(t, password.Options{Shared: redistest.Open(t, address)}) }
	both := [2]*password.Users{fresh(), fresh()}
	var throttled *password.ThrottledError
	for i := range 5 {
		if _, err := both[i%2].Check(t.Context(), "john", "wrong", from(i)); !errors.Is(err, password.ErrRefused) {
			t.Fatalf("failure %d: %v", i, err)
		}
		if _, err := both[i%2].Check(t.Context(), fmt.Sprint("nobody", i), "wrong", from(999)); !errors.Is(err, password.ErrRefused) {
			t.Fatalf("failure %d from one address: %v", i, err)
		}
	}
	for name, u := range map[string]*password.Users{"one": both[0], "other": both[1], "one that begins": fresh()} {
		if _, err := u.Check(t.Context(), "JOHN@example.com", "password1", from(77)); !errors.As(err, &throttled) || throttled.RetryAfter <= 0 || throttled.RetryAfter > 5*time.Minute {
			t.Errorf("%s: the user: %v", name, err)
		}
		if _, err := u.Check(t.Context(), "mary", "password2", from(999)); !errors.As(err, &throttled) {
			t.Errorf("%s: the address: %v", name, err)
		}
		for range 3 { // the first is checked, the others are remembered
			if _, err := u.Check(t.Context(), "mary", "password2", from(77)); err != nil {
				t.Errorf("%s: somebody else: %v", name, err)
			}
		}
	}
}

func TestASuccessElsewhereForgives(t *testing.T) {
	address := parts.Redis(t).Addr()
	one := open(t, password.Options{Shared: redistest.Open(t, address)})
	for round := range 2 {
		for range 2 {
			if _, err := one.Check(t.Context(), "john", "wrong", from(1)); !errors.Is(err, password.ErrRefused) {
				t.Fatalf("round %d: %v", round, err)
			}
			if _, err := one.Check(t.Context(), "john", "wrong", from(2)); !errors.Is(err, password.ErrRefused) {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		other := open(t, password.Options{Shared: redistest.Open(t, address)}) // which has to check the password
		if _, err := other.Check(t.Context(), "john", "password1", from(3)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
}

func TestWithoutTheStoreNobodyIsTold(t *testing.T) {
	r := parts.Redis(t)
	u := open(t, password.Options{Shared: redistest.Open(t, r.Addr())})
	if _, err := u.Check(t.Context(), "john", "password1", here); err != nil {
		t.Fatal(err)
	}
	r.Stop()
	for _, pass := range []string{"password1", "wrong"} {
		if _, err := u.Check(t.Context(), "john", pass, here); !errors.Is(err, outpost.ErrUnavailable) || errors.Is(err, password.ErrRefused) {
			t.Errorf("%s: %v", pass, err)
		}
	}
	r.Restart()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := u.Check(t.Context(), "john", "password1", here); err == nil {
			return
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A Redis that is full answers what it is asked, and counts nothing.
func TestAStoreThatCannotCountIsNoWayToGuess(t *testing.T) {
	r := parts.Redis(t)
	st := redistest.Open(t, r.Addr())
	u := open(t, password.Options{Shared: st})
	full(t, r.Addr())
	unavailable := 0
	for i := range 20 {
		_, err := u.Check(t.Context(), "john", fmt.Sprint("wrong", i), from(i))
		switch {
		case errors.Is(err, outpost.ErrUnavailable):
			unavailable++
		case errors.As(err, new(*password.ThrottledError)):
		default:
			t.Fatalf("guess %d was told: %v", i, err)
		}
	}
	if unavailable != 5 {
		t.Errorf("%d guesses before the first was throttled", unavailable)
	}
	if _, err := u.Check(t.Context(), "john", "password1", from(77)); !errors.As(err, new(*password.ThrottledError)) {
		t.Errorf("after them the right one: %v", err)
	}
}

func TestOfManyGuessesAtTwoInstancesOnlyTheTriesAreAnswered(t *testing.T) {
	address := parts.Redis(t).Addr()
	both := [2]*password.Users{open(t, password.Options{Shared: redistest.Open(t, address)}), open(t, password.Options{Shared: redistest.Open(t, address)})}
	var told atomic.Int64
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			if _, err := both[i%2].Check(t.Context(), "john", fmt.Sprint("wrong", i), from(i)); errors.Is(err, password.ErrRefused) {
				told.Add(1)
			}
		})
	}
	all.Wait()
	if n := told.Load(); n != 5 {
		t.Errorf("%d were told", n)
	}
}

// full makes Redis refuse to write, as one does whose memory is used up.
func full(t testing.TB, address string) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Do(t.Context(), c.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", "1").Build()).Error(); err != nil {
		t.Fatal(err)
	}
}
