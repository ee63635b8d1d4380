// Package returnurl judges where a sign-in leads: the URL that a browser says
// it came from. Nobody is ever sent to a site that no application guards, as
// any browser would read the URL, nor to an endpoint of ours.
package returnurl

import (
	"net/url"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// Max bounds a return URL in bytes; it is stored for a browser that nobody
// knows yet.
const Max = 4 << 10

// Target is where a sign-in leads: to an application, at one of its URLs.
type Target struct {
	App *outpost.Application
	URL string // absolute, made of the document but for path and query
}

// Host answers the host that a browser shows at the end.
func (t Target) Host() string {
	_, host, _, err := canon.SplitURL(t.URL)
	if err != nil {
		return t.App.External.Host
	}
	return host
}

// Asked answers the return URL of a raw query, decoded, and what stands before
// it; name is what its parameter is called. nginx cannot escape, so one that
// begins as a URL does is taken as it stands up to the query's end, "&"
// included: rd=/app?a=1&b=2.
func Asked(query, name string) (rd, options string) {
	options, rd, found := strings.Cut("&"+query, "&"+name+"=")
	options = strings.TrimPrefix(options, "&")
	if !found {
		return "", options
	}
	if asItStands(rd) {
		// "&rd=" before any "?" is no part of a URL: some ingresses append a
		// second rd to a start URL that has one.
		if i := strings.Index(rd, "&"+name+"="); i >= 0 && !strings.Contains(rd[:i], "?") {
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

// Resolve answers the target that rd names: a path on host, or an absolute
// URL of any host that an application guards. It is false for everything that
// some browser could read as another site, and for the paths at and under own,
// our endpoints, from which nobody would come back.
func Resolve(apps *outpost.Applications, own []string, host, rd string) (Target, bool) {
	if len(rd) > Max || !plainBytes(rd) {
		return Target{}, false
	}
	uri, _, _ := strings.Cut(rd, "#") // a browser keeps the fragment to itself
	if !strings.HasPrefix(uri, "/") {
		var err error
		if _, host, uri, err = canon.SplitURL(uri); err != nil {
			return Target{}, false
		}
	}
	path, query, err := canon.SplitURI(uri)
	if err != nil || misleading(path, own) {
		return Target{}, false
	}
	req := &outpost.Request{Host: host, Path: path, Query: query}
	app, err := apps.Find(req)
	if err != nil {
		return Target{}, false
	}
	t := Target{app, ascii(app.BackURL(req))}
	return t, len(t.URL) <= Max
}

// Home is the target for everybody who named none: the external URL of the
// application that has the root of host, else the least of its paths.
func Home(apps *outpost.Applications, host string) Target {
	root, _ := canon.ReadPath("/") // the root is a path
	app, err := apps.Find(&outpost.Request{Host: host, Path: root})
	if err != nil {
		on := apps.OnHost(host)
		app = on[len(on)-1] // host is guarded, so there is one
	}
	return Target{app, app.External.URL()}
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
func misleading(p canon.Path, own []string) bool {
	for i := range p.Len() {
		path := p.Reading(i)
		if strings.HasPrefix(path, "//") || strings.HasPrefix(path, `/\`) {
			return true
		}
		for _, o := range own {
			if path == o || strings.HasPrefix(path, o+"/") {
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
