package kinds

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost/config"
)

// Loose answers a warning for each file with a secret that every user of this
// machine can read; path is the document's own.
func (b *Builder) Loose(path string) config.Problems {
	var problems config.Problems
	told := map[string]bool{}
	look := func(key, file string) {
		if file = cmp.Or(file, path); config.Loose(file) && !told[file] {
			told[file] = true
			problems = append(problems, b.Doc.Problem(key, fmt.Sprintf("%s holds a secret and every user of this machine can read it: chmod o-rwx %[1]s", file)))
		}
	}
	for _, s := range b.Doc.Secret {
		if s.Env == "" {
			look("secret", s.File)
		}
	}
	for i, p := range b.Doc.Providers {
		at := b.Parties[p.Name].at
		for _, key := range slices.Sorted(maps.Keys(at)) {
			look(fmt.Sprintf("providers[%d].%s", i, key), at[key])
		}
	}
	return problems
}

// Warn implements config.Warner.
func (s *oidcSettings) Warn(d *config.Document, name string, report func(key, problem string)) {
	if config.PlainURL(s.Issuer) {
		report("issuer", "is plain http: whoever is on the way there can sign in as anybody; use https")
	}
	if config.PlainURL(s.BackchannelURL) {
		report("backchannel_url", "is plain http: codes, tokens and the client's secret can be read on the way; keep that network to yourself")
	}
	for _, app := range d.Applications {
		if public(s.Issuer) && slices.Contains(app.Credentials, name) && !choosy(app.Rules) {
			report("issuer", fmt.Sprintf("gives an account to everybody who asks for one, and no rule of application %s names users or groups: the whole world may pass", app.Name))
			return
		}
	}
}

// public reports whether the issuer is one where everybody can get an account.
func public(issuer string) bool {
	u, err := url.Parse(issuer)
	if err != nil {
		return false
	}
	switch u.Host {
	case "accounts.google.com", "gitlab.com", "appleid.apple.com":
		return true
	case "login.microsoftonline.com":
		tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		return slices.Contains([]string{"common", "consumers", "organizations"}, tenant)
	}
	return false
}

// choosy reports whether any of the rules asks who somebody is.
func choosy(rules []config.Rule) bool {
	return slices.ContainsFunc(rules, func(r config.Rule) bool { return len(r.Users) > 0 || len(r.Groups) > 0 })
}

// Warn implements config.Warner.
func (s *jwtSettings) Warn(_ *config.Document, _ string, report func(key, problem string)) {
	if s.Audience.any {
		report("audience", "takes every token that this issuer ever made for anybody; name the audience of your own")
	}
	for key, raw := range map[string]string{"issuer": s.Issuer, "jwks_url": s.JWKSURL} {
		if config.PlainURL(raw) {
			report(key, "is plain http: whoever is on the way there can make tokens; use https")
		}
	}
}

// Warn implements config.Warner.
func (s *introspectionSettings) Warn(_ *config.Document, _ string, report func(key, problem string)) {
	if config.PlainURL(s.URL) {
		report("url", "is plain http: tokens and the client's secret can be read on the way, and answers made up; keep that network to yourself")
	}
	if len(s.Audience) == 0 && len(s.ClientIDs) == 0 {
		report("url", "says of every token of that issuer that it is good, for whomever it was made; name audience or client_ids of your own")
	}
}

// Warn implements config.Warner.
func (s *KnockSettings) Warn(d *config.Document, _ string, report func(key, problem string)) {
	for i, p := range s.AlwaysAllowed {
		key := fmt.Sprintf("always_allowed_ips[%d]", i)
		if proxy, ok := config.Holds(p, d.Server.TrustedProxies); ok {
			report(key, fmt.Sprintf("%s holds addresses of the trusted proxy %s: when the proxy does not say who is behind it, everybody is let in", p, proxy))
		}
		if config.Wide(p) {
			report(key, fmt.Sprintf("%s lets almost everybody in without a knock", p))
		}
	}
}
