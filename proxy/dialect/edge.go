package dialect

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/akprox/akprox/outpost"
)

// Edge is what is believed of whom: made once, at load.
type Edge struct {
	Trusted          []netip.Prefix // whose forwarded headers are believed
	NginxOriginalURL bool           // nginx always sets X-Original-URL itself
}

// maxHops bounds how many addresses of X-Forwarded-For are looked at.
const maxHops = 32

// peer answers who is connected. A peer on a unix socket has no address and is
// always trusted: the socket's permissions say who may connect.
func (e *Edge) peer(r *http.Request) (addr netip.Addr, trusted bool) {
	if r.RemoteAddr == "" || r.RemoteAddr == "@" {
		return netip.Addr{}, true
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = ap.Addr().Unmap()
	return addr, e.trusts(addr)
}

func (e *Edge) trusts(a netip.Addr) bool {
	for _, p := range e.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ask answers the client's address for a question asked by a trusted peer;
// from any other peer it is a BadRequest.
func (e *Edge) ask(r *http.Request) (netip.Addr, error) {
	peer, trusted := e.peer(r)
	if !trusted {
		return netip.Addr{}, outpost.Bad(outpost.ReasonUntrustedPeer, peer.String())
	}
	return e.Client(r.Header), nil
}

// From answers the address of whoever sent r to us: what a trusted peer tells
// in X-Forwarded-For, else the peer's own. It is the zero value when not known.
func (e *Edge) From(r *http.Request) netip.Addr {
	peer, trusted := e.peer(r)
	if _, told := r.Header["X-Forwarded-For"]; trusted && told {
		return e.Client(r.Header)
	}
	return peer
}

// Client walks X-Forwarded-For from the right, over all lines, past the
// trusted proxies. It answers the zero value when there is none or when an
// entry on the way does not parse: what depends on the address then denies.
// Where every entry is a trusted one, the leftmost is the client.
func (e *Edge) Client(h http.Header) netip.Addr {
	lines := h["X-Forwarded-For"]
	client, hops := netip.Addr{}, 0
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for more := true; more; {
			var entry string
			if j := strings.LastIndexByte(rest, ','); j >= 0 {
				rest, entry = rest[:j], rest[j+1:]
			} else {
				rest, entry, more = "", rest, false
			}
			a, ok := hop(entry)
			if hops++; !ok || hops > maxHops {
				return netip.Addr{}
			}
			if client = a; !e.trusts(a) {
				return client
			}
		}
	}
	return client
}

// hop parses one entry: an address, an address with a port, or "[v6]:port".
func hop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			s, open := strings.CutPrefix(s, "[")
			s, closed := strings.CutSuffix(s, "]")
			if a, err = netip.ParseAddr(s); err != nil || !open || !closed || !a.Is6() {
				return netip.Addr{}, false
			}
		} else {
			a = ap.Addr()
		}
	}
	return a.Unmap(), a.Zone() == ""
}
