package reverse

import (
	"bytes"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/akprox/akprox/outpost"
)

// clientNames answers the folded names of the headers that no client may send
// to an upstream: those of every preset, whichever the application uses, and
// those that move a request to another address or path behind our back.
func clientNames() map[string]bool {
	names := map[string]bool{
		"forwarded": true, "x-forwarded": true, "x-real-ip": true, "x-rewrite-url": true,
		"proxy":          true, // becomes $HTTP_PROXY of a CGI program
		"http2-settings": true, // half of an upgrade to h2c (RFC 7540 3.2)
	}
	for _, preset := range outpost.Presets() {
		m, err := outpost.NewHeaderMap(preset, "", nil, outpost.Meta{})
		if err != nil {
			continue // it was outpost that named the preset
		}
		for _, name := range m.Names() {
			names[string(fold(nil, name))] = true
		}
	}
	return names
}

// fold puts name into the empty buf in the one form that all its spellings share: programs
// read X_Auth_Username, x.auth.username and X-Auth-Username as one variable,
// and some of them do so with every sign.
func fold(buf []byte, name string) []byte {
	buf = append(buf, name...)
	for i, c := range buf {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c >= 'A' && c <= 'Z':
			buf[i] = c | 0x20
		default:
			buf[i] = '-'
		}
	}
	return buf
}

// forbidden reports whether a header called name, from a client, would tell
// the upstream of app what only we may tell.
func (f *Forwarder) forbidden(name string, app *outpost.Application) bool {
	var array [128]byte
	folded := fold(array[:0], name)
	if f.names[string(folded)] {
		return true
	}
	for _, family := range [...]string{"x-forwarded-", "x-original-", "x-authentik-"} {
		if bytes.HasPrefix(folded, []byte(family)) {
			return true
		}
	}
	for _, h := range app.Headers.Headers(nil) { // all the mapped names, without a copy
		var other [128]byte
		if len(h.Name) == len(name) && bytes.Equal(folded, fold(other[:0], h.Name)) {
			return true
		}
	}
	return false
}

func (f *Forwarder) stripHeaders(h http.Header, app *outpost.Application) {
	for name := range h {
		if f.forbidden(name, app) {
			delete(h, name)
		}
	}
}

// stripTrailers removes what a header may not say either, and what a trailer
// may not (RFC 9110 6.5.1): some programs put the two together.
func (f *Forwarder) stripTrailers(t http.Header, app *outpost.Application) {
	for name := range t {
		if !httpguts.ValidTrailerHeader(name) || name == "Cookie" || f.forbidden(name, app) {
			delete(t, name)
		}
	}
}

// stripUpgrade removes an upgrade to another form of HTTP. Upstreams that
// grant it (h2c) would serve requests that nobody judged, through a tunnel
// that was allowed for one.
func stripUpgrade(h http.Header) {
	for protocol := range strings.SplitSeq(h.Get("Upgrade"), ",") {
		name, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(protocol)), "/")
		switch name {
		case "h2c", "h2", "h3", "http", "https", "tls":
			delete(h, "Upgrade")
			delete(h, "Connection")
			return
		}
	}
}

// ownCookie reports whether a cookie called name is ours.
func ownCookie(name, session string) bool {
	return strings.HasPrefix(name, "akprox_") || name == session && name != ""
}

// stripCookies removes our cookies from what the client sends; the others
// keep their bytes and their order.
func stripCookies(h http.Header, session string) {
	lines := h["Cookie"]
	delete(h, "Cookie")
	for _, line := range lines {
		if line = withoutOwn(line, session); line != "" {
			h["Cookie"] = append(h["Cookie"], line)
		}
	}
}

// withoutOwn answers one Cookie line without our cookies.
func withoutOwn(line, session string) string {
	pairs := strings.Split(line, ";")
	kept := slices.DeleteFunc(pairs, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return ownCookie(strings.TrimSpace(name), session)
	})
	if len(kept) == len(pairs) {
		return line
	}
	return strings.TrimLeft(strings.Join(kept, ";"), " \t")
}

// stripSetCookies removes our cookies from what the upstream sets: no guarded
// program makes a session. A cookie without a name is sent back as its value
// alone, so "=akprox_x=1" counts as one of ours.
func stripSetCookies(h http.Header, session string) {
	lines := h["Set-Cookie"]
	delete(h, "Set-Cookie")
	for _, line := range lines {
		pair, _, _ := strings.Cut(line, ";")
		name, _, _ := strings.Cut(strings.TrimLeft(pair, " \t="), "=")
		if !ownCookie(strings.TrimSpace(name), session) {
			h["Set-Cookie"] = append(h["Set-Cookie"], line)
		}
	}
}
