package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/oidc/backchannel"
)

// How far the issuer's clock may be from ours.
const (
	leeway = 30 * time.Second // an ID token may have expired this long ago
	ahead  = 5 * time.Minute  // and may say that it was made this far from now; go-oidc holds "nbf" to the same, less leeway
)

// witness remembers why a signature did not verify: go-oidc's verifier keeps
// only the text, and an issuer that does not give its keys out is another
// thing than a forged token.
type witness struct {
	goidc.KeySet
	err error
}

// VerifySignature implements go-oidc's KeySet.
func (w *witness) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := w.KeySet.VerifySignature(ctx, jwt)
	w.err = err
	return payload, err
}

// nonceRule reports whether the nonce of an ID token is right; "" is none.
type nonceRule func(nonce string) bool

// sameNonce demands the nonce of one sign-in.
func sameNonce(want string) nonceRule {
	return func(got string) bool { return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 }
}

// errClock marks an ID token that is not good now, but would be at another
// time.
var errClock = errors.New("or the clocks differ")

// verify checks an ID token that came straight from the token endpoint
// (OIDC Core 3.1.3.7) and answers its claims. go-oidc checks form, algorithm,
// signature, issuer, audience, expiry and nbf; its clock is set back by the
// leeway. The rest is checked here.
func (p *Provider) verify(ctx context.Context, known *metadata, raw, accessToken string, nonce nonceRule) (claims.Set, error) {
	if raw == "" {
		return nil, p.bad("its token answer holds no ID token; let this client have the scope openid there")
	}
	w := &witness{KeySet: known.keys}
	verifier := goidc.NewVerifier(p.opts.Issuer, w, &goidc.Config{
		ClientID:             p.opts.ClientID,
		SupportedSigningAlgs: known.algorithms,
		Now:                  func() time.Time { return p.opts.Now().Add(-leeway) },
	})
	token, err := verifier.Verify(ctx, raw)
	var late *goidc.TokenExpiredError
	switch {
	case w.err != nil:
		return nil, p.keyProblem(w.err, known)
	case errors.As(err, &late):
		return nil, fmt.Errorf("%w (%w)", p.bad("bad ID token: "+brief(err.Error())), errClock)
	case err != nil:
		return nil, p.bad("bad ID token: " + brief(err.Error()))
	}
	var told claims.Set
	if err := token.Claims(&told); err != nil {
		return nil, p.bad("bad ID token: " + brief(err.Error()))
	}
	if err := p.checkToken(token, told, accessToken, nonce); err != nil {
		return nil, fmt.Errorf("%w%w", p.bad("bad ID token: "), err)
	}
	return told, nil
}

func (p *Provider) keyProblem(err error, known *metadata) error {
	if cause := backchannel.NoAnswer(err); cause != "" {
		return p.unavailable(cause)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return p.unavailable("the question for its keys was given up")
	}
	return p.bad("bad ID token: its signature does not verify with the keys at " + backchannel.Place(known.jwks))
}

// checkToken checks what go-oidc leaves to its caller.
func (p *Provider) checkToken(token *goidc.IDToken, told claims.Set, accessToken string, nonce nonceRule) error {
	switch {
	case token.Subject == "":
		return errors.New("it has no sub")
	case !nonce(token.Nonce):
		return errors.New("its nonce is not the one of this sign-in")
	case token.IssuedAt.After(p.opts.Now().Add(ahead)):
		return fmt.Errorf("it says that it was made at %s, which is in the future; set the clocks (%w)", token.IssuedAt.UTC().Format(time.RFC3339), errClock)
	case token.AccessTokenHash != "" && token.VerifyAccessToken(accessToken) != nil:
		return errors.New("its at_hash is not that of the access token")
	}
	azp, present := told["azp"]
	if !present && len(token.Audience) > 1 {
		return errors.New("it is for several audiences and does not say which of them asked (azp)")
	}
	if present && azp != p.opts.ClientID {
		return errors.New("it was made for another client (azp)")
	}
	return nil
}

// complete adds what userinfo tells when the ID token lacks a mapped claim and
// there is a userinfo endpoint. An answer about somebody else is an attack
// (OIDC Core 5.3.2), and no answer ends the sign-in: without its groups a
// session would be another one.
func (p *Provider) complete(ctx context.Context, known *metadata, told claims.Set, token *oauth2.Token) (claims.Set, error) {
	if known.issuer.UserInfoEndpoint() == "" || p.opts.Claims.Complete(told) {
		return told, nil
	}
	more, err := p.userInfo(ctx, known, told["sub"], token)
	if err != nil {
		return nil, err
	}
	return told.With(more), nil
}

// userInfo asks who subject is (OIDC Core 5.3).
func (p *Provider) userInfo(ctx context.Context, known *metadata, subject any, token *oauth2.Token) (claims.Set, error) {
	info, err := known.issuer.UserInfo(goidc.ClientContext(ctx, p.calls.UserInfo), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, p.userInfoProblem(err, known)
	}
	var more claims.Set
	if err := info.Claims(&more); err != nil {
		return nil, p.bad("bad userinfo answer: " + brief(err.Error()))
	}
	if more["sub"] != subject {
		return nil, p.bad("bad userinfo answer: it is about somebody else (sub)")
	}
	return more, nil
}

// userInfoProblem keeps "did not answer" and "will not tell" apart.
func (p *Provider) userInfoProblem(err error, known *metadata) error {
	var status *backchannel.StatusError
	if errors.As(err, &status) && status.Code < 500 && status.Code != 429 {
		return fmt.Errorf("issuer %s: userinfo: %s: %w", p.opts.Issuer, backchannel.Place(known.issuer.UserInfoEndpoint()), status)
	}
	if cause := backchannel.NoAnswer(err); cause != "" {
		return p.unavailable("userinfo: " + cause)
	}
	return p.bad("bad userinfo answer: " + brief(err.Error()))
}
