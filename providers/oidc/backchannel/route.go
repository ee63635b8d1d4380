package backchannel

import (
	"net/url"
	"strings"
)

// Route knows the issuer's two addresses: the public one, which browsers use
// and tokens name, and the one that the outpost itself calls.
type Route struct {
	public, inside *url.URL // inside is nil without a backchannel
}

// NewRoute makes a route; backchannel may be "". The error says that one of
// them is no URL.
func NewRoute(issuer, backchannel string) (Route, error) {
	public, err := url.Parse(issuer)
	if err != nil || backchannel == "" {
		return Route{public: public}, err
	}
	inside, err := url.Parse(backchannel)
	return Route{public: public, inside: inside}, err
}

// Inward answers where the outpost calls u: an address at the public issuer
// is moved to the backchannel, any other is left.
func (r Route) Inward(u *url.URL) *url.URL {
	if r.inside == nil || !sameOrigin(u, r.public) {
		return u
	}
	return r.move(u, r.public, r.inside)
}

// Outward answers where a browser finds u: some issuers make the addresses in
// their discovery document of the Host they were asked by, and so announce
// the backchannel.
func (r Route) Outward(u *url.URL) *url.URL {
	if r.inside == nil || !sameOrigin(u, r.inside) || sameOrigin(u, r.public) {
		return u
	}
	return r.move(u, r.inside, r.public)
}

// Private reports whether u is at the backchannel, where plain http is the
// operator's choice.
func (r Route) Private(u *url.URL) bool {
	return r.inside != nil && sameOrigin(r.Inward(u), r.inside)
}

// Secure reports whether the issuer's public address is https.
func (r Route) Secure() bool { return r.public.Scheme == "https" }

// move carries u from one base to another. Paths count when the backchannel
// was written with one; else only scheme and host change. Only they change,
// too, for an address outside the base's path, because issuers with a path
// often keep endpoints beside it.
func (r Route) move(u, from, to *url.URL) *url.URL {
	moved := *u
	moved.Scheme, moved.Host = to.Scheme, to.Host
	if base(r.inside) == "" {
		return &moved
	}
	rest, under := strings.CutPrefix(u.Path, base(from))
	if under && (rest == "" || rest[0] == '/') && u.RawPath == "" {
		moved.Path = base(to) + rest
	}
	return &moved
}

func base(u *url.URL) string { return strings.TrimSuffix(u.Path, "/") }

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}
