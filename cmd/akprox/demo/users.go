package demo

import (
	"crypto/subtle"
	"net/url"
	"strings"
)

// User is somebody who can sign in. The password is shown on the page.
type User struct {
	Username, Name, Email, Password string
	Groups                          []string
}

// Users answers the two people of the demo: alice of the groups admin and
// staff, and bob of staff.
func Users() []User {
	return []User{
		{Username: "alice", Name: "Alice Adams", Email: "alice@example.com", Password: "wonderland", Groups: []string{"admin", "staff"}},
		{Username: "bob", Name: "Bob Brown", Email: "bob@example.com", Password: "builder", Groups: []string{"staff"}},
	}
}

// Client is the one program that may ask the issuer: akprox.
type Client struct {
	ID, Secret string
	// Redirects are the addresses a browser may be sent back to after
	// sign-in and after sign-out: scheme, host and port must be the same, and
	// the path must be at or under the address's.
	Redirects []string
}

// mayReturn reports whether the browser may be sent to target.
func (c Client) mayReturn(target string) bool {
	u, err := url.Parse(target)
	if err != nil || u.User != nil || u.Fragment != "" || strings.ContainsAny(target, "\\#") {
		return false
	}
	for _, s := range c.Redirects {
		allowed, err := url.Parse(s)
		if err != nil || u.Scheme != allowed.Scheme || u.Host != allowed.Host {
			continue
		}
		base := strings.TrimSuffix(allowed.Path, "/")
		rest, under := strings.CutPrefix(u.Path, base)
		if under && (rest == "" || rest[0] == '/') && !strings.Contains(rest, "/.") {
			return true
		}
	}
	return false
}

// is reports whether id and secret are this client's, in the same time for
// every guess.
func (c Client) is(id, secret string) bool { return same(id, c.ID) && same(secret, c.Secret) }

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
