package claims

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/akprox/akprox/outpost"
)

// Bounds of an identity.
const (
	maxText   = 1 << 10 // bytes of a name of any kind
	maxGroups = 1000
	maxClaims = 32 << 10 // bytes of all claims as JSON
)

// Mapping tells which claim tells what. A name may be a path into nested
// claims ("realm_access.roles"); a claim whose own name holds the dots wins.
type Mapping struct {
	Username string // "" means preferred_username
	Email    string // "" means email
	Name     string // "" means name
	Groups   string // "" means groups
}

// Filled answers the mapping with its defaults filled in.
func (m Mapping) Filled() Mapping {
	return Mapping{
		Username: cmp.Or(m.Username, "preferred_username"),
		Email:    cmp.Or(m.Email, "email"),
		Name:     cmp.Or(m.Name, "name"),
		Groups:   cmp.Or(m.Groups, "groups"),
	}
}

// Paths lists the mapped claims.
func (m Mapping) Paths() []string { return []string{m.Username, m.Email, m.Name, m.Groups} }

// Identity makes an identity of verified claims, for which provider vouches:
//
//   - Subject is "sub". It must be there, and clean text.
//   - Username is the mapped claim. Where that is absent: preferred_username
//     falls back to an e-mail address that the issuer says it verified, then
//     to sub. Any other mapped claim falls back to sub alone, because a person
//     may choose their preferred_username, and must not get a name that way
//     which the operator wanted from elsewhere. A username that is mapped to
//     the e-mail address is held to the rules of one. A username that is not
//     clean text is an error.
//   - Email is the mapped claim when it has exactly one @ and email_verified
//     does not speak against it; otherwise there is none, among the claims
//     neither.
//   - Groups is the mapped claim: a list of texts, or one text, which is one
//     group whatever it holds. What is not clean text is left out, and what
//     goes beyond 1,000.
//   - Claims is everything that was told but the protocol's own. When it is
//     more than 32 KiB, the largest claims that are not mapped are left out.
//
// The error says in words what is wrong with which claim.
func (m Mapping) Identity(provider string, told Set) (*outpost.Identity, error) {
	m = m.Filled()
	subject := text(told["sub"])
	if subject == "" || !fit(subject) {
		return nil, errors.New("bad identity: sub is empty, too long or has blanks at its ends or control characters")
	}
	username := m.username(told, subject)
	if !fit(username) {
		return nil, fmt.Errorf("bad identity: the username (claim %s) is too long or has blanks at its ends or control characters", m.Username)
	}
	id := &outpost.Identity{
		Subject: subject, Username: username, Provider: provider,
		Email: address(told, m.Email), Groups: groups(told.at(m.Groups)),
	}
	if name := text(told.at(m.Name)); fit(name) {
		id.Name = name
	}
	if id.Email == "" {
		told = told.without(m.Email)
	}
	id.Claims = told.kept(m.Paths())
	return id, nil
}

// username answers the user name, as told at Identity.
func (m Mapping) username(told Set, subject string) string {
	name := text(told.at(m.Username))
	switch {
	case m.Username == "email" || m.Username == m.Email:
		name = address(told, m.Username)
	case name == "" && m.Username == "preferred_username" && verified(told["email_verified"]) == yes:
		name = address(told, "email")
	}
	return cmp.Or(name, subject)
}

// address answers the e-mail address at path, or "" when it is none or is
// refused. Only the standard claim has a flag beside it.
func address(told Set, path string) string {
	s := text(told.at(path))
	local, domain, found := strings.Cut(s, "@")
	switch {
	case !found, local == "", domain == "", len(s) > 320, !fit(s),
		strings.ContainsAny(domain, "@"), strings.ContainsAny(s, " ,;<>|"),
		path == "email" && verified(told["email_verified"]) == no:
		return ""
	}
	return s
}

type answer int

const (
	silent answer = iota
	yes
	no
)

// verified reads email_verified. Some issuers write the words; what is neither
// yes nor silence is no.
func verified(v any) answer {
	switch v {
	case nil:
		return silent
	case true, "true":
		return yes
	}
	return no
}

// groups reads a groups claim.
func groups(v any) []string {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var names []string
	for _, e := range list {
		if name := text(e); name != "" && fit(name) && len(names) < maxGroups {
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
