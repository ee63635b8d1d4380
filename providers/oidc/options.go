package oidc

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/claims"
)

// Options is what a Provider is made of.
type Options struct {
	Name           string // of the provider in the document; becomes Identity.Provider
	Issuer         string // exactly as the issuer writes it in "iss", trailing slash and all
	BackchannelURL string // where the outpost itself reaches the issuer, or "": see New
	ClientID       string
	ClientSecret   string         // "" makes a public client, which PKCE alone protects
	Scopes         []string       // must hold openid; none means openid, profile, email
	Prompt         string         // of a sign-in that asks for none itself (OIDC Core 3.1.2.1); some issuers give refresh tokens only with consent
	Claims         Claims         // Username "" means preferred_username
	Timeout        time.Duration  // of one call to the issuer; 0 means 5 s, at most 60 s
	UserAgent      string         // "" means akprox
	RootCAs        *x509.CertPool // nil means the system's
	Now            func() time.Time

	// Observe, when set, is told of every call to the issuer: its kind
	// (discovery, token, refresh, jwks, userinfo), how long it took, and why it
	// failed. The error holds no secret.
	Observe func(call string, took time.Duration, err error)
	// Changed, when set, is told whenever the answer of Ready turns from
	// good to bad, back, or to another cause.
	Changed func(err error)
}

// Claims maps what an identity has to the claims that tell it.
type Claims = claims.Mapping

// check fills the defaults in and answers everything that is wrong, each with
// the setting's name, the cause and the mend.
func (o *Options) check() error {
	o.fill()
	problems := []error{checkURL("issuer", o.Issuer)}
	if o.BackchannelURL != "" {
		problems = append(problems, checkURL("backchannel_url", o.BackchannelURL))
	}
	if o.ClientID == "" {
		problems = append(problems, errors.New("client_id: it is empty; write the id under which the issuer knows akprox"))
	}
	if !slices.Contains(o.Scopes, "openid") {
		problems = append(problems, errors.New("scopes: openid is not among them, and without it an issuer gives no ID token; add it"))
	}
	for _, s := range o.Scopes {
		if !claims.IsScope(s) {
			problems = append(problems, fmt.Errorf("scopes: %q is no scope (RFC 6749, section 3.3); write one scope for each entry", s))
		}
	}
	if !isPrompt(o.Prompt) {
		problems = append(problems, fmt.Errorf("prompt: %q is not consent, login or select_account", o.Prompt))
	}
	if o.Timeout < 0 || o.Timeout > time.Minute {
		problems = append(problems, fmt.Errorf("timeout: %s is not between 0 and 60s", o.Timeout))
	}
	return errors.Join(problems...)
}

// isPrompt reports whether every sign-in may ask for s: none would end those
// that need a person.
func isPrompt(s string) bool {
	return s == "" || s == "consent" || s == "login" || s == "select_account"
}

func (o *Options) fill() {
	o.Claims = o.Claims.Filled("preferred_username")
	o.UserAgent = cmp.Or(o.UserAgent, "akprox")
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if len(o.Scopes) == 0 {
		o.Scopes = []string{"openid", "profile", "email"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Changed == nil {
		o.Changed = func(error) {}
	}
}

// checkURL answers what keeps s from being the base of an issuer (OIDC
// Discovery 3: a URL without query and fragment). An address is not quoted
// when it may hold a password.
func checkURL(key, s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return fmt.Errorf("%s: it is empty; write the issuer's address, like https://id.example.com", key)
	case err != nil:
		return fmt.Errorf("%s: it is no URL; write one like https://id.example.com", key)
	case u.User != nil:
		return fmt.Errorf("%s: it holds a user or password; leave them out, the client's go into client_id and client_secret", key)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s: %q does not begin with https:// or http://", key, s)
	case u.Hostname() == "":
		return fmt.Errorf("%s: %q names no host; write one like https://id.example.com", key, s)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return fmt.Errorf("%s: %q has a query or a fragment; write the address without it", key, s)
	}
	return nil
}
