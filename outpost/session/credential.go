package session

import (
	"context"
	"errors"

	"github.com/akprox/akprox/outpost"
)

// Credential answers the kind that reads a session cookie for sign-ins at one
// provider: those of another provider, or of the same one when it was another
// issuer or another client of it, are not its own. issuer is nil where people
// have a password. A cookie that is unknown, malformed or expired is "not mine".
func (s *Sessions) Credential(provider string, issuer outpost.Issuer, cookie outpost.CookieReach, life outpost.Lifetimes) outpost.Credential {
	return &credential{sessions: s, way: wayOf(provider, issuer), cookie: cookie.Name, life: life}
}

type credential struct {
	sessions *Sessions
	way      way
	cookie   string
	life     outpost.Lifetimes
}

// way is how the people of a session have signed in, as the document has it
// now.
type way struct {
	provider, party string
	issuer          outpost.Issuer  // nil: with a password
	renewer         outpost.Renewer // nil: it renews nothing
}

// named is an optional power of an Issuer: it says who it is, and who we are
// there.
type named interface {
	IssuerURL() string
	ClientID() string
}

func wayOf(provider string, issuer outpost.Issuer) way {
	w := way{provider: provider, issuer: issuer}
	w.renewer, _ = issuer.(outpost.Renewer)
	if n, ok := issuer.(named); ok {
		w.party = party(n.IssuerURL(), n.ClientID())
	}
	return w
}

// admits reports whether rec is of a sign-in this way.
func (w way) admits(rec *Record) bool {
	return rec.Identity.Provider == w.provider && rec.Party == w.party
}

// Identify implements outpost.Credential.
func (c *credential) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	found := cookieValues(r.Header, c.cookie)
	for value, ok := found.next(); ok; value, ok = found.next() {
		e, now, err := c.sessions.find(ctx, c.cookie, value, c.life)
		switch {
		case errors.Is(err, outpost.ErrNoCredential):
		case err != nil:
			return nil, err
		case c.way.admits(e.record):
			if c.way.renewer != nil && e.due(now, c.life.Refresh) {
				c.sessions.renew(c.way, e, c.life, now)
			}
			return e.record.Identity, nil
		}
	}
	return nil, outpost.ErrNoCredential
}
