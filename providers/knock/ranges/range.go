package ranges

import (
	"errors"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// Why a text is no range, or a range is not to be had.
var (
	// ErrAddress says that a text is neither an address nor a range.
	ErrAddress = errors.New("neither an address nor a range")
	// ErrAddressTooLong says that it has more than 100 bytes.
	ErrAddressTooLong = errors.New("longer than any address or range")
	// ErrTooBroad says that a range is wider than an IPv4 /16 or an IPv6 /64.
	ErrTooBroad = errors.New("wider than an IPv4 /16 or an IPv6 /64")
	// ErrReserved says that a range holds a trusted proxy, or addresses that
	// are nobody's own: unspecified, multicast, or what stands for all of IPv4
	// in IPv6 (::ffff:0:0/96, NAT64).
	ErrReserved = errors.New("holds a trusted proxy or addresses that are nobody's own")
)

const (
	maxAddress = 100 // bytes of a range as written
	minBits4   = 16  // the widest that may be leased
	minBits6   = 64
)

// Reserved answers the ranges that no client has as its own.
func Reserved() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32",
		"::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "ff00::/8",
	} {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// Admissible answers why nobody may be given p: ErrTooBroad, ErrReserved when
// it overlaps one of closed, or nil.
func Admissible(p netip.Prefix, closed []netip.Prefix) error {
	least := minBits6
	if p.Addr().Is4() {
		least = minBits4
	}
	if p.Bits() < least {
		return ErrTooBroad
	}
	for _, c := range closed {
		if c.Overlaps(p) {
			return ErrReserved
		}
	}
	return nil
}

// Parse reads an address or a range: "192.0.2.7", "192.0.2.0/24", with
// bits beyond the mask, or with a netmask or hostmask instead of a width
// ("192.0.2.0/255.255.255.0"). What IPv6 holds of IPv4 (::ffff:0:0/96) becomes
// IPv4 before anything is judged; a zone is refused. The error is ErrAddress
// or ErrAddressTooLong.
func Parse(s string) (netip.Prefix, error) {
	if len(s) > maxAddress {
		return netip.Prefix{}, ErrAddressTooLong
	}
	text, mask, ranged := strings.Cut(s, "/")
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, ErrAddress
	}
	n := a.BitLen()
	if ranged {
		if n = width(a, mask); n < 0 {
			return netip.Prefix{}, ErrAddress
		}
	}
	if a.Is4In6() && n >= 96 {
		a, n = a.Unmap(), n-96
	}
	return netip.PrefixFrom(a, n).Masked(), nil
}

// width answers how many bits a mask fixes; negative for one that is none.
func width(a netip.Addr, mask string) int {
	n, err := strconv.ParseUint(mask, 10, 8)
	if err == nil && int(n) <= a.BitLen() && strconv.FormatUint(n, 10) == mask {
		return int(n)
	}
	m, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() || !m.Is4() {
		return -1
	}
	b := m.As4()
	word := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	switch ones := bits.LeadingZeros32(^word); {
	case word<<ones == 0: // ones, then zeros
		return ones
	case word&(word+1) == 0: // zeros, then ones
		return bits.LeadingZeros32(word)
	}
	return -1
}
