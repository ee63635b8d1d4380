package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
)

// raw is a client that sees what Redis has.
func raw(t testing.TB, address string) rueidis.Client {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestATallyKeepsADigestThatExpiresByItself(t *testing.T) {
	address := parts.Redis(t).Addr()
	s, c := open(t, redis.Options{Addresses: []string{address}}), raw(t, address)
	names := func() []string {
		t.Helper()
		got, err := c.Do(t.Context(), c.B().Keys().Pattern("*").Build()).AsStrSlice()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	tally := func(what limit.Tally) limit.Tallied {
		t.Helper()
		what.Key = "app:address:192.0.2.7 alice"
		got, err := s.Tally(t.Context(), what)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	tally(limit.Tally{Most: 3, Window: time.Hour})
	tally(limit.Tally{Most: 3, Window: time.Hour, Add: -1})
	if n := names(); len(n) != 0 {
		t.Fatalf("looking and taking back of nothing keeps %q", n)
	}
	for n := range limit.Marks {
		tally(limit.Tally{Most: limit.Marks, Window: time.Hour, Add: 1})
		if n == 0 || n == limit.Marks-1 {
			name := names()
			if len(name) != 1 || strings.Contains(name[0], "alice") || strings.Contains(name[0], "192.0.2.7") {
				t.Fatalf("keys %q", name)
			}
			value, err := c.Do(t.Context(), c.B().Get().Key(name[0]).Build()).ToString()
			if err != nil || strings.Contains(value, "alice") || len(value) > 1000 {
				t.Errorf("%d bytes %q, %v", len(value), value, err)
			}
			left, err := c.Do(t.Context(), c.B().Pttl().Key(name[0]).Build()).AsInt64()
			if err != nil || left <= 0 || left > time.Hour.Milliseconds()+1 {
				t.Errorf("it lives for %d ms, %v", left, err)
			}
			bytes, err := c.Do(t.Context(), c.B().MemoryUsage().Key(name[0]).Build()).AsInt64()
			t.Logf("%d counted: %d bytes of Redis's memory, %v", n+1, bytes, err)
		}
	}
	tally(limit.Tally{Most: limit.Marks, Window: time.Hour, Add: -1000})
	if n := names(); len(n) != 0 {
		t.Errorf("nothing counts, and %q is kept", n)
	}
	tally(limit.Tally{Most: 1, Window: time.Hour, Ban: 50 * time.Millisecond, Add: 1})
	eventually(t, func() error {
		if n := names(); len(n) > 0 {
			return fmt.Errorf("the ban is over, and %q is kept", n)
		}
		return nil
	})
}

func TestWhatIsNoTallyCountsNobody(t *testing.T) {
	address := parts.Redis(t).Addr()
	s, c := open(t, redis.Options{Addresses: []string{address}}), raw(t, address)
	what := limit.Tally{Key: "alice", Most: 3, Window: time.Hour, Add: 1}
	if _, err := s.Tally(t.Context(), what); err != nil {
		t.Fatal(err)
	}
	name, err := c.Do(t.Context(), c.B().Randomkey().Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for _, garbage := range []string{"x", "[1,2,3,4]", "\x93\x01\x02\x03", "\x94\xa1a\xa1b\xa1c\xa1d", "\x82\x01\x02\x03\x04", "\xc1", "\x94\x01", "\xc0", strings.Repeat("\x93", 100)} {
		if err := c.Do(t.Context(), c.B().Set().Key(name).Value(garbage).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		for _, add := range []int{1, 0, -1} {
			what.Add = add
			if got, err := s.Tally(t.Context(), what); !errors.Is(err, store.ErrUnavailable) || got.Counted != 0 {
				t.Errorf("%q, %d: %+v, %v", garbage, add, got, err)
			}
		}
	}
	if err := c.Do(t.Context(), c.B().Del().Key(name).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), c.B().Lpush().Key(name).Element("x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Tally(t.Context(), what); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a list: %+v, %v", got, err)
	}
}
