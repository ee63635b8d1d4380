package outpost

import (
	"net/http"
	"net/netip"

	"github.com/akprox/akprox/outpost/canon"
)

// Request is the client's request being judged: not the one a reverse proxy
// sent us. A dialect makes it once, canonical; nothing downstream reads the
// proxy's headers again.
type Request struct {
	Method     string // upper-case; "" when the proxy did not tell
	Scheme     string // http or https
	Host       string // canonical, see canon.Host
	Path       canon.Path
	Query      string      // raw, without "?"; for redirects alone, never judged
	Client     netip.Addr  // unmapped; the zero value when not known
	Header     http.Header // what the client sent; credentials are read from it
	Navigation bool        // a person's browser is going to a page
	Prefix     string      // under which of our prefixes we were asked
	JSON       bool        // the client would rather have JSON than a page

	// PassesForged says that the asking proxy would hand the client's own
	// value of an identity header on where ours is empty (Caddy 2.9.0–2.11.1).
	PassesForged bool
}
