package oidc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"

	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc/backchannel"
)

// maxHint bounds the ID token that EndSessionURL hands over, in bytes:
// servers refuse request lines of more than 8 KiB.
const maxHint = 6 << 10

// Provider is one OpenID issuer. It may be used by many at once.
type Provider struct {
	opts   Options
	route  backchannel.Route
	calls  backchannel.Clients
	state  atomic.Pointer[state] // nil until the first probe ended
	flight singleflight.Group    // probes: one at a time
}

var _ outpost.Issuer = (*Provider)(nil)

// New makes a Provider without asking anybody anything. The error lists
// everything that is wrong with the options, by the names of the document.
//
// With a BackchannelURL the outpost's own calls (discovery, token, keys,
// userinfo) go there instead of to the issuer's public address: scheme and
// host are replaced, and the issuer's path too when the backchannel's address
// has a path. The Host header is the backchannel's. What browsers are sent to
// (authorization, end of session) stays public, and is made public again when
// the issuer announces it at the backchannel. The issuer must still call
// itself by its public address, in discovery and in "iss".
func New(o Options) (*Provider, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r, err := backchannel.NewRoute(o.Issuer, o.BackchannelURL)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	calls := backchannel.NewClients(backchannel.Options{
		Route: r, Timeout: o.Timeout, UserAgent: o.UserAgent, RootCAs: o.RootCAs, Observe: o.Observe,
	})
	return &Provider{opts: o, route: r, calls: calls}, nil
}

// IssuerURL answers the issuer's identifier. A callback that carries "iss"
// (RFC 9207) must carry this one.
func (p *Provider) IssuerURL() string { return p.opts.Issuer }

// JWKS answers the public address of the issuer's keys, or "" while it is not
// known. It does no I/O.
func (p *Provider) JWKS() string {
	if s := p.state.Load(); s != nil && s.known != nil {
		return s.known.jwks
	}
	return ""
}

// AuthURL implements outpost.Issuer. An issuer that was last heard of more
// than 5 s ago is asked first, for at most 2 s, so that nobody is sent to a
// page that does not open; the error then wraps outpost.ErrUnavailable.
func (p *Provider) AuthURL(ctx context.Context, q outpost.AuthQuery) (string, error) {
	if err := checkQuery(q); err != nil {
		return "", err
	}
	known, err := p.contact(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(q.Verifier),
		oauth2.SetAuthURLParam("nonce", q.Nonce),
	}
	if prompt := p.prompt(q.Prompt); prompt != "" {
		options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
	}
	return p.client(known, q).AuthCodeURL(q.State, options...), nil
}

// prompt answers what one sign-in asks for, and what every one does.
func (p *Provider) prompt(asked string) string {
	switch {
	case asked == "" || p.opts.Prompt == "" || asked == p.opts.Prompt:
		return cmp.Or(asked, p.opts.Prompt)
	case asked == "none":
		return asked // stands alone
	}
	return asked + " " + p.opts.Prompt
}

// EndSessionURL implements outpost.Issuer (OIDC RP-Initiated Logout 1.0,
// section 2). An idToken of more than 6 KiB is left out, and the issuer may
// then ask the person; returnTo may be "". The error wraps
// outpost.ErrUnavailable when the issuer does not answer: the session here
// has ended, and there is no page there to go to.
func (p *Provider) EndSessionURL(ctx context.Context, idToken, returnTo string) (string, error) {
	known, err := p.contact(ctx)
	if err != nil || known.endSession == "" {
		return "", err
	}
	u, err := url.Parse(known.endSession)
	if err != nil {
		return "", fmt.Errorf("issuer %s: its end_session_endpoint is no URL", p.opts.Issuer)
	}
	query := u.Query()
	query.Set("client_id", p.opts.ClientID)
	if idToken != "" && len(idToken) <= maxHint {
		query.Set("id_token_hint", idToken)
	}
	if returnTo != "" {
		query.Set("post_logout_redirect_uri", returnTo)
	}
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// client answers the x/oauth2 client for one sign-in.
func (p *Provider) client(known *metadata, q outpost.AuthQuery) *oauth2.Config {
	endpoint := known.endpoint
	if p.opts.ClientSecret == "" {
		endpoint.AuthStyle = oauth2.AuthStyleInParams // of a public client, that is its id alone
	}
	return &oauth2.Config{
		ClientID:     p.opts.ClientID,
		ClientSecret: p.opts.ClientSecret,
		Endpoint:     endpoint,
		RedirectURL:  q.RedirectURL,
		Scopes:       p.opts.Scopes,
	}
}

// checkQuery refuses a sign-in that would not be bound to its own flow.
func checkQuery(q outpost.AuthQuery) error {
	switch {
	case q.RedirectURL == "":
		return errors.New("oidc: a sign-in needs a redirect URL")
	case q.State == "", q.Nonce == "":
		return errors.New("oidc: a sign-in needs a state and a nonce")
	case len(q.Verifier) < 43 || len(q.Verifier) > 128:
		return errors.New("oidc: a sign-in needs a PKCE verifier of 43 to 128 characters (RFC 7636, section 4.1)")
	}
	return nil
}

// unavailable makes the error that says that the issuer cannot be asked.
func (p *Provider) unavailable(cause string) error {
	return fmt.Errorf("issuer %s: %w: %s", p.opts.Issuer, outpost.ErrUnavailable, cause)
}

// bad makes the error that says that the issuer said something wrong.
func (p *Provider) bad(cause string) error {
	return fmt.Errorf("issuer %s: %s", p.opts.Issuer, cause)
}
