package kinds

import (
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/apikey"
)

// apikeySettings is the document's kind apikey.
type apikeySettings struct {
	Keys []apikey.Key `yaml:"keys" required:"true" doc:"The keys, by their hashes."`
}

// Check reports what is wrong with the keys.
func (s *apikeySettings) Check(report func(key, problem string)) { apikey.CheckKeys(s.Keys, report) }

func openAPIKey(_ *Builder, name string, settings any) (config.Opened, error) {
	keys, err := apikey.New(apikey.Options{Name: name, Keys: settings.(*apikeySettings).Keys})
	if err != nil {
		return config.Opened{}, err
	}
	return config.Opened{Scheme: "Bearer", Header: "X-Api-Key", Credential: same(keys)}, nil
}

// same answers one credential kind for every application.
func same(c outpost.Credential) func(*outpost.Application) outpost.Credential {
	return func(*outpost.Application) outpost.Credential { return c }
}
