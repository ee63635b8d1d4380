package apikey

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost"
)

// maxKey is how long a presented key may be, in bytes. What is longer is some
// other kind of token, and never hashed.
const maxKey = 512

// Options are the settings of New.
type Options struct {
	Name string // of the provider; identities carry it
	Keys []Key
	Now  func() time.Time // time.Now when nil
}

// Keys is the set of keys of one provider, an outpost.Credential. It never
// changes.
type Keys struct {
	now    func() time.Time
	byHash map[[sha256.Size]byte]*key
}

type key struct {
	hash     [sha256.Size]byte
	expires  time.Time
	identity *outpost.Identity
}

// New makes the credential kind of the keys. Its error names everything that
// is wrong with them, by index.
func New(o Options) (*Keys, error) {
	var problems []error
	CheckKeys(o.Keys, func(key, problem string) { problems = append(problems, fmt.Errorf("%s: %s", key, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	k := &Keys{now: o.Now, byHash: make(map[[sha256.Size]byte]*key, len(o.Keys))}
	if k.now == nil {
		k.now = time.Now
	}
	for _, one := range o.Keys {
		hash, err := parseHash(one.Hash)
		if err != nil {
			return nil, err // CheckKeys would have said so
		}
		k.byHash[hash] = &key{hash, one.Expires.Time, &outpost.Identity{
			Subject: one.Name, Username: one.Name, Groups: one.Groups, Scopes: one.Scopes, Provider: o.Name,
		}}
	}
	return k, nil
}

// Why a presented key is refused. None of them tells the key.
var (
	errTwo       = errors.New("two different credentials in one request")
	errMalformed = errors.New("what was presented as an API key cannot be one")
	errUnknown   = fmt.Errorf("the presented key is not one of this provider's: %w", outpost.ErrUnclaimed)
)

// Identify implements outpost.Credential. The identity of a key is the same
// pointer each time. A key that is not known here answers an error that wraps
// outpost.ErrUnclaimed: another kind may know it. Two Authorization or
// X-Api-Key lines, or one of each that are not the same key, are bad.
func (k *Keys) Identify(_ context.Context, r *outpost.Request) (*outpost.Identity, error) {
	presented, err := read(r.Header["Authorization"], r.Header["X-Api-Key"])
	if err != nil {
		return nil, err
	}
	if len(presented) > maxKey {
		return nil, errUnknown
	}
	var buf [maxKey]byte
	hash := sha256.Sum256(buf[:copy(buf[:], presented)])
	found := k.byHash[hash]
	if found == nil || subtle.ConstantTimeCompare(found.hash[:], hash[:]) == 0 {
		return nil, errUnknown
	}
	if !found.expires.IsZero() && !k.now().Before(found.expires) {
		return nil, fmt.Errorf("the API key %q has expired", found.identity.Username)
	}
	return found.identity, nil
}

// read answers the one key that the header lines present.
func read(authorization, apiKey []string) (string, error) {
	if len(authorization) > 1 || len(apiKey) > 1 {
		return "", errTwo
	}
	presented, bearer := "", false
	if len(authorization) == 1 {
		presented, bearer = bearerToken(authorization[0])
	}
	switch {
	case len(apiKey) == 0 && !bearer:
		return "", outpost.ErrNoCredential
	case len(apiKey) == 1 && len(authorization) == 1 && (!bearer || presented != apiKey[0]):
		return "", errTwo
	case len(apiKey) == 1:
		presented = apiKey[0]
	}
	if !visible(presented) {
		return "", errMalformed
	}
	return presented, nil
}

// bearerToken answers what follows the scheme Bearer, which is written in any
// case (RFC 9110, section 11.1).
func bearerToken(header string) (string, bool) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.Trim(token, " "), true
}

// visible reports whether s is something, and of visible ASCII characters
// alone, as are all keys and tokens.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != ""
}
