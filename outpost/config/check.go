package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/config/strict"
)

// minSecret is the least that cookies are signed with, in bytes.
const minSecret = 32

// checker reports what no single key can tell.
type checker struct{ *strict.Reader }

func (c *checker) document(doc *Document, storeKinds []string) {
	c.server(&doc.Server)
	for _, s := range doc.Secret {
		if s.value != nil && len(*s.value) < minSecret {
			c.Report("secret.value", "has to be %d bytes or more", minSecret)
		}
	}
	if kind := doc.Store.Kind; !slices.Contains(storeKinds, kind) {
		c.Report("store.kind", "%s is not a kind that this build has (%s)%s", strict.Quote(kind), strings.Join(storeKinds, ", "), strict.Suggest(kind, storeKinds))
	} else {
		c.store(doc)
	}
	providers := c.names("providers", len(doc.Providers), func(i int) string { return doc.Providers[i].Name })
	c.names("applications", len(doc.Applications), func(i int) string { return doc.Applications[i].Name })
	claims := map[string]string{}
	for i := range doc.Applications {
		at := fmt.Sprintf("applications[%d]", i)
		c.application(at, &doc.Applications[i], providers)
		c.external(at, &doc.Applications[i], doc.Server.Prefixes())
		c.claims(at, &doc.Applications[i], claims)
	}
}

// store reports what a kind of store needs, and what it knows nothing of.
func (c *checker) store(doc *Document) {
	s := &doc.Store
	if s.Kind != "redis" {
		for key, given := range map[string]bool{
			"url": s.URL != "", "addresses": s.Addresses != nil, "username": s.Username != "", "password": s.Password != (Secret{}),
			"sentinel": s.Sentinel != nil, "tls": s.TLS != nil, "prefix": s.Prefix != "", "timeout": s.Timeout != 0,
			"grace": s.Grace != 0, "share": s.Share != nil,
		} {
			if given {
				c.Report(join("store", key), "is only for kind redis")
			}
		}
		return
	}
	if doc.Secret == nil && !c.Told("secret") {
		c.Report("store.kind", "redis needs secret: all instances sign and seal with the same")
	}
	switch {
	case s.URL == "" && s.Addresses == nil && !c.Told("store.url") && !c.Told("store.addresses"):
		c.Report("store.url", "is missing; kind redis needs url or addresses")
	case s.URL != "" && s.Addresses != nil:
		c.Report("store.addresses", "stands beside url; leave one of them out")
	case s.URL != "" && s.Sentinel != nil:
		c.Report("store.sentinel", "needs the sentinels under addresses, not url")
	}
	if s.TLS != nil && (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
		c.Report("store.tls", "needs both cert_file and key_file, or neither")
	}
	c.distinct("store.addresses", s.Addresses, 0)
	c.distinct("store.share", s.Share, 0)
}

func (c *checker) server(s *Server) {
	if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
		c.Report("server.tls", "needs both cert_file and key_file, or neither")
	}
	if s.HTTP == "" && (s.HTTPS == "" || s.TLS.CertFile == "") {
		c.Report("server.http", "nothing would be served: there is no http, and https needs tls")
	}
	if s.GRPCTLS && (s.GRPC == "" || s.TLS.CertFile == "") {
		c.Report("server.grpc_tls", "needs grpc and tls")
	}
	listens := [][2]string{{"http", s.HTTP}, {"https", s.HTTPS}, {"grpc", s.GRPC}, {"metrics", s.Metrics}}
	for i, l := range listens {
		same := slices.IndexFunc(listens[:i], func(o [2]string) bool { return o[1] == l[1] })
		if same >= 0 && l[1] != "" && !strings.HasSuffix(l[1], ":0") {
			c.Report("server."+l[0], "%s is also server.%s", strict.Quote(l[1]), listens[same][0])
		}
	}
	c.distinct("server.prefix_aliases", append([]string{s.Prefix}, s.PrefixAliases...), -1)
}

// distinct reports what stands in a list more than once. The first item has
// the index from.
func (c *checker) distinct(path string, items []string, from int) {
	for i, item := range items {
		if item != "" && slices.Contains(items[:i], item) {
			c.Report(fmt.Sprintf("%s[%d]", path, i+from), "%s is there twice", strict.Quote(item))
		}
	}
}

// names answers the names in a list, which have to differ.
func (c *checker) names(list string, n int, name func(int) string) []string {
	var all []string
	for i := range n {
		if j := slices.Index(all, name(i)); j >= 0 && name(i) != "" {
			first := fmt.Sprintf("%s[%d].name", list, j)
			c.Report(fmt.Sprintf("%s[%d].name", list, i), "%s is the name of another one, on line %d", strict.Quote(name(i)), c.Lines.Of(first))
		}
		all = append(all, name(i))
	}
	return all
}

// references reports names that nothing bears.
func (c *checker) references(path string, names, known []string, words string) {
	for i, name := range names {
		if !slices.Contains(known, name) {
			c.Report(fmt.Sprintf("%s[%d]", path, i), "%s %s%s", strict.Quote(name), words, strict.Suggest(name, known))
		}
	}
	c.distinct(path, names, 0)
}

