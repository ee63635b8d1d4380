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

// verify checks an ID token that came straight from the token endpoint
// (OIDC Core 3.1.3.7) and answers its claims. go-oidc checks form, algorithm,
// signature, issuer, audience, expiry and nbf; its clock is set back by the
// leeway. The rest is checked here.
func (p *Provider) verify(ctx context.Context, known *metadata, raw, accessToken, nonce string) (claims.Set, error) {
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
	switch {
	case w.err != nil:
		return nil, p.keyProblem(w.err, known)
	case err != nil:
		return nil, p.bad("bad ID token: " + brief(err.Error()))
	}
	var told claims.Set
	if err := token.Claims(&told); err != nil {
		return nil, p.bad("bad ID token: " + brief(err.Error()))
	}
	if err := p.checkToken(token, told, accessToken, nonce); err != nil {
		return nil, p.bad("bad ID token: " + err.Error())
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
func (p *Provider) checkToken(token *goidc.IDToken, told claims.Set, accessToken, nonce string) error {
	switch {
	case token.Subject == "":
		return errors.New("it has no sub")
	case subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(nonce)) != 1:
		return errors.New("its nonce is not the one of this sign-in")
	case token.IssuedAt.After(p.opts.Now().Add(ahead)):
		return fmt.Errorf("it says that it was made at %s, which is in the future; set the clocks", token.IssuedAt.UTC().Format(time.RFC3339))
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
	info, err := known.issuer.UserInfo(goidc.ClientContext(ctx, p.calls.UserInfo), oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, p.userInfoProblem(err)
	}
	var more claims.Set
	if err := info.Claims(&more); err != nil {
		return nil, p.bad("bad userinfo answer: " + brief(err.Error()))
	}
	if more["sub"] != told["sub"] {
		return nil, p.bad("bad userinfo answer: it is about somebody else (sub)")
	}
	return told.With(more), nil
}

// userInfoProblem keeps "did not answer" and "will not tell" apart.
func (p *Provider) userInfoProblem(err error) error {
	var status *backchannel.StatusError
	if errors.As(err, &status) && status.Code < 500 && status.Code != 429 {
		return p.bad("userinfo: " + backchannel.NoAnswer(err))
	}
	if cause := backchannel.NoAnswer(err); cause != "" {
		return p.unavailable("userinfo: " + cause)
	}
	return p.bad("bad userinfo answer: " + brief(err.Error()))
}
