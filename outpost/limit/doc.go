// Package limit counts how often somebody does something, and says when that
// is too often: Memory limits a rate over a sliding window, Guesses bans who
// fails too often. Both count in memory, per key, in tables of bounded size
// without a lock that everybody needs. Shared and SharedGuesses do the same for
// all processes that have one store, and refuse when it does not answer.
//
// It knows neither requests nor identities; who is counted is a key that the
// caller makes, for an address with AddressKey.
package limit

import (
	"net/netip"
	"time"
)

// Limit is what one count says.
type Limit struct {
	OK         bool
	Limit      int           // how many requests a window may hold
	Window     time.Duration // how long a window is
	Remaining  int           // how many more would be admitted now
	Reset      time.Duration // until Remaining grows again; 0 when nothing is counted
	RetryAfter time.Duration // until a refused request would be admitted, at most Window; 0 when OK
}

// AddressKey answers the key under which a client's address is counted: IPv4
// as it stands, also inside of IPv6 (::ffff:0:0/96, and the 64:ff9b::/96 of
// RFC 6052), any other IPv6 by its /64, since that is what one household has.
// All addresses that are not known share one key. It begins with a byte that
// no name holds, so that the keys of names and addresses may share a table.
func AddressKey(a netip.Addr) string {
	if !a.IsValid() {
		return "\x00"
	}
	b := a.As16()
	var key [9]byte
	if a.Is4() || a.Is4In6() || [12]byte(b[:12]) == [12]byte{0, 0x64, 0xff, 0x9b} {
		return string(append(key[:1], b[12:]...))
	}
	return string(append(key[:1], b[:8]...))
}
