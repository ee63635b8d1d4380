package knock_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/providers/knock"
	"github.com/akprox/akprox/providers/knock/ranges"
)

const (
	adminKey = "admin-key-0123456789"
	phoneKey = "phone-key-0123456789"
)

// clock is a time that a test moves.
type clock struct{ seconds atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.seconds.Store(1_900_000_000)
	return c
}

func (c *clock) now() time.Time { return time.Unix(c.seconds.Load(), 0) }

func options(st store.Store, c *clock) knock.Options {
	return knock.Options{
		Name: "door",
		Keys: []knock.Key{
			{Name: "admin", Key: adminKey, TTL: 3600, AllowRemote: true},
			{Name: "phone", Key: phoneKey, TTL: 600},
		},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		Store:          st, Now: c.now,
	}
}

func openDisk(t testing.TB, dir string, c *clock) *disk.Store {
	t.Helper()
	st, err := disk.Open(dir, disk.Options{Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func openMemory(t testing.TB, c *clock) *memory.Store {
	st := memory.New(memory.Options{Now: c.now})
	t.Cleanup(func() { _ = st.Close() })
	return st
}

func open(t testing.TB, o knock.Options) *knock.Door {
	t.Helper()
	d, err := knock.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func admits(t testing.TB, d *knock.Door, text string, want bool) {
	t.Helper()
	ok, err := d.Admits(t.Context(), netip.MustParseAddr(text))
	if ok != want || err != nil {
		t.Errorf("%s: admitted %v, %v, want %v", text, ok, err, want)
	}
}

// ask knocks; a remote address and a time of 0 are not asked for.
func ask(t testing.TB, d *knock.Door, client, key, remote string, ttl int64) (knock.Lease, error) {
	t.Helper()
	var r knock.Request
	if remote != "" {
		r.Address = &remote
	}
	if ttl != 0 {
		r.TTL = &ttl
	}
	a, _ := netip.ParseAddr(client)
	return d.Knock(t.Context(), a, key, r)
}

func good(t testing.TB, d *knock.Door, client, key, remote string, ttl, seconds int64) knock.Lease {
	t.Helper()
	l, err := ask(t, d, client, key, remote, ttl)
	if err != nil || l.Seconds != seconds {
		t.Errorf("a knock of %s for %q: %+v, %v, want %d seconds", client, remote, l, err, seconds)
	}
	return l
}

func TestOptionsAreCheckedAtOnce(t *testing.T) {
	c := newClock()
	for _, row := range []struct {
		name   string
		change func(*knock.Options)
		want   string // "" is good
	}{
		{"the least", func(*knock.Options) {}, ""},
		{"no keys", func(o *knock.Options) { o.Keys = nil }, "keys: there is none"},
		{"a key without a name", func(o *knock.Options) { o.Keys[1].Name = "" }, "keys[1]: it has no name"},
		{"two of one name", func(o *knock.Options) { o.Keys[1].Name = "admin" }, "keys[1].name: "},
		{"an empty key", func(o *knock.Options) { o.Keys[0].Key = "" }, "keys[0]: it is empty"},
		{"two of one key", func(o *knock.Options) { o.Keys[1].Key = adminKey }, "keys[1].key: "},
		{"a key beyond ASCII", func(o *knock.Options) { o.Keys[0].Key = "schlüssel" }, "beyond ASCII"},
		{"a key with a space", func(o *knock.Options) { o.Keys[0].Key = "a key" }, "a space"},
		{"a placeholder", func(o *knock.Options) { o.Keys[0].Key = "change_me_SECRET" }, "placeholder"},
		{"another placeholder", func(o *knock.Options) { o.Keys[0].Key = "x-REPLACE_WITH-y" }, "placeholder"},
		{"no time", func(o *knock.Options) { o.Keys[0].TTL = 0 }, "ttl: "},
		{"a time before the beginning", func(o *knock.Options) { o.Keys[0].TTL = -1 }, "ttl: "},
		{"a wide lease", func(o *knock.Options) {
			o.Granted = []knock.Granted{{Range: netip.MustParsePrefix("10.0.0.0/8"), Expires: c.now()}}
		}, "leases[0]: 10.0.0.0/8: wider"},
		{"a lease of a proxy", func(o *knock.Options) {
			o.Granted = []knock.Granted{{Range: netip.MustParsePrefix("127.0.0.0/16"), Expires: c.now()}}
		}, "leases[0]: 127.0.0.0/16: holds a trusted proxy"},
		{"a store that cannot list", func(o *knock.Options) { o.Store = struct{ store.Store }{o.Store} }, "cannot list"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := options(openMemory(t, c), c)
			row.change(&o)
			_, err := knock.New(o)
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want %q", err, row.want)
			case err != nil && (strings.Contains(err.Error(), adminKey) || strings.Contains(err.Error(), "SECRET")):
				t.Errorf("a key is repeated: %v", err)
			}
		})
	}
}

// TestIdentify has the rows of a credential kind: not mine, mine, unavailable.
// A bad address there is not: an address cannot lie.
func TestIdentify(t *testing.T) {
	c := newClock()
	st := openDisk(t, t.TempDir(), c)
	o := options(st, c)
	o.AlwaysAllowed = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	d := open(t, o)
	good(t, d, "203.0.113.7", phoneKey, "", 0, 600)
	who := func(text string) (*outpost.Identity, error) {
		a, _ := netip.ParseAddr(text)
		return d.Identify(t.Context(), &outpost.Request{Client: a})
	}
	for _, text := range []string{"203.0.113.7", "::ffff:203.0.113.7", "192.168.1.9"} {
		id, err := who(text)
		if err != nil || id.Provider != "door" || id.Subject != "" || id.Label() != "" {
			t.Errorf("%s: %+v, %v", text, id, err)
		}
	}
	for _, text := range []string{"203.0.113.8", "", "fe80::1%eth0", "::203.0.113.7"} {
		if id, err := who(text); id != nil || !errors.Is(err, outpost.ErrNoCredential) {
			t.Errorf("%q: %+v, %v, want ErrNoCredential", text, id, err)
		}
	}
	_ = st.Close()
	if _, err := who("203.0.113.7"); err != nil {
		t.Errorf("a lease that is known, without the store: %v", err)
	}
	if id, err := who("203.0.113.8"); id != nil || !errors.Is(err, outpost.ErrUnavailable) || errors.Is(err, outpost.ErrNoCredential) {
		t.Errorf("a stranger, without the store: %+v, %v, want ErrUnavailable", id, err)
	}
	if err := d.Ready(t.Context()); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("Ready without the store: %v", err)
	}
}

func TestADoorThatIsOnlyLookedAt(t *testing.T) {
	c := newClock()
	o := options(nil, c)
	o.AlwaysAllowed = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	d := open(t, o)
	admits(t, d, "192.168.1.1", true)
	if _, err := d.Admits(t.Context(), netip.MustParseAddr("192.168.2.1")); !errors.Is(err, outpost.ErrUnavailable) {
		t.Error(err)
	}
	if _, err := ask(t, d, "192.168.2.1", phoneKey, "", 0); !errors.Is(err, outpost.ErrUnavailable) {
		t.Error(err)
	}
}

func TestKnocksAreRefusedForTheFirstThingThatIsWrong(t *testing.T) {
	c := newClock()
	d := open(t, options(openMemory(t, c), c))
	long := strings.Repeat("1", 101)
	for _, row := range []struct {
		name, client, key, remote string
		ttl                       int64
		want                      error
	}{
		{"no key", "1.2.3.4", "", "", 0, knock.ErrKey},
		{"a wrong key before all else", "1.2.3.4", "nope", "x", -1, knock.ErrKey},
		{"a key that begins well", "1.2.3.4", phoneKey + "x", "", 0, knock.ErrKey},
		{"a key beyond ASCII", "1.2.3.4", "schl\xfcssel", "", 0, knock.ErrKey},
		{"a time before the address", "1.2.3.4", adminKey, "x", -1, knock.ErrTTL},
		{"eleven years", "1.2.3.4", adminKey, "", 315360001, knock.ErrTTLTooLong},
		{"a long address", "1.2.3.4", phoneKey, long, 0, ranges.ErrAddressTooLong},
		{"no address before the permission", "1.2.3.4", phoneKey, "x", 0, ranges.ErrAddress},
		{"the permission before the width", "1.2.3.4", phoneKey, "0.0.0.0/0", 0, knock.ErrRemote},
		{"the permission, even for its own", "1.2.3.4", phoneKey, "1.2.3.4", 0, knock.ErrRemote},
		{"too broad", "1.2.3.4", adminKey, "10.0.0.0/8", 0, ranges.ErrTooBroad},
		{"all of IPv4 in IPv6", "1.2.3.4", adminKey, "::ffff:0:0/96", 0, ranges.ErrTooBroad},
		{"NAT64", "1.2.3.4", adminKey, "64:ff9b::/96", 0, ranges.ErrReserved},
		{"a zone", "1.2.3.4", adminKey, "fe80::1%eth0/128", 0, ranges.ErrAddress},
		{"a range with the proxy", "1.2.3.4", adminKey, "127.0.0.0/24", 0, ranges.ErrReserved},
		{"the proxy itself", "127.0.0.1", adminKey, "", 0, ranges.ErrReserved},
		{"nobody", "", phoneKey, "", 0, knock.ErrNoClient},
		{"a client with a zone", "fe80::1%eth0", phoneKey, "", 0, knock.ErrNoClient},
	} {
		if l, err := ask(t, d, row.client, row.key, row.remote, row.ttl); !errors.Is(err, row.want) || l != (knock.Lease{}) {
			t.Errorf("%s: %+v, %v, want %v", row.name, l, err, row.want)
		}
	}
	admits(t, d, "1.2.3.4", false)
	if n := d.Leases(); n != 0 {
		t.Errorf("%d leases after refusals", n)
	}
}

func TestALeaseEndsWithItsTimeAndIsNeverShortened(t *testing.T) {
	c := newClock()
	d := open(t, options(openMemory(t, c), c))
	l := good(t, d, "1.2.3.4", adminKey, "", 0, 3600)
	if l.Entry != "1.2.3.4" || l.Expires != c.now().Unix()+3600 {
		t.Errorf("%+v", l)
	}
	good(t, d, "1.2.3.4", adminKey, "", 5, 3600) // what holds, not what was asked for
	good(t, d, "1.2.3.4", phoneKey, "", 9999, 600)
	c.seconds.Add(599)
	good(t, d, "1.2.3.4", phoneKey, "", 5, 5)
	c.seconds.Add(3000)
	admits(t, d, "1.2.3.4", true)
	c.seconds.Add(1)
	admits(t, d, "1.2.3.4", false)
	good(t, d, "::ffff:1.2.3.4", adminKey, "", 60, 60)
	admits(t, d, "1.2.3.4", true)
}

func TestRangesAreEchoedAsWrittenAndKeptAsMeant(t *testing.T) {
	c := newClock()
	d := open(t, options(openMemory(t, c), c))
	for remote, inside := range map[string][2]string{
		"192.168.1.5/24":        {"192.168.1.255", "192.168.2.0"},
		"1.2.3.4/255.255.0.0":   {"1.2.255.255", "1.3.0.0"},
		"2001:db8::/120":        {"2001:db8::42", "2001:db8::142"},
		"2001:DB8:1::/64":       {"2001:db8:1::1", "2001:db8:1:1::1"},
		"::ffff:9.9.9.0/120":    {"9.9.9.9", "9.9.10.9"},
		"2001:DB8:2::7":         {"2001:db8:2::7", "2001:db8:2::8"},
		"203.0.113.9/0.0.0.255": {"203.0.113.1", "203.0.114.1"},
	} {
		if l := good(t, d, "5.5.5.5", adminKey, remote, 0, 3600); l.Entry != remote {
			t.Errorf("%s is called %s", remote, l.Entry)
		}
		admits(t, d, inside[0], true)
		admits(t, d, inside[1], false)
	}
	admits(t, d, "5.5.5.5", false)
}

func TestAFullTableRefusesTheNewcomerAndLosesNothing(t *testing.T) {
	c := newClock()
	o := options(openMemory(t, c), c)
	o.MaxLeases = 3
	d := open(t, o)
	for i, ttl := range []int64{10, 60, 60} {
		good(t, d, fmt.Sprint("10.9.9.", i), phoneKey, "", ttl, ttl)
	}
	if _, err := ask(t, d, "10.9.9.9", adminKey, "", 3600); !errors.Is(err, knock.ErrFull) {
		t.Errorf("the fourth: %v", err)
	}
	for i := range 3 {
		admits(t, d, fmt.Sprint("10.9.9.", i), true)
	}
	good(t, d, "10.9.9.1", phoneKey, "", 90, 90) // who is in may stay
	c.seconds.Add(10)
	good(t, d, "10.9.9.9", adminKey, "", 3600, 3600)
	if _, err := ask(t, d, "10.9.9.8", adminKey, "", 3600); !errors.Is(err, knock.ErrFull) || d.Leases() != 3 {
		t.Errorf("%v, %d leases", err, d.Leases())
	}
}

func TestTheBoundHoldsAgainstManyAtOnce(t *testing.T) {
	c := newClock()
	o := options(openDisk(t, t.TempDir(), c), c)
	o.MaxLeases = 20
	d := open(t, o)
	var kept atomic.Int32
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			switch _, err := ask(t, d, fmt.Sprint("10.9.9.", i), phoneKey, "", 0); {
			case err == nil:
				kept.Add(1)
				admits(t, d, fmt.Sprint("10.9.9.", i), true)
			case !errors.Is(err, knock.ErrFull):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if kept.Load() != 20 || d.Leases() != 20 {
		t.Errorf("%d kept, %d counted, want 20", kept.Load(), d.Leases())
	}
}

func TestManyKnocksOfOneAddressMakeOneLease(t *testing.T) {
	c := newClock()
	d := open(t, options(openDisk(t, t.TempDir(), c), c))
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			key, ttl := adminKey, int64(i+1)
			if i%2 == 0 {
				key, ttl = phoneKey, int64(100+i)
			}
			if l, err := ask(t, d, "10.0.0.1", key, "", ttl); err != nil || l.Seconds < ttl {
				t.Errorf("%+v, %v, want %d or more", l, err, ttl)
			}
		})
	}
	wg.Wait()
	if d.Leases() != 1 {
		t.Errorf("%d leases", d.Leases())
	}
	good(t, d, "10.0.0.1", adminKey, "", 1, 40)
	good(t, d, "10.0.0.1", phoneKey, "", 1, 138)
}

