package canon

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// maxReadings bounds how many ways of reading one path are judged. Honest
// paths have one; a path with more than this many is an attack on somebody.
const maxReadings = 64

// maxOddPath bounds, in bytes, a path that servers read differently: judging
// all its readings costs a multiple of its length.
const maxOddPath = 4 << 10

// Path is a request's path in every reading that some server gives it. The
// zero value is unknown: no condition on paths can be judged.
type Path struct {
	raw   string
	first string
	more  []string // nil for a path that all servers read alike
}

// Known reports whether the proxy told the path.
func (p Path) Known() bool { return p.raw != "" }

// Raw answers the path as it was sent, still escaped; "" when unknown.
func (p Path) Raw() string { return p.raw }

// Plain answers the one reading of a path that all servers read alike.
func (p Path) Plain() (string, bool) { return p.first, p.Known() && p.more == nil }

// Len answers the number of readings; 0 when the path is unknown.
func (p Path) Len() int {
	if !p.Known() {
		return 0
	}
	return 1 + len(p.more)
}

// Reading answers the i-th reading.
func (p Path) Reading(i int) string {
	if i == 0 {
		return p.first
	}
	return p.more[i-1]
}

// ReadPath answers the readings of an escaped path that begins with a slash.
// A literal "#", a NUL, control or non-UTF-8 byte, decoded or not, and a bad
// escape are Refused.
func ReadPath(raw string) (Path, error) {
	if raw == "" || raw[0] != '/' {
		return Path{}, refuse(BadURI, "path without its slash")
	}
	if strings.Contains(raw, " ") { // HTTP/2 can carry one; in HTTP/1 it would end the target
		return Path{}, refuse(BadURI, "literal space")
	}
	escaped, err := inspect(raw)
	if err != nil {
		return Path{}, err
	}
	decoded := raw
	if escaped {
		var ok bool
		if decoded, ok = decode(raw); !ok {
			return Path{}, refuse(BadURI, "bad escape")
		}
		if _, err := inspect(decoded); err != nil && !strings.Contains(decoded, "#") {
			return Path{}, err
		}
	}
	if strings.Count(raw, "/") == strings.Count(decoded, "/") && readAlike(decoded) {
		return Path{raw: raw, first: decoded}, nil
	}
	return readings(raw)
}

// inspect refuses the bytes that no reading may hold and tells whether there
// are escapes.
func inspect(s string) (escaped bool, err error) {
	high := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c == 0x7f:
			return false, refuse(BadURI, "control character")
		case c == '#':
			return false, refuse(BadURI, "literal #")
		case c == '%':
			escaped = true
		case c >= 0x80:
			high = true
		}
	}
	if high && !utf8.ValidString(s) {
		return false, refuse(BadURI, "not UTF-8")
	}
	return escaped, nil
}

// readAlike reports whether every server takes a decoded path to mean the
// same: no byte that some of them split, cut or decode at, no empty and no
// dot segment.
func readAlike(p string) bool {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\', ';', '?', '#', '%':
			return false
		case '/':
			rest := p[i+1:]
			if strings.HasPrefix(rest, "/") || dotSegment(rest) {
				return false
			}
		}
	}
	return true
}

// dotSegment reports whether s begins with a segment "." or "..".
func dotSegment(s string) bool {
	s, _, _ = strings.Cut(s, "/")
	return s == "." || s == ".."
}

// reading is a path under way through the steps, and how often it was decoded.
type reading struct {
	path  string
	depth int
}

// readings closes raw under every step that some server takes, in any order:
// decoding (at most twice), merging slashes, dropping ;parameters, "\" as "/",
// cutting at "#" and "?", resolving dot segments.
func readings(raw string) (Path, error) {
	if len(raw) > maxOddPath {
		return Path{}, refuse(Oversized, "path with many readings")
	}
	all := []reading{{path: raw}}
	for i := 0; i < len(all); i++ {
		r := all[i]
		next := []reading{
			{mergeSlashes(r.path), r.depth},
			{dropParameters(r.path), r.depth},
			{strings.ReplaceAll(r.path, `\`, "/"), r.depth},
			{cut(r.path), r.depth},
			{resolveDots(r.path), r.depth},
		}
		if d, ok := decode(r.path); ok && r.depth < 2 {
			next = append(next, reading{d, r.depth + 1})
		}
		for _, n := range next {
			if !slices.Contains(all, n) {
				all = append(all, n)
			}
		}
		if len(all) > 3*maxReadings {
			return Path{}, refuse(TooManyReadings, "")
		}
	}
	return distinct(raw, all)
}

func distinct(raw string, all []reading) (Path, error) {
	p := Path{raw: raw, first: raw}
	for _, r := range all[1:] {
		if _, err := inspect(strings.ReplaceAll(r.path, "#", "")); err != nil {
			return Path{}, err
		}
		if r.path != raw && !slices.Contains(p.more, r.path) {
			p.more = append(p.more, r.path)
		}
	}
	if len(p.more) >= maxReadings {
		return Path{}, refuse(TooManyReadings, "")
	}
	return p, nil
}

// decode undoes one level of percent-encoding; false when an escape is bad.
func decode(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi > 15 || lo > 15 {
			return "", false
		}
		b = append(b, hi<<4|lo)
		i += 2
	}
	return string(b), true
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func mergeSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// dropParameters removes ";…" from every segment, as servlet containers do.
func dropParameters(p string) string {
	if !strings.Contains(p, ";") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// cut ends the path where a server that decodes first sees a fragment or a
// query.
func cut(p string) string {
	if i := strings.IndexAny(p, "#?"); i > 0 {
		return p[:i]
	}
	return p
}

// resolveDots removes dot segments (RFC 3986 5.2.4); ".." at the root stays
// at the root.
func resolveDots(p string) string {
	if !strings.Contains(p, "/.") {
		return p
	}
	var out []string
	segments := strings.Split(p, "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
		case ".":
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	if len(out) == 1 {
		return "/"
	}
	return strings.Join(out, "/")
}
