package token

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/token/jwks"
)

// ahead is how far in the future a token may say that it was made.
const ahead = 5 * time.Minute

// parts is a token taken apart; nothing of it is believed yet.
type parts struct {
	header, claims claims.Set
	payload        []byte
	algorithm, kid string
}

// verify checks a token of three parts (RFC 7519, section 7.2; RFC 8725; RFC
// 9068, section 4): the cheap things first, so that an expired or foreign
// token costs neither a signature nor a question.
//
// go-jose verifies the signature, and nothing else. go-oidc's verifier is made
// for ID tokens, which come straight from the issuer: it asks the issuer again
// for every key id that somebody makes up, has five minutes of leeway for nbf
// and none for exp, reads claims' names in any case of letters, takes a name
// that occurs twice, and does not look at typ, crit and iat.
func (j *JWT) verify(ctx context.Context, token string) (accepted, error) {
	p, err := takeApart(token)
	if err != nil {
		return accepted{}, bad("%v", err)
	}
	if iss, ok := p.claims["iss"].(string); ok && iss != j.opts.Issuer {
		return accepted{}, fmt.Errorf("%w: it is of another issuer", outpost.ErrUnclaimed)
	}
	if err := j.checkHeader(p); err != nil {
		return accepted{}, bad("%v", err)
	}
	a, err := j.checkClaims(p.claims)
	if err != nil {
		return accepted{}, bad("%v", err)
	}
	if a.set, err = j.checkSignature(ctx, token, p); err != nil {
		return accepted{}, err
	}
	if a.id, err = j.opts.Claims.Identity(j.opts.Name, p.claims["sub"].(string), p.claims, policy); err != nil {
		return accepted{}, bad("%v", err)
	}
	a.size = sizeOf(p.payload)
	return a, nil
}

// sizeOf answers about how many bytes an identity takes that was made of so
// much JSON.
func sizeOf(raw []byte) int { return 512 + 8*len(raw) }

// takeApart decodes header and claims. The encoding is read strictly: one
// token has one spelling.
func takeApart(token string) (*parts, error) {
	split := strings.SplitN(token, ".", 3)
	var decoded [3][]byte
	for i, s := range split {
		b, err := base64.RawURLEncoding.Strict().DecodeString(s)
		if err != nil || len(b) == 0 {
			return nil, errors.New("one of its three parts is no base64url")
		}
		decoded[i] = b
	}
	p := &parts{payload: decoded[1]}
	var err error
	if p.header, err = claims.Decode(decoded[0]); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if p.claims, err = claims.Decode(decoded[1]); err != nil {
		return nil, fmt.Errorf("claims: %w", err)
	}
	if p.algorithm, err = p.header.Text("alg"); err != nil {
		return nil, err
	}
	p.kid, err = p.header.Text("kid")
	return p, err
}

// checkHeader checks the header. jku, x5u, jwk and x5c are never used: they
// would let a token bring its own key.
func (j *JWT) checkHeader(p *parts) error {
	if !slices.Contains(j.opts.Algorithms, p.algorithm) {
		return fmt.Errorf("alg %.20q is not one of the allowed", p.algorithm)
	}
	for _, name := range []string{"crit", "b64"} { // no extension is understood here (RFC 7515, section 4.1.11)
		if _, there := p.header[name]; there {
			return fmt.Errorf("its header has %s", name)
		}
	}
	typ, err := p.header.Text("typ")
	_, there := p.header["typ"]
	switch kind := strings.ToLower(typ); {
	case err != nil:
		return err
	case kind == "at+jwt", kind == "application/at+jwt":
		return nil
	case j.opts.StrictTyp:
		return fmt.Errorf("typ %.40q is not at+jwt, and strict_typ is on", typ)
	case there && kind != "jwt": // logout+jwt, dpop+jwt, secevent+jwt …
		return fmt.Errorf("typ %.40q is not that of an access token", typ)
	}
	return nil
}

