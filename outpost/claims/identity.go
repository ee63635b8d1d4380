package claims

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost"
)

// Bounds of an identity.
const (
	maxText = 1 << 10  // bytes of a name of any kind
	maxList = 1000     // groups, and scopes
	maxKept = 32 << 10 // bytes of all claims as JSON
)

// Mapping tells which claim tells what. A name may be a path into nested
// claims ("realm_access.roles"); a claim whose own name holds the dots wins.
type Mapping struct {
	Username string // what that is by default, the kind says
	Email    string // "" means email
	Name     string // "" means name
	Groups   string // "" means groups
}

// Policy is in what the kinds that read claims differ.
type Policy struct {
	// VerifiedAddress lets an e-mail address that its issuer says it verified
	// stand in for an absent preferred_username. For any other mapped claim
	// nothing but the subject does: a person may choose their
	// preferred_username, and must not get a name that way which the operator
	// wanted from elsewhere.
	VerifiedAddress bool
	// PlainUsername lets the claim that is mapped to both Username and Email
	// hold a user name without an @, which is then no e-mail address.
	PlainUsername bool
}

// Filled answers the mapping with its defaults filled in.
func (m Mapping) Filled(username string) Mapping {
	return Mapping{cmp.Or(m.Username, username), cmp.Or(m.Email, "email"), cmp.Or(m.Name, "name"), cmp.Or(m.Groups, "groups")}
}

func (m Mapping) paths() []string { return []string{m.Username, m.Email, m.Name, m.Groups} }

// Complete reports whether told has every mapped claim.
func (m Mapping) Complete(told Set) bool {
	return !slices.ContainsFunc(m.paths(), func(path string) bool { return told.At(path) == nil })
}

// Identity makes an identity of what was told of subject, for which provider
// vouches. The mapping is a Filled one.
//
//   - The subject must be there; it and the username must be clean text
//     (outpost.CleanText) of at most 1 KiB: otherwise an error.
//   - Username is the mapped claim, and where that is absent the subject, as
//     far as the policy says nothing else. It is held to the rules of Email
//     when it is an email claim, or the one that is mapped to Email.
//   - Email is the mapped claim when it has exactly one @ and an
//     email_verified beside it does not speak against it; otherwise there is
//     none, among the claims neither.
//   - Groups is the mapped claim: a list of texts, or one text, which is one
//     group whatever it holds. What is not clean text is left out, and what
//     goes beyond 1,000.
//   - Scopes is what Set.Scopes answers.
//   - Claims is everything that was told but what is about the token itself.
//     When it is more than 32 KiB, the largest claims that are not mapped are
//     left out.
func (m Mapping) Identity(provider, subject string, told Set, p Policy) (*outpost.Identity, error) {
	if subject == "" || !fit(subject) {
		return nil, errors.New("the subject is absent, too long or not clean text")
	}
	username := m.username(told, p)
	if !fit(username) {
		return nil, fmt.Errorf("the username (claim %s) is too long or not clean text", m.Username)
	}
	id := &outpost.Identity{
		Subject: subject, Username: cmp.Or(username, subject), Email: told.address(m.Email), Provider: provider,
		Groups: groups(told.At(m.Groups)), Scopes: told.Scopes(),
	}
	if name := text(told.At(m.Name)); fit(name) {
		id.Name = name
	}
	id.Claims = m.kept(told, id.Email == "" && told.At(m.Email) != nil)
	return id, nil
}

// username answers the user name, or "" where the subject is to stand in.
func (m Mapping) username(told Set, p Policy) string {
	name := text(told.At(m.Username))
	_, email := strings.CutSuffix("."+m.Username, ".email")
	switch {
	case email, m.Username == m.Email && (!p.PlainUsername || strings.Contains(name, "@")):
		return told.address(m.Username)
	case name == "" && p.VerifiedAddress && m.Username == "preferred_username" && affirmed(told["email_verified"]):
		return told.address("email")
	}
	return name
}

// kept answers the claims that an identity keeps. Of an address that was
// refused no header may be made either; a nested one takes the whole outer
// claim along: claims are shared and never changed.
func (m Mapping) kept(told Set, refused bool) Set {
	kept := maps.Clone(told)
	maps.DeleteFunc(kept, func(name string, v any) bool {
		return v == nil || protocol(name) || refused && leads(name, m.Email)
	})
	size, total := make(map[string]int, len(kept)), 0
	for name, v := range kept {
		b, _ := json.Marshal(v) // it came from JSON
		size[name] = len(name) + len(b) + len(`"":,`)
		total += size[name]
	}
	if total <= maxKept {
		return kept
	}
	// The largest first, and by name where sizes are equal, so that the same
	// claims always lose the same ones.
	names := slices.SortedFunc(maps.Keys(size), func(a, b string) int { return cmp.Or(size[b]-size[a], strings.Compare(a, b)) })
	for _, name := range names {
		if total > maxKept && !slices.ContainsFunc(m.paths(), func(path string) bool { return leads(name, path) }) {
			delete(kept, name)
			total -= size[name]
		}
	}
	return kept
}

// leads reports whether the claim called name is at path or on the way to it.
func leads(name, path string) bool { return name == path || strings.HasPrefix(path, name+".") }

// protocol reports whether a claim is about the token rather than the person.
func protocol(name string) bool {
	switch name {
	case "nonce", "at_hash", "c_hash", "s_hash", "jti", "exp", "iat", "nbf", "rat", "token_type", "token_use",
		"_claim_names", "_claim_sources":
		return true
	}
	return false
}

// address answers the e-mail address at path, or "" when it is none or its
// issuer says that nobody verified it.
func (s Set) address(path string) string {
	address := text(s.At(path))
	local, domain, found := strings.Cut(address, "@")
	switch {
	case !found, local == "", domain == "", strings.Contains(domain, "@"),
		len(address) > 320, !fit(address), strings.ContainsAny(address, " ,;<>|"):
		return ""
	}
	if beside, standard := strings.CutSuffix(path, "email"); standard && refuted(s.At(beside+"email_verified")) {
		return ""
	}
	return address
}

// affirmed reads an email_verified; some issuers write the word.
func affirmed(v any) bool { return v == true || v == "true" }

// refuted reads an email_verified: what is neither yes nor silence is no.
func refuted(v any) bool { return v != nil && !affirmed(v) }

// groups reads a groups claim.
func groups(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var names []string
	for _, e := range list {
		if name := text(e); name != "" && fit(name) && len(names) < maxList {
			names = append(names, name)
		}
	}
	return names
}

// text answers a claim that is a text or a number, else "".
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func fit(s string) bool { return len(s) <= maxText && outpost.CleanText(s) }
