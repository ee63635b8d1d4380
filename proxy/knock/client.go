package knock

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds the entries of X-Forwarded-For.
const maxHops = 20

// client answers whose request this is, and whether the peer may tell. An
// untrusted peer is the client itself. A trusted one never is: without a whole
// and well-formed chain behind it, or with nobody but proxies in it, the
// client is not known. Unlike elsewhere all of the chain is read, as Knocker's
// documents say.
func (h *Handler) client(r *http.Request) (a netip.Addr, trusted bool) {
	if r.RemoteAddr != "" && r.RemoteAddr != "@" { // else a unix socket: its permissions say who may connect
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}, false
		}
		if a = peer.Addr().Unmap().WithZone(""); !h.trusts(a) {
			return a, false
		}
	}
	chain := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	if len(chain) > maxHops {
		return netip.Addr{}, true
	}
	var client netip.Addr
	for _, entry := range chain {
		hop, ok := parseHop(entry)
		if !ok {
			return netip.Addr{}, true
		}
		if !h.trusts(hop) {
			client = hop // the last one that is no proxy
		}
	}
	return client, true
}

func (h *Handler) trusts(a netip.Addr) bool {
	for _, p := range h.o.Trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseHop reads an address, with a port or without.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap(), a.Zone() == ""
}
