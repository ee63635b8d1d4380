package signin

import (
	"net/url"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// maxReturn bounds a return URL in bytes; it is stored for a browser that
// nobody knows yet.
const maxReturn = 4 << 10

// target is where a sign-in leads: to an application, at one of its URLs.
type target struct {
	app *outpost.Application
	url string // absolute, made of the document but for path and query
}

// askedFor answers the rd of a raw query, decoded, and what stands before it.
// nginx cannot escape, so an rd that begins as a URL does is taken as it
// stands up to the query's end, "&" included: rd=/app?a=1&b=2.
func askedFor(query string) (rd, options string) {
	options, rd, found := strings.Cut("&"+query, "&rd=")
	options = strings.TrimPrefix(options, "&")
	if !found {
		return "", options
	}
	if asItStands(rd) {
		// "&rd=" before any "?" is no part of a URL: some ingresses append a
		// second rd to a start URL that has one.
		if i := strings.Index(rd, "&rd="); i >= 0 && !strings.Contains(rd[:i], "?") {
			rd = rd[:i]
		}
		return rd, options
	}
	rd, _, _ = strings.Cut(rd, "&")
	// A "+" is a plus: an escaped blank would not be a URL anyway.
	plain, err := url.PathUnescape(rd)
	if err != nil {
		return "", options
	}
	return plain, options
}

// asItStands reports whether rd is a URL that nobody escaped. With
// ingress-nginx an escaped path follows a plain scheme and host.
func asItStands(rd string) bool {
	if strings.HasPrefix(rd, "/") {
		return true
	}
	scheme, rest, ok := strings.Cut(rd, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return false
	}
	if i := strings.IndexAny(rest, "/?#\\&"); i >= 0 {
		rest = rest[:i]
	}
	return !strings.Contains(rest, "%")
}

// resolve answers the target that rd names: a path on host, or an absolute
// URL of any host that an application guards. It is false for everything that
// some browser could read as another site, and for our own endpoints, from
// which nobody would come back.
func resolve(apps *outpost.Applications, prefixes []string, host, rd string) (target, bool) {
	if len(rd) > maxReturn || !plainBytes(rd) {
		return target{}, false
	}
	uri, _, _ := strings.Cut(rd, "#") // a browser keeps the fragment to itself
	if !strings.HasPrefix(uri, "/") {
		var err error
		if _, host, uri, err = canon.SplitURL(uri); err != nil {
			return target{}, false
		}
	}
	path, query, err := canon.SplitURI(uri)
	if err != nil || misleading(path, prefixes) {
		return target{}, false
	}
	req := &outpost.Request{Host: host, Path: path, Query: query}
	app, err := apps.Find(req)
	if err != nil {
		return target{}, false
	}
	t := target{app, ascii(app.BackURL(req))}
	return t, len(t.url) <= maxReturn
}

// home is the target for everybody who named none: the external URL of the
// application that has the root of host, else the least of its paths.
func home(apps *outpost.Applications, host string) target {
	root, _ := canon.ReadPath("/") // the root is a path
	app, err := apps.Find(&outpost.Request{Host: host, Path: root})
	if err != nil {
		on := apps.OnHost(host)
		app = on[len(on)-1] // host is guarded, so there is one
	}
	return target{app, app.External.URL()}
}

// target answers where the visitor wants to go.
func (v *visit) target(rd string) target {
	if t, ok := resolve(v.apps, v.Prefixes, v.host, rd); ok {
		return t
	}
	return home(v.apps, v.host)
}

// plainBytes reports whether s has only bytes that all browsers read alike:
// some drop tabs and newlines, some take "\" for "/", some trim blanks.
func plainBytes(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	return true
}

// misleading reports whether, in any reading, a path could be taken for
// another host's URL or is one of our own.
func misleading(p canon.Path, prefixes []string) bool {
	for i := range p.Len() {
		path := p.Reading(i)
		if strings.HasPrefix(path, "//") || strings.HasPrefix(path, `/\`) {
			return true
		}
		for _, prefix := range prefixes {
			if path == prefix || strings.HasPrefix(path, prefix+"/") {
				return true
			}
		}
	}
	return false
}

// ascii escapes what a header must not hold.
func ascii(u string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(u))
	for i := 0; i < len(u); i++ {
		if c := u[i]; c < 0x80 {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

func escape(u string) string { return url.QueryEscape(u) }