// checkClaims checks everything that the claims say but who it is, and answers
// from when to when the token is good.
func (j *JWT) checkClaims(c claims.Set) (accepted, error) {
	if sub, ok := c["sub"].(string); !ok || sub == "" {
		return accepted{}, errors.New("it has no sub")
	}
	if _, ok := c["iss"].(string); !ok {
		return accepted{}, errors.New("it has no iss")
	}
	if err := accessToken(c); err != nil {
		return accepted{}, err
	}
	if err := oneOf(c, "aud", j.opts.Audience); err != nil && !j.opts.AnyAudience {
		return accepted{}, err
	}
	return j.checkTimes(c)
}

func (j *JWT) checkTimes(c claims.Set) (accepted, error) {
	exp, err1 := c.Time("exp")
	nbf, err2 := c.Time("nbf")
	iat, err3 := c.Time("iat")
	if err := errors.Join(err1, err2, err3); err != nil {
		return accepted{}, err
	}
	a := accepted{from: nbf.Add(-j.opts.Leeway), exp: exp}
	now := j.opts.Now()
	switch {
	case exp.IsZero():
		return a, errors.New("it has no exp")
	case !now.Before(exp.Add(j.opts.Leeway)):
		return a, fmt.Errorf("it expired at %s", exp.UTC().Format(time.RFC3339))
	case now.Before(a.from):
		return a, fmt.Errorf("it is not good before %s (nbf)", nbf.UTC().Format(time.RFC3339))
	case iat.After(now.Add(ahead)):
		return a, fmt.Errorf("it says that it was made at %s, which is in the future", iat.UTC().Format(time.RFC3339))
	}
	return a, nil
}

// accessToken refuses what an issuer signs with the same keys and is no access
// token: ID tokens (OIDC Core 2), logout tokens and other events (RFC 8417),
// refresh tokens; and tokens bound to a key that nobody has proved to hold
// (RFC 7800; RFC 9449, section 7.2).
func accessToken(c claims.Set) error {
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if c[name] != nil {
			return fmt.Errorf("it is an ID token: it has %s", name)
		}
	}
	for _, name := range []string{"events", "cnf"} {
		if c[name] != nil {
			return fmt.Errorf("it is no bearer token: it has %s", name)
		}
	}
	use, err := c.Text("token_use")
	if err != nil || use != "" && use != "access" && use != "access_token" {
		return errors.New("it is no access token (token_use)")
	}
	switch kind, _ := c["typ"].(string); strings.ToLower(kind) { // some issuers say it here
	case "id", "refresh", "offline", "logout":
		return fmt.Errorf("it is no access token (its claim typ is %.20q)", kind)
	}
	return nil
}

// oneOf checks that the claim, a text or a list, holds one of the texts, byte
// by byte.
func oneOf(c claims.Set, name string, allowed []string) error {
	told, err := c.Texts(name)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(told, func(s string) bool { return slices.Contains(allowed, s) }) {
		return fmt.Errorf("its %s is not one of the allowed", name)
	}
	return nil
}

// checkSignature answers the key set that verified the token.
func (j *JWT) checkSignature(ctx context.Context, token string, p *parts) (*jwks.Set, error) {
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(p.algorithm)})
	if err != nil {
		return nil, bad("it is no signed token")
	}
	set, err := j.keys.Set(ctx)
	if err != nil {
		return nil, err
	}
	if signedBy(set, signed, p) {
		return set, nil
	}
	// A key that is not there may be new. Where tokens name no key, any may be.
	if p.kid != "" && set.Knows(p.kid) {
		return nil, bad("its signature is not good")
	}
	newer, err := j.keys.Newer(ctx, set)
	if err != nil {
		return nil, err
	}
	if newer != set && signedBy(newer, signed, p) {
		return newer, nil
	}
	return nil, bad("kid %.60q: the issuer has no such key, or the signature is not good", p.kid)
}

func signedBy(set *jwks.Set, signed *jose.JSONWebSignature, p *parts) bool {
	for _, key := range set.Find(p.algorithm, p.kid) {
		if payload, err := signed.Verify(key); err == nil && bytes.Equal(payload, p.payload) {
			return true
		}
	}
	return false
}