func (c *checker) application(at string, app *Application, providers []string) {
	app.ExternalURL = strings.TrimSuffix(app.ExternalURL, "/")
	app.CookieDomain = strings.TrimPrefix(app.CookieDomain, ".")
	for _, own := range [][3]string{
		{"cookie_domain", "forward_domain", app.CookieDomain},
		{"upstream", "proxy", app.Upstream},
	} {
		switch path := join(at, own[0]); {
		case app.Mode == own[1] && own[2] == "":
			c.Report(path, "is missing; mode %s needs it", own[1])
		case app.Mode != own[1] && own[2] != "" && !c.Told(join(at, "mode")):
			c.Report(path, "is only for mode %s", own[1])
		}
	}
	host := hostOf(app.ExternalURL)
	if app.CookieDomain != "" && host != "" && !under(canon.HostName(host), app.CookieDomain) {
		c.Report(join(at, "cookie_domain"), "%s does not hold the host of external_url, %s", strict.Quote(app.CookieDomain), strict.Quote(host))
	}
	c.references(join(at, "credentials"), app.Credentials, providers, "is not the name of a provider")
	c.references(join(at, "gate"), app.Gate, providers, "is not the name of a provider")
	c.headers(join(at, "headers"), &app.Headers)
	if s := app.Session; s.Idle > s.Absolute {
		c.Report(join(at, "session.idle"), "%s is longer than session.absolute, %s", s.Idle, s.Absolute)
	}
	if r := app.Session.Refresh; r > 0 && r < time.Second {
		c.Report(join(at, "session.refresh"), "%s is less than a second", r)
	}
	for i := range app.Rules {
		c.rule(at, app, i, providers)
	}
}

// external reports an address of the outpost's own in the place of the
// application's.
func (c *checker) external(at string, app *Application, prefixes []string) {
	scheme, place, _ := strings.Cut(app.ExternalURL, "://")
	host, path, _ := strings.Cut(place, "/")
	for _, prefix := range prefixes {
		if prefix != "" && strings.HasPrefix("/"+path+"/", prefix+"/") {
			c.Report(join(at, "external_url"), "is an address of akprox itself, like the redirect URI that issuers ask for; write where people reach the application: %s://%s", scheme, host)
		}
	}
}

func (c *checker) headers(at string, h *Headers) {
	for _, pair := range h.Set {
		_, err := outpost.NewHeaderMap("", h.GroupsSeparator, [][2]string{pair}, outpost.Meta{})
		if err != nil {
			c.Report(join(at, "set."+pair[0]), "%s", strings.TrimPrefix(err.Error(), pair[0]+": "))
		}
	}
}

// claims reports what another application guards already. claimed tells, for
// each claim, which one that is.
func (c *checker) claims(at string, app *Application, claimed map[string]string) {
	_, place, _ := strings.Cut(app.ExternalURL, "://")
	for key, claim := range map[string]string{"external_url": place, "cookie_domain": "every host under " + app.CookieDomain} {
		path := join(at, key)
		if claim == "" || c.Told(path) || key == "cookie_domain" && app.CookieDomain == "" {
			continue
		}
		if first, ok := claimed[claim]; ok {
			c.Report(path, "%s is guarded by %s already, on line %d", claim, first, c.Lines.Of(first))
			continue
		}
		claimed[claim] = path
	}
}

func (c *checker) rule(of string, app *Application, i int, providers []string) {
	at, r, needs := fmt.Sprintf("%s.rules[%d]", of, i), &app.Rules[i], []string{}
	for key, list := range map[string][]string{"users": r.Users, "groups": r.Groups, "scopes": r.Scopes, "credentials": r.Credentials} {
		if len(list) > 0 {
			needs = append(needs, key)
		}
	}
	slices.Sort(needs)
	if (r.Allow == "anyone" || r.Allow == "nobody") && len(needs) > 0 {
		c.Report(join(at, "allow"), "%s contradicts %s; leave one of them out", r.Allow, strings.Join(needs, ", "))
	}
	c.references(join(at, "credentials"), r.Credentials, providers, "is not the name of a provider")
	c.references(join(at, "credentials"), r.Credentials, app.Credentials, "is not among the application's credentials")
	for j, host := range r.Hosts {
		path := fmt.Sprintf("%s.hosts[%d]", at, j)
		switch host = strings.TrimPrefix(host, "*."); {
		case app.Mode != "forward_domain" && !c.Told(join(of, "mode")):
			c.Report(join(at, "hosts"), "is only for mode forward_domain")
		case app.CookieDomain != "" && !under(host, app.CookieDomain):
			c.Report(path, "%s is not under the application's cookie_domain, %s", strict.Quote(host), strict.Quote(app.CookieDomain))
		}
	}
	bound := r.Hosts != nil || r.Paths != nil || r.Methods != nil || r.Networks != nil
	if !bound && i < len(app.Rules)-1 && !c.Within(at) {
		c.Report(at, "has no conditions, so the rules after it never apply")
	}
}

func hostOf(external string) string {
	_, rest, _ := strings.Cut(external, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// under reports whether host is domain or under it, by whole labels.
func under(host, domain string) bool {
	return host == domain || strings.HasSuffix(host, "."+domain)
}

func join(path, key string) string { return path + "." + key }
