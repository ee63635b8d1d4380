package ranges_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/akprox/akprox/providers/knock/ranges"
)

func TestRangesAreReadAsPeopleWriteThem(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"1.2.3.4", "1.2.3.4/32"},
		{"192.168.1.5/24", "192.168.1.0/24"},
		{"1.2.3.4/255.255.0.0", "1.2.0.0/16"},
		{"1.2.3.4/0.0.255.255", "1.2.0.0/16"},
		{"1.2.3.4/255.255.255.255", "1.2.3.4/32"},
		{"1.2.3.4/0.0.0.0", "0.0.0.0/0"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"::/0", "::/0"},
		{"2001:DB8:0::1", "2001:db8::1/128"},
		{"2001:0db8:85a3:0000:0000:8a2e:0370:7334/128", "2001:db8:85a3::8a2e:370:7334/128"},
		{"2001:db8::42/120", "2001:db8::/120"},
		{"::ffff:1.2.3.4", "1.2.3.4/32"},
		{"::ffff:102:304/120", "1.2.3.0/24"},
		{"::ffff:0:0/96", "0.0.0.0/0"},
		{"::ffff:0:0/95", "::fffe:0:0/95"},
	} {
		got, err := ranges.Parse(row.text)
		if err != nil || got.String() != row.want {
			t.Errorf("Parse(%q) = %v, %v, want %s", row.text, got, err, row.want)
		}
	}
	for _, text := range []string{
		"", "not-an-ip", " 1.2.3.4", "1.2.3.4 ", "01.2.3.4", "1.2.3", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/08",
		"1.2.3.4/", "1.2.3.4/24/24", "::1/129", "::1/ffff::", "fe80::1%eth0", "fe80::1%eth0/128", "::1/255.255.0.0",
		"1.2.3.4/255.0.255.0", "1.2.3.4/::", "1.2.3.4:80", "[::1]", "12345", "1.2.3.4\x00", "１.2.3.4", "localhost", "0x7f.1",
	} {
		if got, err := ranges.Parse(text); !errors.Is(err, ranges.ErrAddress) {
			t.Errorf("Parse(%q) = %v, %v, want ErrAddress", text, got, err)
		}
	}
	if _, err := ranges.Parse(strings.Repeat("1", 101)); !errors.Is(err, ranges.ErrAddressTooLong) {
		t.Errorf("101 bytes: %v", err)
	}
	if _, err := ranges.Parse(strings.Repeat("1", 100)); !errors.Is(err, ranges.ErrAddress) {
		t.Errorf("100 bytes: %v", err)
	}
}

func TestWhatNobodyMayBeGiven(t *testing.T) {
	closed := append(ranges.Reserved(), netip.MustParsePrefix("172.29.238.0/24"), netip.MustParsePrefix("fd00:dead:beef::/64"))
	for _, row := range []struct {
		text string
		want error
	}{
		{"0.0.0.0/0", ranges.ErrTooBroad},
		{"::/0", ranges.ErrTooBroad},
		{"10.0.0.0/8", ranges.ErrTooBroad},
		{"172.16.0.0/12", ranges.ErrTooBroad},
		{"1.2.0.0/15", ranges.ErrTooBroad},
		{"192.168.0.0/16", nil},
		{"10.0.0.0/20", nil},
		{"2001:db8::/63", ranges.ErrTooBroad},
		{"2001:db8::/64", nil},
		{"::ffff:0:0/96", ranges.ErrTooBroad},
		{"::ffff:10.0.0.0/104", ranges.ErrTooBroad},
		{"::ffff:10.0.0.0/112", nil},
		{"::/64", ranges.ErrReserved},
		{"::ffff:0:0/95", ranges.ErrReserved},
		{"64:ff9b::/96", ranges.ErrReserved},
		{"64:ff9b::102:304", ranges.ErrReserved},
		{"64:ff9b:1::/64", ranges.ErrReserved},
		{"0.0.0.0", ranges.ErrReserved},
		{"::", ranges.ErrReserved},
		{"224.0.0.1", ranges.ErrReserved},
		{"255.255.255.255", ranges.ErrReserved},
		{"ff02::1", ranges.ErrReserved},
		{"127.0.0.2", nil},
		{"::1", nil},
		{"172.29.238.7", ranges.ErrReserved},
		{"172.29.0.0/16", ranges.ErrReserved},
		{"fd00:dead:beef::1:0/112", ranges.ErrReserved},
		{"172.29.237.255", nil},
	} {
		p, err := ranges.Parse(row.text)
		if err != nil {
			t.Fatalf("%s: %v", row.text, err)
		}
		if err := ranges.Admissible(p, closed); !errors.Is(err, row.want) || (err == nil) != (row.want == nil) {
			t.Errorf("%s: %v, want %v", row.text, err, row.want)
		}
	}
	if ranges.Admissible(netip.Prefix{}, nil) == nil {
		t.Error("the zero range is to be had")
	}
}

