package claims

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Set is a decoded JSON object; numbers are json.Number, so that long ids
// keep their digits.
type Set map[string]any

// UnmarshalJSON decodes an object, and refuses one whose claim is called like
// one that decides, in other letters: Go's decoder, which reads the struct
// that go-oidc checks, would take one for the other.
func (c *Set) UnmarshalJSON(b []byte) error {
	decoder := json.NewDecoder(strings.NewReader(string(b)))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return err
	}
	for name := range object {
		for _, decides := range []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "email_verified"} {
			if name != decides && strings.EqualFold(name, decides) {
				return fmt.Errorf("a claim is called %q, which could be taken for %q", name, decides)
			}
		}
	}
	*c = object
	return nil
}

// at answers the claim at path, or nil. A claim whose own name is the path
// wins, and so does a longer name over a shorter one further in.
func (c Set) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	for end := strings.LastIndexByte(path, '.'); end > 0; end = strings.LastIndexByte(path[:end], '.') {
		if inner, ok := c[path[:end]].(map[string]any); ok {
			if v := Set(inner).at(path[end+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// Hold reports whether there is a claim at each path.
func (c Set) Hold(paths []string) bool {
	for _, path := range paths {
		if c.at(path) == nil {
			return false
		}
	}
	return true
}

// With answers c and, for what c does not tell, more. Whether the address is
// verified is what the document says that tells the address; a no in either
// counts.
func (c Set) With(more Set) Set {
	both := make(Set, len(c)+len(more))
	maps.Copy(both, more)
	maps.Copy(both, c)
	const flag = "email_verified"
	switch {
	case verified(c[flag]) == no || verified(more[flag]) == no:
		both[flag] = false
	case c["email"] != nil:
		both[flag] = c[flag]
	default:
		both[flag] = more[flag]
	}
	return both
}

// without answers c less the claim at path. A nested one takes the whole
// outer claim along: claims are shared and never changed.
func (c Set) without(path string) Set {
	if c.at(path) == nil {
		return c
	}
	rest := maps.Clone(c)
	maps.DeleteFunc(rest, func(name string, _ any) bool { return leads(name, path) })
	return rest
}

// kept answers the claims that an identity keeps.
func (c Set) kept(mapped []string) Set {
	rest := maps.Clone(c)
	maps.DeleteFunc(rest, func(name string, v any) bool { return v == nil || protocol(name) })
	size, total := make(map[string]int, len(rest)), 0
	for name, v := range rest {
		b, _ := json.Marshal(v) // it came from JSON
		size[name] = len(name) + len(b) + len(`"":,`)
		total += size[name]
	}
	// The largest first, and by name where sizes are equal, so that the same
	// claims always lose the same ones.
	names := slices.SortedFunc(maps.Keys(size), func(a, b string) int { return cmp.Or(size[b]-size[a], strings.Compare(a, b)) })
	for _, name := range names {
		if total > maxClaims && !slices.ContainsFunc(mapped, func(path string) bool { return leads(name, path) }) {
			delete(rest, name)
			total -= size[name]
		}
	}
	return rest
}

// leads reports whether the claim called name is at path or on the way to it.
func leads(name, path string) bool { return name == path || strings.HasPrefix(path, name+".") }

// protocol reports whether a claim is about the token rather than the person.
func protocol(name string) bool {
	switch name {
	case "nonce", "at_hash", "c_hash", "s_hash", "jti", "exp", "iat", "nbf", "rat", "_claim_names", "_claim_sources":
		return true
	}
	return false
}
