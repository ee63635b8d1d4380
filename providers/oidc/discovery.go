package oidc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/akprox/akprox/providers/oidc/backchannel"
)

// keysLife is how long the issuer's keys are kept without asking again, so
// that a key it withdrew does not serve for ever.
const keysLife = time.Hour

// metadata is what an issuer announces of itself, checked.
type metadata struct {
	issuer     *goidc.Provider // asks userinfo
	endpoint   oauth2.Endpoint // the authorization endpoint is public
	endSession string          // public, or ""
	jwks       string          // public
	algorithms []string        // of ID tokens
	keys       *keys
}

// keys is the issuer's key set, which go-oidc fetches when it meets a key id
// that it does not know.
type keys struct {
	goidc.KeySet
	logout goidc.KeySet // the same for logout tokens: see sparing
	url    string
	made   time.Time
}

// document is the part of the discovery document that go-oidc does not tell
// (OIDC Discovery 1.0, section 3; RP-Initiated Logout 1.0, section 2.1).
type document struct {
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Keys          string   `json:"jwks_uri"`
	UserInfo      string   `json:"userinfo_endpoint"`
	EndSession    string   `json:"end_session_endpoint"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
}

// algorithms lists what may sign: asymmetric algorithms alone. With "none" or
// HS256 anybody who knows the client's secret, or nothing, could.
func algorithms() []string {
	return []string{
		goidc.RS256, goidc.RS384, goidc.RS512, goidc.PS256, goidc.PS384, goidc.PS512,
		goidc.ES256, goidc.ES384, goidc.ES512, goidc.EdDSA,
	}
}

// discover asks for the discovery document. The keys of what was known before
// are kept while they are young. Every error wraps outpost.ErrUnavailable:
// without the document, nobody can sign in.
func (p *Provider) discover(ctx context.Context, before *metadata) (*metadata, error) {
	issuer, err := goidc.NewProvider(goidc.ClientContext(ctx, p.calls.Discovery), p.opts.Issuer)
	if err != nil {
		return nil, p.unavailable(discoveryProblem(err))
	}
	var d document
	if err := issuer.Claims(&d); err != nil {
		return nil, p.unavailable("its discovery document: " + brief(err.Error()))
	}
	m := &metadata{issuer: issuer, algorithms: []string{goidc.RS256}} // the default of OIDC Core 2
	if err := p.endpoints(m, d); err != nil {
		return nil, p.unavailable("its discovery document: " + err.Error())
	}
	if len(d.Algorithms) > 0 {
		m.algorithms = slices.DeleteFunc(algorithms(), func(a string) bool { return !slices.Contains(d.Algorithms, a) })
	}
	if len(m.algorithms) == 0 {
		return nil, p.unavailable(fmt.Sprintf("it signs ID tokens only with %s; make it sign with RS256, ES256 or another asymmetric algorithm",
			brief(strings.Join(d.Algorithms, ", "))))
	}
	m.keys = p.keysOf(d.Keys, before)
	return m, nil
}

// endpoints takes the endpoints over, those for browsers by their public
// address.
func (p *Provider) endpoints(m *metadata, d document) error {
	all := []struct {
		name, url string
		needed    bool
	}{
		{"authorization_endpoint", d.Authorization, true},
		{"token_endpoint", d.Token, true},
		{"jwks_uri", d.Keys, true},
		{"userinfo_endpoint", d.UserInfo, false},
		{"end_session_endpoint", d.EndSession, false},
	}
	public := make([]string, len(all))
	for i, e := range all {
		if e.url == "" && !e.needed {
			continue
		}
		u, err := url.Parse(e.url)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("its %s is no http(s) URL", e.name)
		}
		out := p.route.Outward(u)
		if p.route.Secure() && out.Scheme != "https" && !p.route.Private(u) {
			return fmt.Errorf("its %s is plain http (%s) although the issuer is https; tell the issuer its public address", e.name, backchannel.Place(e.url))
		}
		public[i] = out.String()
	}
	m.endpoint = oauth2.Endpoint{AuthURL: public[0], TokenURL: d.Token, AuthStyle: clientAuth(d.ClientAuth)}
	m.jwks, m.endSession = public[2], public[4]
	return nil
}

// clientAuth answers how the client's secret is handed over: in the Basic
// header, which every issuer must understand (RFC 6749, section 2.3.1), unless
// the issuer announces that it takes only the form.
func clientAuth(announced []string) oauth2.AuthStyle {
	if slices.Contains(announced, "client_secret_post") && !slices.Contains(announced, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

func (p *Provider) keysOf(url string, before *metadata) *keys {
	now := p.opts.Now()
	if before != nil && before.keys.url == url && now.Sub(before.keys.made) < keysLife {
		return before.keys
	}
	ctx := goidc.ClientContext(context.Background(), p.calls.Keys)
	return &keys{KeySet: goidc.NewRemoteKeySet(ctx, url), logout: p.logoutKeys(url), url: url, made: now}
}

// discoveryProblem says in words why discovery failed, and what to do.
func discoveryProblem(err error) string {
	if cause := backchannel.NoAnswer(err); cause != "" {
		return cause
	}
	var other *goidc.IssuerMismatchError
	if !errors.As(err, &other) {
		return "its discovery document: " + brief(err.Error())
	}
	says := brief(other.Discovered)
	switch {
	case says == "":
		return "its discovery document names no issuer; the address seems to belong to something else"
	case strings.TrimSuffix(other.Provided, "/") == strings.TrimSuffix(other.Discovered, "/"):
		return fmt.Sprintf("it calls itself %q: the slash at the end counts; write issuer: %s", says, says)
	}
	return fmt.Sprintf("it calls itself %q; write that as issuer: (and this address as backchannel_url: when only the outpost uses it), or mend the issuer's own setting", says)
}

// brief makes outside text fit for a log line: at most 200 bytes, no control
// characters.
func brief(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