func TestNoLeaseIsAcknowledgedThatWasNotKept(t *testing.T) {
	c := newClock()
	st := openDisk(t, t.TempDir(), c)
	o := options(st, c)
	o.MaxLeases = 2
	d := open(t, o)
	good(t, d, "10.0.0.1", phoneKey, "", 0, 600)
	_ = st.Close()
	for range 3 {
		if l, err := ask(t, d, "10.0.0.2", phoneKey, "", 0); !errors.Is(err, outpost.ErrUnavailable) {
			t.Errorf("%+v, %v", l, err)
		}
	}
	if d.Leases() != 1 {
		t.Errorf("%d leases, want the first alone: a place was lost", d.Leases())
	}
}

func TestWhatStandsBeforeKeepingIsAskedLastAndObeyed(t *testing.T) {
	c := newClock()
	d := open(t, options(openMemory(t, c), c))
	calls, enough := 0, errors.New("enough")
	r := knock.Request{Before: func() error { calls++; return enough }}
	client := netip.MustParseAddr("1.2.3.4")
	if _, err := d.Knock(t.Context(), client, phoneKey, r); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%v, %d calls", err, calls)
	}
	admits(t, d, "1.2.3.4", false)
	bad := "0.0.0.0/0"
	r.Address = &bad
	if _, err := d.Knock(t.Context(), client, adminKey, r); !errors.Is(err, ranges.ErrTooBroad) || calls != 1 {
		t.Errorf("%v, %d calls", err, calls)
	}
}

