package knock

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/akprox/akprox/outpost/canon"
)

// Exclusion answers the usual form of an excluded path, or why it is none: it
// has to be a path that every server reads alike, and not all paths.
func Exclusion(path string) (string, error) {
	path = strings.TrimRight(path, "/")
	p, err := canon.ReadPath(path)
	if path == "" {
		return "", errors.New("would open every path; leave it out, or guard nothing")
	}
	if plain, ok := p.Plain(); err != nil || !ok || plain != path {
		return "", errors.New("has to begin with / and to be without dot segments, escapes, //, ; and the like")
	}
	return path, nil
}

// exclusions answers both lists in their usual form.
func exclusions(everywhere []string, byHost map[string][]string) ([]string, map[string][]string, error) {
	var problems []error
	read := func(at string, list []string) (all []string) {
		for i, path := range list {
			p, err := Exclusion(path)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s[%d]: %q %w", at, i, path, err))
			}
			all = append(all, p)
		}
		return all
	}
	everywhere = read("excluded_paths", everywhere)
	hosts := map[string][]string{}
	for host, list := range byHost {
		name := host
		if host != "*" {
			if name = hostName(host); name == "" {
				problems = append(problems, fmt.Errorf("excluded_paths_by_host: %q is no host", host))
			}
		}
		hosts[name] = append(hosts[name], read("excluded_paths_by_host."+host, list)...)
	}
	return everywhere, hosts, errors.Join(problems...)
}

// hostName answers a host's canonical name without its port, or "".
func hostName(host string) string {
	host, err := canon.Host("https", host)
	if err != nil {
		return ""
	}
	return canon.HostName(host)
}

// excluded reports whether what the trusted peer tells of is excluded.
func (h *Handler) excluded(header http.Header) bool {
	uri, host := header["X-Forwarded-Uri"], header["X-Forwarded-Host"]
	if len(uri) != 1 {
		return false
	}
	path, _, err := canon.SplitURI(uri[0])
	if err != nil {
		return false
	}
	if anyHolds(h.o.Excluded, path) {
		return true
	}
	if len(host) != 1 {
		return false
	}
	name := hostName(host[0])
	return name != "" && (anyHolds(h.o.ExcludedByHost[name], path) || anyHolds(h.o.ExcludedByHost["*"], path))
}

// anyHolds reports whether one of the excluded paths holds every reading of p.
func anyHolds(excluded []string, p canon.Path) bool {
	for _, e := range excluded {
		if holds(e, p) {
			return true
		}
	}
	return false
}

// holds reports whether every way in which some server reads p is at or under
// the excluded path.
func holds(excluded string, p canon.Path) bool {
	for i := range p.Len() {
		rest, ok := strings.CutPrefix(p.Reading(i), excluded)
		if !ok || rest != "" && rest[0] != '/' {
			return false
		}
	}
	return p.Known()
}