// TestASetAgreesWithALinearSearch holds the set to the obvious way of looking.
func TestASetAgreesWithALinearSearch(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		}
		a := netip.MustParseAddr("2001:db8::").As16()
		a[7], a[15] = byte(random.IntN(4)), byte(random.IntN(256))
		return netip.AddrFrom16(a)
	}
	var s ranges.Set[int]
	all := map[netip.Prefix]int{}
	for range 3000 {
		a := address()
		p, err := a.Prefix(random.IntN(a.BitLen() + 1))
		if err != nil {
			t.Fatal(err)
		}
		if p.Bits() < 12 { // else everything is held
			continue
		}
		if random.IntN(3) == 0 {
			_, there := all[p]
			if s.Drop(p) != there {
				t.Fatalf("Drop(%v), want %v", p, there)
			}
			delete(all, p)
		} else {
			n := random.IntN(2)
			_, there := all[p]
			if s.Put(p, &n) == there {
				t.Fatalf("Put(%v) new: %v", p, !there)
			}
			all[p] = n
		}
		asked, want := address(), false
		for p, n := range all {
			want = want || n == 1 && p.Contains(asked)
		}
		if got := s.Holds(asked, func(n *int) bool { return *n == 1 }); got != want {
			t.Fatalf("Holds(%v) = %v, want %v", asked, got, want)
		}
	}
	n := 0
	s.All(func(p netip.Prefix, v *int) bool { n++; return *v == all[p] })
	if n != len(all) {
		t.Errorf("All told %d, want %d", n, len(all))
	}
}

func TestASetIsSafeForManyAtOnce(*testing.T) {
	var s ranges.Set[int]
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 500 {
				a := netip.AddrFrom4([4]byte{10, 0, byte(w), byte(i)})
				p := netip.PrefixFrom(a, 32)
				s.Put(p, &i)
				s.Holds(a, func(*int) bool { return true })
				s.Drop(p)
			}
		})
	}
	wg.Wait()
}

func BenchmarkHoldsAmong100000(b *testing.B) {
	var s ranges.Set[int]
	one := 1
	for i := range 100_000 {
		s.Put(netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32), &one)
	}
	for _, bits := range []int{24, 20, 16} {
		s.Put(netip.PrefixFrom(netip.MustParseAddr("192.168.0.0"), bits), &one)
	}
	for name, text := range map[string]string{"address": "11.1.0.0", "range": "192.168.1.1", "stranger": "203.0.113.9"} {
		b.Run(name, func(b *testing.B) {
			a := netip.MustParseAddr(text)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.Holds(a, func(*int) bool { return true })
				}
			})
		})
	}
}

// FuzzAddress holds that whatever may be leased is narrow, canonical, free of
// proxies, and holds only addresses of its own family.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"1.2.3.4", "192.168.1.5/24", "1.2.3.4/255.255.0.0", "1.2.3.4/0.0.255.255", "2001:db8::/64", "::ffff:1.2.3.4/120",
		"::ffff:0:0/96", "64:ff9b::/96", "fe80::1%eth0/128", "0.0.0.0/0", "::/0", "1.2.3.4/", "/", "::ffff:0:0/95", "127.0.0.1",
	} {
		f.Add(s)
	}
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("172.16.0.0/12")}
	closed := append(ranges.Reserved(), proxies...)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ranges.Parse(s)
		if err != nil {
			return
		}
		again, err := ranges.Parse(p.String())
		if err != nil || again != p || p != p.Masked() {
			t.Fatalf("%q: %v, again %v, %v", s, p, again, err)
		}
		if ranges.Admissible(p, closed) != nil {
			return
		}
		if p.Addr().Is4In6() || p.Addr().Zone() != "" || p.Addr().Is4() && p.Bits() < 16 || p.Addr().Is6() && p.Bits() < 64 {
			t.Fatalf("%q: %v may be leased", s, p)
		}
		for _, bad := range []string{"127.0.0.1", "::1", "172.16.0.1", "0.0.0.0", "::", "224.0.0.1", "ff02::1", "64:ff9b::1", "::ffff:9.9.9.9"} {
			if p.Contains(netip.MustParseAddr(bad)) {
				t.Fatalf("%q: %v holds %s", s, p, bad)
			}
		}
		_ = fmt.Sprint(p)
	})
}