func TestLeasesOutliveTheProcessAndEndWithTheirKey(t *testing.T) {
	c, dir := newClock(), t.TempDir()
	st := openDisk(t, dir, c)
	d := open(t, options(st, c))
	good(t, d, "10.0.0.1", phoneKey, "", 0, 600)
	good(t, d, "10.0.0.2", adminKey, "", 0, 3600)
	good(t, d, "10.0.0.2", phoneKey, "", 0, 600)
	good(t, d, "9.9.9.9", adminKey, "10.2.0.0/16", 0, 3600)
	good(t, d, "9.9.9.9", adminKey, "10.3.0.0/16", 5, 5)
	again := func(name string, change func(*knock.Options), want map[string]bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			_ = st.Close()
			st = openDisk(t, dir, c)
			o := options(st, c)
			change(&o)
			d := open(t, o)
			for text, ok := range want {
				admits(t, d, text, ok)
			}
		})
		st = openDisk(t, dir, c)
	}
	c.seconds.Add(10)
	again("after a restart", func(*knock.Options) {}, map[string]bool{"10.0.0.1": true, "10.0.0.2": true, "10.2.9.9": true, "10.3.0.1": false, "10.0.0.3": false})
	again("without the phone", func(o *knock.Options) { o.Keys = o.Keys[:1] }, map[string]bool{"10.0.0.1": false, "10.0.0.2": true, "10.2.9.9": true})
	again("without the admin", func(o *knock.Options) { o.Keys = o.Keys[1:] }, map[string]bool{"10.0.0.1": true, "10.0.0.2": true, "10.2.9.9": false})
	again("with another phone key", func(o *knock.Options) { o.Keys[1].Key = "another-key-987654" }, map[string]bool{"10.0.0.1": false, "10.0.0.2": true})
	again("once a proxy is there", func(o *knock.Options) {
		o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix("10.2.3.4/32"))
	}, map[string]bool{"10.0.0.1": true, "10.2.3.4": false, "10.2.9.9": false})
	c.seconds.Add(600)
	again("after the phone's time", func(*knock.Options) {}, map[string]bool{"10.0.0.1": false, "10.0.0.2": true})
}

