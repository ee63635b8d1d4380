package outpost

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

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
	Page       bool        // a person would see the answer
	Navigation bool        // a redirect would reach a person: something is going to a page
	Ways       Ways        // in and out, for people
	JSON       bool        // the client would rather have JSON than a page

	// PassesForged says that the asking proxy would hand the client's own
	// value of an identity header on where ours is empty (Caddy 2.9.0–2.11.1).
	PassesForged bool
}

// Ways says where people sign in and out of an application: the paths of our
// endpoints on its origin, as the endpoint that was asked spells them.
type Ways struct {
	Start   string // where sign-in begins, up to where the escaped return URL goes
	SignOut string
	Short   bool // the return URL is told without an origin that is the sign-in's own
}

// WaysUnder answers the ways under one of our prefixes.
func WaysUnder(prefix string) Ways {
	return Ways{Start: prefix + "/start?rd=", SignOut: prefix + "/sign_out"}
}

// StartURL answers where sign-in on origin begins, to come back to the
// absolute URL back.
func (w Ways) StartURL(origin, back string) string {
	if path, ok := strings.CutPrefix(back, origin); ok && w.Short && strings.HasPrefix(path, "/") {
		back = path
	}
	return origin + w.Start + url.QueryEscape(back)
}
