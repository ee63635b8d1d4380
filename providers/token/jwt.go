package token

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/token/call"
	"github.com/akprox/akprox/providers/token/jwks"
	"github.com/akprox/akprox/providers/token/recent"
)

// DefaultLeeway is how far the issuer's clock may be from ours when the
// document does not say.
const DefaultLeeway = 30 * time.Second

const (
	maxLeeway      = time.Minute
	defaultEntries = 10000
	maxEntries     = 1 << 20
)

// Claims maps what an identity has to the claims that tell it.
type Claims = claims.Mapping

// policy is how both kinds read claims: what names a bearer is the mapped
// claim or the subject, and some issuers (Hydra) tell an address as username.
var policy = claims.Policy{PlainUsername: true}

// JWTOptions is what a JWT is made of.
type JWTOptions struct {
	Name        string         // of the provider in the document; becomes Identity.Provider
	Issuer      string         // exactly as in "iss", trailing slash and all
	JWKSURL     string         // of the issuer's keys; "" means that discovery tells it
	Audience    []string       // one of them must be in "aud"
	AnyAudience bool           // `audience: any`: tokens that were made for others are good here, too
	Algorithms  []string       // none means RS256, ES256, EdDSA; RS384, RS512, PS*, ES384, ES512 by name
	StrictTyp   bool           // only at+jwt (RFC 9068, section 4); otherwise JWT and no typ, too
	Leeway      time.Duration  // 0 to 60 s; 0 is none, see DefaultLeeway
	Claims      Claims         // Username "" means preferred_username
	Timeout     time.Duration  // of one refresh of the keys; 0 means 5 s, at most 60 s
	MaxEntries  int            // accepted tokens that are remembered; 0 means 10,000
	UserAgent   string         // "" means akprox
	RootCAs     *x509.CertPool // nil means the system's
	Now         func() time.Time

	// Observe, when set, is told of every call to the issuer: its kind
	// (discovery, jwks), how long it took, and why it failed. The error
	// holds no secret.
	Observe func(call string, took time.Duration, err error)
}

// JWT is the credential kind of signed access tokens, verified locally.
type JWT struct {
	opts         JWTOptions
	salt         recent.Digest
	keys         *jwks.Source
	seen         *recent.Cache[accepted]
	hits, misses atomic.Uint64
}

// accepted is a token that was found good.
type accepted struct {
	id   *outpost.Identity
	from time.Time // not good before
	set  *jwks.Set // that verified it; another set verifies it again
	exp  time.Time // after it, less leeway, the token is dead
	size int       // about the bytes that id takes
}

var _ outpost.Credential = (*JWT)(nil)

// NewJWT makes a JWT without asking anybody anything. The error lists
// everything that is wrong with the options, by the names of the document.
func NewJWT(o JWTOptions) (*JWT, error) {
	o.fill()
	if err := o.check(); err != nil {
		return nil, err
	}
	j := &JWT{opts: o, seen: recent.New[accepted](o.MaxEntries)}
	j.salt = sha256.Sum256(fmt.Appendf(nil, "jwt %q %q %q %q %t %q %t %s %q",
		o.Name, o.Issuer, o.JWKSURL, o.Audience, o.AnyAudience, o.Algorithms, o.StrictTyp, o.Leeway, o.Claims))
	j.keys = jwks.New(jwks.Options{
		Issuer: o.Issuer, URL: o.JWKSURL, Algorithms: o.Algorithms, Timeout: o.Timeout, Now: o.Now,
		Client: call.New(call.Options{Timeout: o.Timeout, UserAgent: o.UserAgent, RootCAs: o.RootCAs, Observe: o.Observe}),
	})
	return j, nil
}

func (o *JWTOptions) fill() {
	o.Claims = o.Claims.Filled("preferred_username")
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.MaxEntries = cmp.Or(o.MaxEntries, defaultEntries)
	if len(o.Algorithms) == 0 {
		o.Algorithms = []string{"RS256", "ES256", "EdDSA"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// algorithms lists what may sign: asymmetric algorithms alone. With HS* anybody
// who can verify can sign, and a public key would do for a secret (RFC 8725,
// section 2.1); with "none" anybody at all could.
func algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

func (o *JWTOptions) check() error {
	var problems []error
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	if o.JWKSURL != "" {
		problems = append(problems, call.CheckURL("jwks_url", o.JWKSURL))
	} else {
		problems = append(problems, call.CheckURL("issuer", o.Issuer))
	}
	report(o.Issuer == "" && o.JWKSURL != "", "issuer: it is empty; write it exactly as the tokens' iss")
	report(!o.AnyAudience && len(o.Audience) == 0, "audience: it is empty; list what the issuer writes into aud for this program, or write any")
	report(o.AnyAudience && len(o.Audience) > 0, "audience: any and a list exclude each other")
	report(slices.Contains(o.Audience, ""), "audience: one of the list is empty")
	for _, a := range o.Algorithms {
		report(!slices.Contains(algorithms(), a), "algorithms: %q is not one of %v", a, algorithms())
	}
	report(o.Leeway < 0 || o.Leeway > maxLeeway, "leeway: %s is not between 0 and %s", o.Leeway, maxLeeway)
	report(o.Timeout < 0 || o.Timeout > time.Minute, "timeout: %s is not between 0 and 60s", o.Timeout)
	report(o.MaxEntries < 0 || o.MaxEntries > maxEntries, "max_entries: %d is not between 0 and %d", o.MaxEntries, maxEntries)
	return errors.Join(problems...)
}

// Identify implements outpost.Credential. A token that was accepted before
// costs a hash and a look-up, and yields the same *outpost.Identity, until it
// expires or the issuer's keys change.
func (j *JWT) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	token, err := Bearer(r.Header)
	if err != nil {
		return nil, err
	}
	if !ThreeParts(token) {
		return nil, fmt.Errorf("%w: it is no token of three parts", outpost.ErrUnclaimed)
	}
	key, now := recent.Key(j.salt, token), j.opts.Now()
	if a, ok := j.seen.Get(key, now); ok && !now.Before(a.from) && a.set == j.keys.Fresh() {
		j.hits.Add(1)
		return a.id, nil
	}
	j.misses.Add(1)
	a, err := j.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	// Kept until exp itself: in the leeway behind it, every use is checked.
	j.seen.Put(key, a, a.size, now, a.exp)
	return a.id, nil
}

// Ready answers nil unless the issuer failed to tell its keys when it was last
// asked. It does no I/O, and tokens may be accepted all the same.
func (j *JWT) Ready() error { return j.keys.Ready() }

// Stats answers the counters. It walks the cache: it is for metrics.
func (j *JWT) Stats() Stats {
	return Stats{
		Hits: j.hits.Load(), Misses: j.misses.Load(),
		Evicted: j.seen.Evicted(), Entries: j.seen.Count(j.opts.Now()),
	}
}