func TestTheDocumentGrantsLeases(t *testing.T) {
	c := newClock()
	o := options(openMemory(t, c), c)
	o.MaxLeases = 1
	at := c.now()
	o.Granted = []knock.Granted{
		{Range: netip.MustParsePrefix("10.0.0.1/32"), Expires: at.Add(time.Minute)},
		{Range: netip.MustParsePrefix("10.0.0.1/32"), Expires: at.Add(time.Second)},
		{Range: netip.MustParsePrefix("10.1.0.0/16"), Expires: at.Add(time.Hour)},
		{Range: netip.MustParsePrefix("10.0.0.2/32"), Expires: at},
	}
	d := open(t, o)
	c.seconds.Add(30)
	admits(t, d, "10.0.0.1", true)
	admits(t, d, "10.1.2.3", true)
	admits(t, d, "10.0.0.2", false)
	good(t, d, "10.0.0.3", phoneKey, "", 0, 600) // granted ones take no place
	c.seconds.Add(30)
	admits(t, d, "10.0.0.1", false)
}

func TestTwoProcessesOnOneStore(t *testing.T) {
	c := newClock()
	st := openMemory(t, c)
	one, two := open(t, options(st, c)), open(t, options(st, c))
	admits(t, two, "10.0.0.1", false)
	good(t, one, "10.0.0.1", adminKey, "", 0, 3600)
	admits(t, two, "10.0.0.1", true)
	good(t, two, "10.0.0.1", adminKey, "", 5, 3600)
	good(t, one, "9.9.9.9", adminKey, "10.2.0.0/16", 0, 3600)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { two.Follow(ctx); close(ended) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if ok, _ := two.Admits(t.Context(), netip.MustParseAddr("10.2.3.4")); ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a range of the other process is never known")
		}
	}
	cancel()
	<-ended
}

