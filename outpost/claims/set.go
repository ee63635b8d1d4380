package claims

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"
	"time"
)

// At answers the claim at path, or nil. The path may lead into nested claims
// ("ext.email"); a claim whose own name is the path wins, and so does a longer
// name over a shorter one further in.
func (s Set) At(path string) any {
	if v, ok := s[path]; ok {
		return v
	}
	for end := strings.LastIndexByte(path, '.'); end > 0; end = strings.LastIndexByte(path[:end], '.') {
		inner, _ := s[path[:end]].(map[string]any)
		if v := Set(inner).At(path[end+1:]); v != nil {
			return v
		}
	}
	return nil
}

// With answers s and, for what s does not tell, more. Whether the address is
// verified is what the document says that tells the address; a no in either
// counts.
func (s Set) With(more Set) Set {
	both := make(Set, len(s)+len(more))
	maps.Copy(both, more)
	maps.Copy(both, s)
	const flag = "email_verified"
	switch {
	case refuted(s[flag]) || refuted(more[flag]):
		both[flag] = false
	case s["email"] != nil:
		both[flag] = s[flag]
	default:
		both[flag] = more[flag]
	}
	return both
}

// Subject answers "sub", or the first of the others that is there; "" without
// an error when none is. What is there must be a text.
func (s Set) Subject(otherwise ...string) (string, error) {
	subject, err := s.Text("sub")
	for _, name := range otherwise {
		if err == nil && subject == "" {
			subject, err = s.Text(name)
		}
	}
	return subject, err
}

// Text answers a claim that is a text; "" without an error when it is absent.
func (s Set) Text(name string) (string, error) {
	switch v := s[name].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return "", fmt.Errorf("%s is no text", name)
}

// Texts answers a claim that is a text or a list of texts (as "aud": RFC 7519,
// section 4.1.3); nothing without an error when it is absent.
func (s Set) Texts(name string) ([]string, error) {
	switch v := s[name].(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		texts := make([]string, 0, len(v))
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%s holds something that is no text", name)
			}
			texts = append(texts, text)
		}
		return texts, nil
	}
	return nil, fmt.Errorf("%s is neither a text nor a list", name)
}

// maxTime is the last second of the year 9999. A larger number is no time, or
// one in milliseconds, which would make a token live for ever.
const maxTime = 253402300799

// Time answers a NumericDate (RFC 7519, section 2), fractions included; the
// zero time without an error when it is absent.
func (s Set) Time(name string) (time.Time, error) {
	v := s[name]
	if v == nil {
		return time.Time{}, nil
	}
	number, ok := v.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("%s is no number", name)
	}
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > maxTime {
		return time.Time{}, fmt.Errorf("%s is no time in seconds", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

// Scopes answers the scopes of "scope" (RFC 9068, section 2.2.3) and of "scp",
// each a text with blanks or a list. What is no scope is left out, and what
// goes beyond 1,000.
func (s Set) Scopes() []string {
	var scopes []string
	seen := map[string]bool{}
	for _, name := range []string{"scope", "scp"} {
		texts, _ := s.Texts(name)
		for _, text := range texts {
			for scope := range strings.SplitSeq(text, " ") {
				if IsScope(scope) && !seen[scope] && len(scopes) < maxList {
					seen[scope] = true
					scopes = append(scopes, scope)
				}
			}
		}
	}
	return scopes
}

// IsScope reports whether s is a scope-token (RFC 6749, section 3.3) of at most
// 1 KiB.
func IsScope(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return s != "" && len(s) <= maxText
}
