package oidc

import (
	"context"
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

// maxRaw bounds the ID token that a grant keeps, in bytes; of a longer one
// only the claims are kept.
const maxRaw = 32 << 10

// ResponseError is the token endpoint's refusal of one sign-in (RFC 6749,
// section 5.2).
type ResponseError struct {
	Code        string // one of RFC 6749's, or "" for any other
	Status      int    // of HTTP
	Description string // the issuer's words, bounded and without our secrets: for the log, never for a page
}

// Error answers the refusal for the log.
func (e *ResponseError) Error() string {
	code := e.Code
	if code == "" {
		code = "an error that RFC 6749 does not know"
	}
	text := fmt.Sprintf("the token endpoint refused with %s (HTTP %d)", code, e.Status)
	if e.Description != "" {
		text += fmt.Sprintf(": %q", e.Description)
	}
	return text
}

// Exchange implements outpost.Issuer: it redeems the code once, verifies the
// ID token (OIDC Core 3.1.3.7), asks userinfo (5.3) when the ID token lacks a
// mapped claim, and makes the identity; claims.Mapping says what becomes of
// which claim.
//
// The error wraps outpost.ErrUnavailable when the issuer did not answer,
// failed (5xx, 429) or does not know our client id and secret. A
// *ResponseError is in it when the issuer refused this code. No error holds a
// code, token or secret. Each call to the issuer is bounded by
// Options.Timeout; there are at most three.
func (p *Provider) Exchange(ctx context.Context, q outpost.AuthQuery, code string) (*outpost.Grant, error) {
	if err := checkQuery(q); err != nil {
		return nil, err
	}
	if code == "" {
		return nil, errors.New("oidc: there is no code to redeem")
	}
	known, err := p.announced(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.client(known, q).Exchange(goidc.ClientContext(ctx, p.calls.Token), code, oauth2.VerifierOption(q.Verifier))
	if err != nil {
		return nil, p.tokenProblem(err, code, q.Verifier, p.opts.ClientSecret)
	}
	raw, _ := token.Extra("id_token").(string)
	told, err := p.verify(ctx, known, raw, token.AccessToken, sameNonce(q.Nonce))
	if err != nil {
		return nil, err
	}
	if told, err = p.complete(ctx, known, told, token); err != nil {
		return nil, err
	}
	return p.grant(told, token, raw)
}

// announced answers the newest discovery document, whatever its age: a code
// is short-lived, so the call itself shows whether the issuer answers.
func (p *Provider) announced(ctx context.Context) (*metadata, error) {
	if s := p.state.Load(); s != nil && s.known != nil {
		return s.known, nil
	}
	return p.contact(ctx)
}

func (p *Provider) grant(told claims.Set, token *oauth2.Token, raw string) (*outpost.Grant, error) {
	subject, err := told.Subject()
	if err != nil {
		return nil, p.bad("bad identity: " + err.Error())
	}
	id, err := p.opts.Claims.Identity(p.opts.Name, subject, told, claims.Policy{VerifiedAddress: true})
	if err != nil {
		return nil, p.bad("bad identity: " + err.Error())
	}
	id.Scopes = scopes(token.Extra("scope"), p.opts.Scopes)
	if len(raw) <= maxRaw {
		id.IDToken = raw
	}
	sid, _ := told["sid"].(string)
	return &outpost.Grant{Identity: id, SID: sid, Refresh: token.RefreshToken, Expires: token.Expiry}, nil
}

// scopes answers what was granted: as the token endpoint says, else as it was
// asked (RFC 6749, section 5.1).
func scopes(said any, asked []string) []string {
	if text, _ := said.(string); strings.TrimSpace(text) != "" {
		return claims.Set{"scope": text}.Scopes()
	}
	return slices.Clone(asked)
}

// tokenProblem makes the error of a redemption that failed. The library's own
// error is never wrapped: it holds the answer's body, and the body may hold
// anything.
func (p *Provider) tokenProblem(err error, secrets ...string) error {
	if cause := backchannel.NoAnswer(err); cause != "" {
		return p.unavailable(cause)
	}
	var said *oauth2.RetrieveError
	if !errors.As(err, &said) {
		return p.bad("the token endpoint's answer is not what RFC 6749, section 5.1, says")
	}
	status := said.Response.StatusCode
	switch {
	case status >= http.StatusInternalServerError, status == http.StatusTooManyRequests:
		return p.unavailable(fmt.Sprintf("the token endpoint answers %d %s", status, http.StatusText(status)))
	case said.ErrorCode == "invalid_client", said.ErrorCode == "" && status == http.StatusUnauthorized:
		return p.unavailable("the issuer refuses our client_id or client_secret; NOBODY CAN SIGN IN until they are the ones it knows")
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return p.unavailable(fmt.Sprintf("the token endpoint redirects (%d), and redirects are not followed", status))
	}
	return p.refusal(said, secrets...)
}

// refusal makes the error of a token endpoint that said no.
func (p *Provider) refusal(said *oauth2.RetrieveError, secrets ...string) error {
	refusal := &ResponseError{Code: knownCode(said.ErrorCode), Status: said.Response.StatusCode, Description: said.ErrorDescription}
	for _, s := range secrets {
		if s != "" {
			refusal.Description = strings.ReplaceAll(refusal.Description, s, "…")
		}
	}
	refusal.Description = brief(refusal.Description)
	return fmt.Errorf("issuer %s: %w", p.opts.Issuer, refusal)
}

// knownCode answers code when RFC 6749, section 5.2, knows it, else "".
func knownCode(code string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope":
		return code
	}
	return ""
}
