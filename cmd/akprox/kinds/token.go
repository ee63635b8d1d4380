package kinds

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/apikey"
	"github.com/akprox/akprox/providers/token"
)

// jwtSettings is the document's kind jwt.
type jwtSettings struct {
	Issuer     string         `yaml:"issuer" required:"true" form:"url" doc:"The issuer, exactly as tokens name it."`
	JWKSURL    string         `yaml:"jwks_url" form:"url" doc:"Where the issuer's keys are; without it discovery tells."`
	Audience   audience       `yaml:"audience" required:"true" doc:"One of these has to be the token's audience; the word any takes tokens made for others too."`
	Algorithms []string       `yaml:"algorithms" default:"[RS256, ES256, EdDSA]" enum:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA" doc:"What may sign."`
	StrictTyp  bool           `yaml:"strict_typ" doc:"Whether only the type at+jwt is taken (RFC 9068)."`
	Leeway     time.Duration  `yaml:"leeway" default:"30s" doc:"How far the issuer's clock may be from ours, at most 60s."`
	Claims     claimsSettings `yaml:"claims" doc:"Which claim tells what."`
}

// Check implements config.Checker.
func (s *jwtSettings) Check(report func(key, problem string)) {
	notDiscovery("issuer", s.Issuer, report)
	if strings.Contains(s.JWKSURL, "/.well-known/openid-configuration") {
		report("jwks_url", "is the address of the issuer's description; write jwks_uri of that description, or leave jwks_url out")
	}
}

// audience is a list, or the word any.
type audience struct {
	list []string
	any  bool
}

// UnmarshalYAML reads a list, one audience, or the word any.
func (a *audience) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.Value == "any" {
		a.any = true
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value != "" {
		a.list = []string{n.Value}
		return nil
	}
	if n.Kind != yaml.SequenceNode || n.Decode(&a.list) != nil || len(a.list) == 0 {
		return errors.New("expected a list of audiences, or the word any")
	}
	return nil
}

// JSONSchema answers how an audience is written.
func (*audience) JSONSchema() map[string]any {
	return map[string]any{"anyOf": []any{
		map[string]any{"type": "string", "minLength": 1},
		map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "string", "minLength": 1}},
	}}
}

func openJWT(b *Builder, name string, settings any) (config.Opened, error) {
	s := settings.(*jwtSettings)
	j, err := token.NewJWT(token.JWTOptions{
		Name: name, Issuer: s.Issuer, JWKSURL: s.JWKSURL, Audience: s.Audience.list, AnyAudience: s.Audience.any,
		Algorithms: s.Algorithms, StrictTyp: s.StrictTyp, Leeway: s.Leeway, Claims: token.Claims(s.Claims), UserAgent: "akprox/" + b.Version,
		Observe: func(call string, took time.Duration, err error) { b.Observe(name, call, took, err) },
	})
	if err != nil {
		return config.Opened{}, err
	}
	b.current.Stats = j.Stats
	return config.Opened{Scheme: "Bearer", Credential: same(j)}, nil
}

// introspectionSettings is the document's kind introspection.
type introspectionSettings struct {
	URL           string         `yaml:"url" required:"true" form:"url" doc:"The introspection endpoint (RFC 7662)."`
	ClientID      string         `yaml:"client_id" doc:"The id under which the issuer knows akprox."`
	ClientSecret  config.Secret  `yaml:"client_secret" doc:"The client's secret."`
	Auth          string         `yaml:"auth" default:"basic" enum:"basic,post,none" doc:"How the client proves itself."`
	Cache         time.Duration  `yaml:"cache" default:"60s" doc:"How long a good token is believed, never past its own end; 0 asks every time."`
	NegativeCache time.Duration  `yaml:"negative_cache" default:"5s" doc:"How long a refusal is believed."`
	Timeout       time.Duration  `yaml:"timeout" default:"1s" positive:"true" doc:"How long an answer is waited for."`
	Issuer        string         `yaml:"issuer" doc:"When set, the token has to be of this issuer."`
	Audience      []string       `yaml:"audience" doc:"When set, one of these has to be the token's audience."`
	ClientIDs     []string       `yaml:"client_ids" doc:"When set, the token has to be made for one of these clients."`
	Claims        claimsSettings `yaml:"claims" doc:"Which member of the answer tells what; ext.email is a path."`
}

func openIntrospection(b *Builder, name string, settings any) (config.Opened, error) {
	s := settings.(*introspectionSettings)
	secret, err := b.secret("client_secret", s.ClientSecret)
	if err != nil {
		return config.Opened{}, err
	}
	i, err := token.NewIntrospection(token.IntrospectionOptions{
		Name: name, URL: s.URL, ClientID: s.ClientID, ClientSecret: secret, Auth: s.Auth, Cache: s.Cache, NegativeCache: s.NegativeCache,
		Timeout: s.Timeout, Issuer: s.Issuer, Audience: s.Audience, ClientIDs: s.ClientIDs, Claims: token.Claims(s.Claims), UserAgent: "akprox/" + b.Version,
		Shared:  b.Answers,
		Observe: func(call string, took time.Duration, err error) { b.Observe(name, call, took, err) },
		Loud:    func(msg string) { b.Changed(name, errors.New(msg)) },
	})
	if err != nil {
		return config.Opened{}, err
	}
	b.current.Stats = i.Stats
	return config.Opened{Scheme: "Bearer", Last: true, Credential: same(notKeys{i})}, nil
}

// notKeys keeps what looks like an API key of ours, a mistyped one too, from
// being sent to an issuer.
type notKeys struct{ outpost.Credential }

// Identify implements outpost.Credential.
func (c notKeys) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	if t, err := token.Bearer(r.Header); err == nil && strings.HasPrefix(t, apikey.Prefix) {
		return nil, outpost.ErrUnclaimed
	}
	return c.Credential.Identify(ctx, r)
}
