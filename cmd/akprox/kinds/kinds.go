package kinds

import (
	"github.com/akprox/akprox/outpost/config"
)

// kind is one provider kind: the settings that the document has for it, and
// what it becomes. open does no I/O beyond reading the files that settings
// name; what has to run on is given to b.follow.
type kind struct {
	settings func() any
	open     func(b *Builder, name string, settings any) (config.Opened, error)
}

// kinds is the whole list. A new kind is one line here and its own folder.
func kinds() map[string]kind {
	return map[string]kind{
		"oidc":          {func() any { return new(oidcSettings) }, openOIDC},
		"password":      {func() any { return new(passwordSettings) }, openPassword},
		"apikey":        {func() any { return new(apikeySettings) }, openAPIKey},
		"jwt":           {func() any { return new(jwtSettings) }, openJWT},
		"introspection": {func() any { return new(introspectionSettings) }, openIntrospection},
		"knock":         {func() any { return new(KnockSettings) }, openKnock},
	}
}

// Settings answers what reads the settings of each kind.
func Settings() config.Kinds {
	settings := config.Kinds{}
	for name, k := range kinds() {
		settings[name] = k.settings
	}
	return settings
}

// claimsSettings says which claim tells what; "" is the kind's own default.
type claimsSettings struct {
	Username string `yaml:"username" doc:"The user name."`
	Email    string `yaml:"email" doc:"The e-mail address."`
	Name     string `yaml:"name" doc:"The full name."`
	Groups   string `yaml:"groups" doc:"The groups."`
}