// TestAStoreThatRecoversIsReadThen holds that a failed beginning is no end.
func TestAStoreThatRecoversIsReadThen(t *testing.T) {
	c := newClock()
	st := openMemory(t, c)
	good(t, open(t, options(st, c)), "9.9.9.9", adminKey, "10.2.0.0/16", 0, 3600)
	weak := &ailing{Store: st}
	weak.ill.Store(true)
	d := open(t, options(weak, c))
	a := netip.MustParseAddr("10.2.3.4")
	for range 2 {
		if _, err := d.Admits(t.Context(), a); !errors.Is(err, outpost.ErrUnavailable) {
			t.Errorf("while the store is ill: %v", err)
		}
	}
	weak.ill.Store(false)
	admits(t, d, "10.2.3.4", true)
}

// ailing is a store that cannot list for a while.
type ailing struct {
	*memory.Store
	ill atomic.Bool
}

func (s *ailing) List(ctx context.Context, prefix string, each func(string, store.Item) error) error {
	if s.ill.Load() {
		return store.ErrUnavailable
	}
	return s.Store.List(ctx, prefix, each)
}

func TestADamagedRecordAdmitsNobody(t *testing.T) {
	c := newClock()
	st := openMemory(t, c)
	for key, value := range map[string]string{
		"lease:10.0.0.1/32": "{", "lease:10.0.0.2/32": `{"holders":[{"key":"admin","print":"00000000","expires":99999999999}]}`,
		"lease:0.0.0.0/0": `{"holders":[{"key":"admin","print":"","expires":99999999999}]}`, "lease:x": "{}", "lease:": "", "lease:10.0.0.3/32": "null",
	} {
		if err := st.Put(t.Context(), key, store.Item{Value: []byte(value), Expires: c.now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, options(st, c))
	for _, text := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "8.8.8.8"} {
		admits(t, d, text, false)
	}
	good(t, d, "10.0.0.1", phoneKey, "", 0, 600)
}

func TestStrangersLeaveNothingBehind(t *testing.T) {
	c := newClock()
	st := openMemory(t, c)
	d := open(t, options(st, c))
	before := heap()
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		if ok, err := d.Admits(t.Context(), a); ok || err != nil {
			t.Fatal(ok, err)
		}
		if _, err := d.Knock(t.Context(), a, fmt.Sprint("bad", i), knock.Request{}); !errors.Is(err, knock.ErrKey) {
			t.Fatal(err)
		}
	}
	if n, _ := st.Count(t.Context(), ""); n != 0 {
		t.Errorf("%d items stored", n)
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
	runtime.KeepAlive(d)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkAdmitsAmong100000(b *testing.B) {
	c := newClock()
	o := options(openMemory(b, c), c)
	o.MaxLeases = 200_000
	d := open(b, o)
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		if _, err := d.Knock(b.Context(), a, phoneKey, knock.Request{}); err != nil {
			b.Fatal(err)
		}
	}
	for name, text := range map[string]string{"lease": "11.1.0.0", "stranger": "203.0.113.9"} {
		b.Run(name, func(b *testing.B) {
			a := netip.MustParseAddr(text)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := d.Admits(b.Context(), a); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
