package reverse

import (
	"errors"
	"net/url"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

var (
	errNoUpstream = errors.New("the application has no upstream")
	errNoPath     = errors.New("the request's path is not known")
	errClimbs     = errors.New(`the path climbs above the upstream's own by ".."`)
)

// target answers the upstream's URL of req. The path and the query are the
// ones that were judged, in the bytes they came in: what was judged and what
// is served cannot differ.
func target(upstream *url.URL, req *outpost.Request, bareQuery bool) (*url.URL, error) {
	if upstream == nil {
		return nil, errNoUpstream
	}
	if !req.Path.Known() {
		return nil, errNoPath
	}
	base := strings.TrimRight(upstream.EscapedPath(), "/")
	if base != "" && climbs(req.Path) {
		return nil, errClimbs
	}
	u := &url.URL{Scheme: upstream.Scheme, Host: upstream.Host, RawQuery: req.Query, ForceQuery: bareQuery}
	path := base + req.Path.Raw()
	if !strings.HasPrefix(path, "//") {
		u.Opaque = path // the one field that net/url writes as it is
		return u, nil
	}
	// An opaque "//…" would be written as an absolute URL. Like this, net/url
	// escapes the bytes that no URL may hold.
	var err error
	u.RawPath = path
	u.Path, err = url.PathUnescape(path)
	return u, err
}

// climbs reports whether a path leaves the folder that it is put into, in any
// reading. A path that all servers read alike has no dot segments.
func climbs(p canon.Path) bool {
	if _, plain := p.Plain(); plain {
		return false
	}
	for i := range p.Len() {
		depth := 0
		for segment := range strings.SplitSeq(p.Reading(i), "/") {
			switch segment {
			case "", ".":
			case "..":
				depth--
			default:
				depth++
			}
			if depth < 0 {
				return true
			}
		}
	}
	return false
}
