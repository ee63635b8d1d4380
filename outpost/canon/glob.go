package canon

import (
	"slices"
	"strings"
)

// Glob is a compiled path pattern: "*" is one segment or a part of one, "**"
// any number of segments. It is case-sensitive, and a slash at the end of
// pattern or path makes no difference.
type Glob struct {
	head, tail string   // the segments before the first that has a wildcard, and those after the last
	wild       []string // those between; empty when all are in head
	holds      string   // what every path that fits has somewhere
	text       string
}

// NewGlob compiles a pattern that begins with a slash. All that it keeps lies
// in the pattern's own bytes: where many are looked at, memory is what takes
// the time.
func NewGlob(pattern string) Glob {
	trimmed := TrimSlash(pattern)
	segments := strings.Split(trimmed, "/")
	first := slices.IndexFunc(segments, hasWildcard)
	if first < 0 {
		return Glob{head: trimmed, text: pattern}
	}
	g := Glob{text: pattern}
	at := 0 // of the segment, its slash included
	for i, segment := range segments {
		end := at + len(segment)
		if i > 0 {
			end++
		}
		switch {
		case i < first:
			g.head = trimmed[:end]
		case hasWildcard(segment):
			g.wild, g.tail = segments[first:i+1], trimmed[end:]
		}
		at = end
	}
	if g.holds = g.tail; g.holds == "" {
		g.holds = longest(trimmed[len(g.head):])
	}
	return g
}

// longest answers the longest text of a pattern's part that stands in every
// path that fits.
func longest(pattern string) (text string) {
	for pattern != "" {
		segment, rest := cutSegment(pattern)
		pieces := strings.Split(segment, "*")
		if len(pieces) == 1 {
			pieces[0] = pattern[:1+len(segment)] // with its slash
		}
		for _, piece := range pieces {
			if len(piece) > len(text) {
				text = piece
			}
		}
		pattern = rest
	}
	return text
}

func hasWildcard(segment string) bool { return strings.Contains(segment, "*") }

// String answers the pattern as it was written.
func (g Glob) String() string { return g.text }

// First answers the first segment of every path that fits; "" when they need
// not have the same one.
func (g *Glob) First() string {
	if segment := FirstSegment(TrimSlash(g.text)); !hasWildcard(segment) {
		return segment
	}
	return ""
}

// Holds answers a text that every path that fits has in it, beside what First
// tells; "" when there is none.
func (g *Glob) Holds() string { return g.holds }

// FirstSegment answers the first segment of a path; "" when that is empty.
func FirstSegment(path string) string {
	if path == "" {
		return ""
	}
	segment, _, _ := strings.Cut(path[1:], "/")
	return segment
}

// Matches reports whether the pattern fits path, which has no slash at its end.
// It allocates nothing, and whoever writes the path can make it cost no more
// than the length of the path for each segment of the pattern.
func (g *Glob) Matches(path string) bool {
	if !strings.HasPrefix(path, g.head) {
		return false
	}
	rest := path[len(g.head):]
	if len(g.wild) == 0 {
		return rest == ""
	}
	if !strings.HasSuffix(rest, g.tail) {
		return false
	}
	rest = rest[:len(rest)-len(g.tail)]
	return (rest == "" || rest[0] == '/') && matchSegments(g.wild, rest)
}

// matchSegments matches segment by segment; "**" takes as many as it needs. It
// goes back to the latest "**" alone: what an earlier one could take besides,
// that one can take.
func matchSegments(pattern []string, path string) bool {
	var after []string // the latest "**"
	mark, again := "", false
	for path != "" {
		segment, rest := cutSegment(path)
		switch {
		case len(pattern) > 0 && pattern[0] == "**":
			if pattern = pattern[1:]; len(pattern) == 0 {
				return true
			}
			after, mark, again = pattern, path, true
		case len(pattern) > 0 && matchPart(pattern[0], segment):
			pattern, path = pattern[1:], rest
		case again:
			_, mark = cutSegment(mark)
			pattern, path = after, mark
		default:
			return false
		}
	}
	for len(pattern) > 0 && pattern[0] == "**" {
		pattern = pattern[1:]
	}
	return len(pattern) == 0
}

// cutSegment answers the first segment of a path that is not empty, and what
// follows it.
func cutSegment(path string) (segment, rest string) {
	if i := strings.IndexByte(path[1:], '/'); i >= 0 {
		return path[1 : 1+i], path[1+i:]
	}
	return path[1:], ""
}

// matchPart matches one segment; "*" is any run of bytes, and a lone "*" is
// not the empty segment. What stands between two of them is taken where it is
// found first, which leaves most to what follows.
func matchPart(pattern, s string) bool {
	if pattern == "*" {
		return s != ""
	}
	piece, more, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == s
	}
	if !strings.HasPrefix(s, piece) {
		return false
	}
	for s = s[len(piece):]; ; {
		if piece, more, wild = strings.Cut(more, "*"); !wild {
			return strings.HasSuffix(s, piece)
		}
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
}

// TrimSlash drops one slash at the end of a path; the root becomes "".
func TrimSlash(p string) string { return strings.TrimSuffix(p, "/") }
