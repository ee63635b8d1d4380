package ranges

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Set keeps an E for each range: finding those that hold an address is one
// look-up for each width in use, without a lock that readers would wait for.
// The zero value is empty. Ranges have to be masked, and IPv4 unmapped. It is
// safe for concurrent use; two who change the same range at once have to agree
// by themselves on who is the later one.
type Set[E any] struct {
	ranges sync.Map             // netip.Prefix → *E
	widths [2][129]atomic.Int32 // how many ranges of that width there are, IPv4 and IPv6
}

func (s *Set[E]) family(a netip.Addr) *[129]atomic.Int32 {
	if a.Is4() {
		return &s.widths[0]
	}
	return &s.widths[1]
}

// Get answers what is kept for exactly p, or nil.
func (s *Set[E]) Get(p netip.Prefix) *E {
	v, _ := s.ranges.Load(p)
	e, _ := v.(*E)
	return e
}

// Put keeps e for p and reports whether there was nothing before.
func (s *Set[E]) Put(p netip.Prefix, e *E) bool {
	_, there := s.ranges.Swap(p, e)
	if !there {
		s.family(p.Addr())[p.Bits()].Add(1)
	}
	return !there
}

// Drop forgets p and reports whether it was there.
func (s *Set[E]) Drop(p netip.Prefix) bool {
	_, there := s.ranges.LoadAndDelete(p)
	if there {
		s.family(p.Addr())[p.Bits()].Add(-1)
	}
	return there
}

// Holds reports whether a range that holds a is good.
func (s *Set[E]) Holds(a netip.Addr, good func(*E) bool) bool {
	widths := s.family(a)
	for n := a.BitLen(); n >= 0; n-- {
		if widths[n].Load() == 0 {
			continue
		}
		p, err := a.Prefix(n)
		if err != nil {
			return false
		}
		if e := s.Get(p); e != nil && good(e) {
			return true
		}
	}
	return false
}

// All calls each with every range, until it answers false.
func (s *Set[E]) All(each func(netip.Prefix, *E) bool) {
	s.ranges.Range(func(p, e any) bool { return each(p.(netip.Prefix), e.(*E)) })
}
