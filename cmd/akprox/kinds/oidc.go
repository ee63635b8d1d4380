package kinds

import (
	"context"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/oidc"
)

// oidcSettings is the document's kind oidc.
type oidcSettings struct {
	Issuer         string         `yaml:"issuer" required:"true" form:"url" doc:"The issuer's address, exactly as the issuer writes it."`
	BackchannelURL string         `yaml:"backchannel_url" form:"url" doc:"Where the outpost itself reaches the issuer, if not there."`
	ClientID       string         `yaml:"client_id" required:"true" doc:"The id under which the issuer knows akprox."`
	ClientSecret   config.Secret  `yaml:"client_secret" doc:"The client's secret; without it the client is a public one."`
	Scopes         []string       `yaml:"scopes" default:"[openid, profile, email]" form:"scope" doc:"What is asked for; openid has to be there."`
	Prompt         string         `yaml:"prompt" enum:"consent,login,select_account" doc:"What the issuer is to ask at every sign-in; some give refresh tokens only with consent."`
	Claims         claimsSettings `yaml:"claims" doc:"Which claim tells what; a name may be a path such as realm_access.roles."`
	AfterSignOut   string         `yaml:"post_logout_redirect_uri" form:"url" doc:"Where the issuer sends people after signing out; it has to be registered there. Without it the issuer shows its own page."`
}

// Check implements config.Checker.
func (s *oidcSettings) Check(report func(key, problem string)) {
	notDiscovery("issuer", s.Issuer, report)
	notDiscovery("backchannel_url", s.BackchannelURL, report)
}

// notDiscovery reports an address that is that of the issuer's description
// (OIDC Discovery, section 4), not the issuer's own.
func notDiscovery(key, raw string, report func(key, problem string)) {
	own, _, found := strings.Cut(raw, "/.well-known/openid-configuration")
	if found {
		report(key, "is the address of the issuer's description; write the issuer's own, as issuer in that description has it: "+own+", or the same with a slash at its end")
	}
}

func openOIDC(b *Builder, name string, settings any) (config.Opened, error) {
	s := settings.(*oidcSettings)
	secret, err := b.secret("client_secret", s.ClientSecret)
	if err != nil {
		return config.Opened{}, err
	}
	p, err := oidc.New(oidc.Options{
		Name: name, Issuer: s.Issuer, BackchannelURL: s.BackchannelURL, ClientID: s.ClientID, ClientSecret: secret,
		Scopes: s.Scopes, Prompt: s.Prompt, Claims: oidc.Claims(s.Claims), UserAgent: "akprox/" + b.Version,
		Observe: func(call string, took time.Duration, err error) { b.Observe(name, call, took, err) },
		Changed: func(err error) { b.Changed(name, err) },
	})
	if err != nil {
		return config.Opened{}, err
	}
	b.follow(func(ctx context.Context) { p.Follow(ctx) })
	return config.Opened{
		SignsIn: true, Issuer: p, JWKS: p.JWKS, AfterSignOut: s.AfterSignOut,
		Credential: b.sessionOf(name, p, nil),
	}, nil
}
