package canon

import "strings"

// Glob is a compiled path pattern: "*" is one segment or a part of one, "**"
// any number of segments. It is case-sensitive, and a slash at the end of
// pattern or path makes no difference.
type Glob struct {
	text     string
	prefix   string   // text before a final "/**", or the whole literal text
	subtree  bool     // ends with "/**"
	segments []string // nil when the pattern has no other wildcard
	literal  string   // what every path that fits begins with
}

// NewGlob compiles a pattern that begins with a slash.
func NewGlob(pattern string) Glob {
	g := Glob{text: pattern}
	g.prefix, g.subtree = strings.CutSuffix(TrimSlash(pattern), "/**")
	g.literal = g.prefix
	if i := strings.IndexByte(g.prefix, '*'); i >= 0 {
		g.literal = TrimSlash(g.prefix[:i]) // "**" may be no segment at all
		g.segments = strings.Split(TrimSlash(pattern), "/")[1:]
	}
	return g
}

// String answers the pattern as it was written.
func (g Glob) String() string { return g.text }

// First answers the first segment of every path that fits; "" when they need
// not have the same one.
func (g *Glob) First() string {
	if segment := FirstSegment(TrimSlash(g.text)); !strings.Contains(segment, "*") {
		return segment
	}
	return ""
}

// FirstSegment answers the first segment of a path; "" when that is empty.
func FirstSegment(path string) string {
	if path == "" {
		return ""
	}
	segment, _, _ := strings.Cut(path[1:], "/")
	return segment
}

// Matches reports whether the pattern fits path, which has no slash at its end.
func (g *Glob) Matches(path string) bool {
	switch {
	case !strings.HasPrefix(path, g.literal):
		return false
	case g.segments != nil:
		return matchSegments(g.segments, strings.Split(path, "/")[1:])
	case g.subtree:
		return strings.HasPrefix(path, g.prefix) && (len(path) == len(g.prefix) || path[len(g.prefix)] == '/') ||
			g.prefix == ""
	}
	return path == g.prefix
}

// matchSegments matches segment by segment; "**" takes as many as it needs.
// Like matchPart it goes back to the latest wildcard alone, so its cost is at
// most the product of the lengths.
func matchSegments(pattern, path []string) bool {
	p, s, star, mark := 0, 0, -1, 0
	for s < len(path) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			star, mark = p, s
			p++
		case p < len(pattern) && matchPart(pattern[p], path[s]):
			p++
			s++
		case star >= 0:
			mark++
			p, s = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

// matchPart matches one segment; "*" is any run of bytes, and a lone "*" is
// not the empty segment.
func matchPart(pattern, s string) bool {
	if pattern == "*" {
		return s != ""
	}
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// TrimSlash drops one slash at the end of a path; the root becomes "".
func TrimSlash(p string) string { return strings.TrimSuffix(p, "/") }
