package session

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// Record is what is kept of one sign-in. The last four fields came later than
// the others: a record without them is read as what it was.
type Record struct {
	Identity *outpost.Identity `json:"identity"`
	Cookie   string            `json:"cookie"`        // name of the cookie it belongs to
	SID      string            `json:"sid,omitempty"` // the issuer's session id
	Created  time.Time         `json:"created"`

	Party   string    `json:"party,omitempty"`   // which issuer vouched, to which client; "" for a password
	Refresh string    `json:"refresh,omitempty"` // refresh token; "" for a session that is not renewed
	Renewed time.Time `json:"renewed,omitzero"`  // when the issuer last vouched, of a session that is renewed
	Until   time.Time `json:"until,omitzero"`    // when its access token ends; zero when not told
}

// maxRefresh bounds a refresh token in bytes; a session with a longer one is
// not renewed.
const maxRefresh = 8 << 10

// encode answers the record as it is stored. One that is too large goes without
// its ID token, which is a hint at sign-out and no more.
func (r *Record) encode() ([]byte, error) {
	value, err := json.Marshal(r)
	if err == nil && len(value) > store.MaxValue && r.Identity.IDToken != "" {
		without := *r
		without.Identity = noToken(r.Identity)
		value, err = json.Marshal(without)
	}
	if err != nil {
		return nil, fmt.Errorf("session record: %w", err)
	}
	return value, nil
}

func noToken(id *outpost.Identity) *outpost.Identity {
	return &outpost.Identity{
		Subject: id.Subject, Username: id.Username, Email: id.Email, Name: id.Name,
		Groups: id.Groups, Scopes: id.Scopes, Claims: id.Claims, Provider: id.Provider,
	}
}

// decode answers nil for a record that is not one of ours.
func decode(value []byte) *Record {
	var rec Record
	if err := json.Unmarshal(value, &rec); err != nil || rec.Identity == nil || rec.Cookie == "" {
		return nil
	}
	if rec.Party == "" {
		rec.Party = claimedParty(rec.Identity.Claims)
	}
	return &rec
}

// claimedParty answers the party of a record that was written before records
// named it: its claims are those of a verified ID token.
func claimedParty(claims map[string]any) string {
	issuer, _ := claims["iss"].(string)
	client, _ := claims["azp"].(string) // with several audiences it was required
	switch aud := claims["aud"].(type) {
	case string:
		client = aud
	case []any:
		if len(aud) == 1 {
			client, _ = aud[0].(string)
		}
	}
	return party(issuer, client)
}

// party names an issuer and our client there, briefly; "" when either is not
// known.
func party(issuer, client string) string {
	if issuer == "" || client == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(issuer + "\x00" + client))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// grant answers what the issuer is asked to renew.
func (r *Record) grant() *outpost.Grant {
	return &outpost.Grant{Identity: r.Identity, SID: r.SID, Refresh: r.Refresh, Expires: r.Until}
}

// with answers the record after the issuer has answered g. Who it is and when
// that was counts only when the issuer has vouched; a new refresh token always,
// also one that is too long to be kept: the old one must not be used again.
func (r *Record) with(g *outpost.Grant, vouched bool, now time.Time) *Record {
	next := *r
	if g.Refresh != "" {
		next.Refresh = g.Refresh
	}
	if len(next.Refresh) > maxRefresh {
		next.Refresh = ""
	}
	if !vouched {
		return &next
	}
	next.Identity, next.Renewed, next.Until = g.Identity, now, g.Expires
	if g.SID != "" {
		next.SID = g.SID
	}
	return &next
}

// tags name the groups that a session belongs to.
func tags(app string, rec *Record) []string {
	t := []string{appTag + app, SubjectTag(rec.Identity.Provider, rec.Identity.Subject)}
	if rec.SID == "" {
		return append(t, UnnamedTag(rec.Identity.Provider, rec.Identity.Subject))
	}
	return append(t, SIDTag(rec.Identity.Provider, rec.SID))
}

const appTag = "app:"

// appOf answers the application among the tags of a session.
func appOf(tags []string) string {
	i := slices.IndexFunc(tags, func(t string) bool { return len(t) > len(appTag) && t[:len(appTag)] == appTag })
	if i < 0 {
		return ""
	}
	return tags[i][len(appTag):]
}

// SubjectTag names the sessions of one person.
func SubjectTag(provider, subject string) string { return fitting("sub:" + provider + ":" + subject) }

// SIDTag names the sessions that belong to one session at the issuer.
func SIDTag(provider, sid string) string { return fitting("sid:" + provider + ":" + sid) }

// UnnamedTag names those sessions of one person whose session at the issuer is
// not known.
func UnnamedTag(provider, subject string) string { return fitting("any:" + provider + ":" + subject) }

// fitting answers a tag that every store takes: one that is too long is named
// by its hash.
func fitting(tag string) string {
	if len(tag) <= store.MaxKey {
		return tag
	}
	sum := sha256.Sum256([]byte(tag))
	return tag[:4] + "#" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Prefix is the beginning of every session's key, for store.Counter.
const Prefix = "session:"

// key is where the session with this id stands; only a hash, so that a reader
// of the store cannot make the cookie.
func key(id []byte) string {
	sum := sha256.Sum256(id)
	return Prefix + base64.RawURLEncoding.EncodeToString(sum[:])
}
