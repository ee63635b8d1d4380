package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/oidc/backchannel"
)

var _ outpost.Renewer = (*Provider)(nil)

// ClientID answers our own id at the issuer.
func (p *Provider) ClientID() string { return p.opts.ClientID }

// Refresh implements outpost.Renewer (OIDC Core 12). A new ID token is held to
// the rules of the first one but for the nonce, which it may leave out, and has
// to be about the same person; where there is none, or it lacks a mapped claim,
// userinfo tells who that is now.
//
// "No" is the token endpoint's invalid_grant or invalid_request, what OIDC and
// RFC 6749 have for a person who is needed (login_required and its like,
// access_denied), a 401 or 403 of userinfo, and a lie. All else wraps
// outpost.ErrUnavailable: a mistake of whoever runs the issuer, or of ours,
// must not sign everybody out. A new refresh token is answered even then. No
// error holds a token or secret. The refresh is given 20 s, because an answer
// that is given up may have replaced the refresh token; each of the two calls
// that may follow, Options.Timeout.
func (p *Provider) Refresh(ctx context.Context, g *outpost.Grant) (*outpost.Grant, error) {
	if g == nil || g.Identity == nil || g.Refresh == "" {
		return nil, errors.New("oidc: there is no refresh token to redeem")
	}
	known, err := p.announced(ctx)
	if err != nil {
		return nil, err
	}
	source := p.client(known, outpost.AuthQuery{}).TokenSource(goidc.ClientContext(ctx, p.calls.Refresh), &oauth2.Token{RefreshToken: g.Refresh})
	token, err := source.Token()
	if err != nil {
		return nil, p.refreshProblem(err, g.Refresh, p.opts.ClientSecret)
	}
	next, err := p.renewed(ctx, known, g, token)
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, errClock):
		err = p.unavailable(err.Error())
	case !errors.Is(err, outpost.ErrUnavailable):
		return nil, err
	}
	if token.RefreshToken == g.Refresh {
		return nil, err
	}
	return &outpost.Grant{Identity: g.Identity, SID: g.SID, Refresh: token.RefreshToken, Expires: g.Expires}, err
}

// renewed makes the new grant of the token endpoint's answer.
func (p *Provider) renewed(ctx context.Context, known *metadata, g *outpost.Grant, token *oauth2.Token) (*outpost.Grant, error) {
	raw, _ := token.Extra("id_token").(string)
	told, err := p.toldAgain(ctx, known, g, token, raw)
	if err != nil {
		return nil, err
	}
	next, err := p.grant(told, token, raw)
	if err != nil {
		return nil, err
	}
	if text, _ := token.Extra("scope").(string); strings.TrimSpace(text) == "" {
		next.Identity.Scopes = slices.Clone(g.Identity.Scopes) // those granted before (RFC 6749, section 6)
	}
	if raw == "" {
		next.Identity.IDToken = g.Identity.IDToken
	}
	if next.SID == "" {
		next.SID = g.SID
	}
	return next, nil
}

// toldAgain answers what the issuer says now of the person of g.
func (p *Provider) toldAgain(ctx context.Context, known *metadata, g *outpost.Grant, token *oauth2.Token, raw string) (claims.Set, error) {
	if raw == "" {
		return p.asked(ctx, known, g, token)
	}
	first := nonceOf(g.Identity.IDToken)
	told, err := p.verify(ctx, known, raw, token.AccessToken, func(nonce string) bool {
		return nonce == "" || first == "" || sameNonce(first)(nonce)
	})
	if err != nil {
		return nil, err
	}
	if told["sub"] != g.Identity.Subject {
		return nil, p.bad("bad ID token: it is about somebody else (sub)")
	}
	if known.issuer.UserInfoEndpoint() == "" || p.opts.Claims.Complete(told) {
		return told, nil
	}
	more, err := p.userInfoAgain(ctx, known, g, token)
	if err != nil {
		return nil, err
	}
	return told.With(more), nil
}

// asked answers who the person is where the token endpoint did not say. What
// userinfo leaves out stays as it was, groups excepted: many issuers tell
// of nobody's groups by leaving them out, and a right must not outlive that.
func (p *Provider) asked(ctx context.Context, known *metadata, g *outpost.Grant, token *oauth2.Token) (claims.Set, error) {
	before, err := p.before(g)
	if err != nil {
		return nil, err
	}
	if known.issuer.UserInfoEndpoint() == "" {
		return before, nil // the issuer vouches for the grant, and tells nothing of the person
	}
	told, err := p.userInfoAgain(ctx, known, g, token)
	if err != nil {
		return nil, err
	}
	top, _, _ := strings.Cut(p.opts.Claims.Groups, ".")
	delete(before, p.opts.Claims.Groups)
	delete(before, top)
	return told.With(before), nil
}

// before answers the claims of g as they were told: what was stored meanwhile
// has lost which numbers were whole.
func (p *Provider) before(g *outpost.Grant) (claims.Set, error) {
	told := claims.Set{}
	text, err := json.Marshal(g.Identity.Claims)
	if err == nil && len(g.Identity.Claims) > 0 {
		err = json.Unmarshal(text, &told)
	}
	if err != nil {
		return nil, p.unavailable("the claims of before: " + brief(err.Error()))
	}
	told["sub"] = g.Identity.Subject
	return told, nil
}

// userInfoAgain asks userinfo on behalf of a session: only a refusal of the
// access token is one of the person.
func (p *Provider) userInfoAgain(ctx context.Context, known *metadata, g *outpost.Grant, token *oauth2.Token) (claims.Set, error) {
	told, err := p.userInfo(ctx, known, g.Identity.Subject, token)
	var status *backchannel.StatusError
	if errors.As(err, &status) && status.Code != http.StatusUnauthorized && status.Code != http.StatusForbidden {
		return nil, p.unavailable("userinfo: " + status.Error())
	}
	return told, err
}

// refreshProblem makes the error of a refresh that failed: the line between
// "no" and "cannot be asked".
func (p *Provider) refreshProblem(err error, secrets ...string) error {
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		if cause := backchannel.NoAnswer(err); cause != "" {
			return p.unavailable(cause)
		}
		return p.unavailable("the token endpoint's answer is not what RFC 6749, section 5.1, says")
	}
	if status := said.Response.StatusCode; status < http.StatusInternalServerError && status != http.StatusTooManyRequests && isNo(said.ErrorCode) {
		return p.refusal(said, secrets...)
	}
	problem := p.tokenProblem(err, secrets...)
	if errors.Is(problem, outpost.ErrUnavailable) {
		return problem
	}
	return fmt.Errorf("%w (%w: that says nothing of this person)", problem, outpost.ErrUnavailable)
}

// isNo reports whether an error code of the token endpoint speaks of the grant
// rather than of us: RFC 6749, section 5.2, OIDC Core 3.1.2.6. A refresh token
// that was used before is an invalid_request to some issuers.
func isNo(code string) bool {
	switch code {
	case "invalid_grant", "invalid_request", "access_denied",
		"interaction_required", "login_required", "consent_required", "account_selection_required":
		return true
	}
	return false
}

// nonceOf answers the nonce of an ID token that was verified when it was kept,
// or "".
func nonceOf(raw string) string {
	_, rest, _ := strings.Cut(raw, ".")
	body, _, _ := strings.Cut(rest, ".")
	var told struct{ Nonce string }
	text, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(text, &told) != nil {
		return ""
	}
	return told.Nonce
}
