package config_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost/config"
)

func storeKinds() []string { return []string{"disk", "memory", "redis"} }

// kinds are settings such as the real kinds have, so that the contract's
// document can be read.
func kinds() config.Kinds {
	return config.Kinds{
		"oidc":          func() any { return new(oidc) },
		"password":      func() any { return new(password) },
		"apikey":        func() any { return new(apikey) },
		"jwt":           func() any { return &jwt{Leeway: 30 * time.Second} },
		"introspection": func() any { return new(introspection) },
		"knock":         func() any { return new(knock) },
	}
}

type oidc struct {
	Issuer         string         `yaml:"issuer" required:"true" doc:"The issuer."`
	BackchannelURL string         `yaml:"backchannel_url"`
	ClientID       string         `yaml:"client_id" required:"true"`
	ClientSecret   *config.Secret `yaml:"client_secret"`
	Scopes         []string       `yaml:"scopes" default:"[openid]"`
	Claims         struct {
		Username string `yaml:"username" default:"preferred_username"`
		Email    string `yaml:"email"`
		Name     string `yaml:"name"`
		Groups   string `yaml:"groups"`
	} `yaml:"claims"`
}

type password struct {
	UsersFile string `yaml:"users_file"`
	Throttle  struct {
		Tries  int           `yaml:"tries" default:"5" positive:"true"`
		Window time.Duration `yaml:"window" default:"2m"`
		Ban    time.Duration `yaml:"ban" default:"5m"`
	} `yaml:"throttle"`
	Users []struct {
		Username string   `yaml:"username" required:"true"`
		Name     string   `yaml:"name"`
		Email    string   `yaml:"email"`
		Groups   []string `yaml:"groups"`
		Password string   `yaml:"password"`
	} `yaml:"users"`
}

type apikey struct {
	Keys []struct {
		Name    string    `yaml:"name" required:"true"`
		Hash    string    `yaml:"hash" required:"true"`
		Groups  []string  `yaml:"groups"`
		Scopes  []string  `yaml:"scopes"`
		Expires time.Time `yaml:"expires"`
	} `yaml:"keys"`
}

func (a *apikey) Check(report func(key, problem string)) {
	for i, k := range a.Keys {
		if !strings.HasPrefix(k.Hash, "sha256:") {
			report(fmt.Sprintf("keys[%d].hash", i), "begins with sha256:")
		}
	}
}

type jwt struct {
	Issuer     string        `yaml:"issuer" required:"true"`
	JWKSURL    string        `yaml:"jwks_url"`
	Audience   audience      `yaml:"audience" required:"true"`
	Algorithms []string      `yaml:"algorithms"`
	StrictTyp  bool          `yaml:"strict_typ"`
	Leeway     time.Duration `yaml:"leeway"`
}

// audience is a list or the word "any".
type audience []string

func (a *audience) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == "any" {
		return nil
	}
	if err := n.Decode((*[]string)(a)); err != nil {
		return errors.New(`expected a list of audiences, or "any"`)
	}
	return nil
}

type introspection struct {
	URL           string         `yaml:"url" required:"true"`
	ClientID      string         `yaml:"client_id"`
	ClientSecret  *config.Secret `yaml:"client_secret"`
	Auth          string         `yaml:"auth" default:"basic" enum:"basic,post,none"`
	Cache         time.Duration  `yaml:"cache" default:"60s"`
	NegativeCache time.Duration  `yaml:"negative_cache" default:"5s"`
	Timeout       time.Duration  `yaml:"timeout" default:"1s"`
}

type knock struct {
	Keys []struct {
		Name                 string        `yaml:"name"`
		Key                  config.Secret `yaml:"key" required:"true"`
		TTL                  int64         `yaml:"ttl" positive:"true"`
		AllowRemoteWhitelist bool          `yaml:"allow_remote_whitelist"`
	} `yaml:"keys"`
	AlwaysAllowedIPs []netip.Prefix `yaml:"always_allowed_ips"`
	MaxLeases        int            `yaml:"max_leases" default:"10000"`
	Limits           struct {
		Window    time.Duration `yaml:"window"`
		Successes int           `yaml:"successes"`
		Failures  int           `yaml:"failures"`
	} `yaml:"limits"`
	CORSOrigin          string              `yaml:"cors_origin"`
	ExcludedPaths       []string            `yaml:"excluded_paths"`
	ExcludedPathsByHost map[string][]string `yaml:"excluded_paths_by_host"`
}
