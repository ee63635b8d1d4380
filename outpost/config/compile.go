package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// Opened is what a provider of the document has become: what applications
// need of it. Which kinds there are is cmd's business.
type Opened struct {
	// Credential answers the kind that app asks for identities.
	Credential func(app *outpost.Application) outpost.Credential
	Scheme     string            // of the Authorization header that it reads, if any
	Header     string            // another header that it reads, if any
	Last       bool              // asked after the other kinds that read Bearer: it asks somebody else
	SignsIn    bool              // people can sign in by it
	Issuer     outpost.Issuer    // where they are sent to; nil for a page of ours
	Passwords  outpost.Passwords // what that page asks
	JWKS       func() string     // the issuer's key set's URL; may be nil
	// AfterSignOut is where the issuer sends people after it signed them out;
	// "" leaves them on its own page.
	AfterSignOut string
}

// Making is what Compile needs beside the document.
type Making struct {
	Providers map[string]Opened // by name
	Version   string            // told to applications by the authentik preset
	// Limiter answers what counts a rate limit, which is named so that a reload
	// goes on counting; nil leaves the limits out, where a document is only
	// looked at.
	Limiter func(name string, requests int, per time.Duration) outpost.Limiter
}

// Compile makes the applications of a document that Parse found nothing wrong
// with.
func Compile(doc *Document, m Making) (*outpost.Applications, Problems) {
	c := compiler{doc: doc, Making: m, own: ownPaths(doc.Server), cookies: map[string]string{}}
	apps := make([]*outpost.Application, 0, len(doc.Applications))
	for i := range doc.Applications {
		apps = append(apps, c.application(fmt.Sprintf("applications[%d]", i), &doc.Applications[i]))
	}
	c.problems.Sort()
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return outpost.NewApplications(apps), nil
}

type compiler struct {
	Making
	doc      *Document
	own      outpost.OwnPaths
	cookies  map[string]string // applications by their cookie's name
	problems Problems
}

func (c *compiler) report(path, format string, args ...any) {
	c.problems = append(c.problems, c.doc.Problem(path, fmt.Sprintf(format, args...)))
}

func (c *compiler) application(path string, a *Application) *outpost.Application {
	app := &outpost.Application{
		Name:     a.Name,
		External: external(a.ExternalURL),
		Session:  outpost.Lifetimes{Idle: a.Session.Idle, Absolute: a.Session.Absolute, Refresh: a.Session.Refresh},
		Own:      c.own,
	}
	// The mode is read here and nowhere else: from now on it is data.
	cookieOf := a.Name
	switch a.Mode {
	case "forward_domain":
		app.Domain, cookieOf = a.CookieDomain, a.CookieDomain
	case "proxy":
		app.Upstream = c.upstream(path, a.Upstream)
	}
	app.Cookie = outpost.CookieReach{Name: cookieName(cookieOf), Domain: app.Domain, Secure: app.External.Scheme == "https"}
	if other, taken := c.cookies[app.Cookie.Name]; taken {
		c.report(path+".name", "gives the session cookie that %s has too; choose another name", other)
	}
	c.cookies[app.Cookie.Name] = a.Name
	c.credentials(path, a, app)
	app.Consumed = consumed(a, app)
	c.headers(path, a, app)
	app.Limit = c.limiter(a.Name, a.RateLimit)
	app.Rules = outpost.NewRules(c.rules(a.Name, a.Rules))
	return app
}

func (c *compiler) credentials(path string, a *Application, app *outpost.Application) {
	for _, name := range a.Credentials {
		p := c.Providers[name]
		if p.Credential == nil {
			continue
		}
		app.Credentials = append(app.Credentials, outpost.Named{Provider: name, Scheme: p.Scheme, Header: p.Header, Credential: p.Credential(app)})
		if p.SignsIn && app.SignIn == nil {
			app.SignIn = &outpost.SignInWay{Provider: name, Issuer: p.Issuer, Passwords: p.Passwords, AfterSignOut: p.AfterSignOut}
		}
	}
	slices.SortStableFunc(app.Credentials, func(a, b outpost.Named) int {
		return cmp.Compare(c.order(a.Provider), c.order(b.Provider))
	})
	for _, name := range a.Gate {
		if p := c.Providers[name]; p.Credential != nil {
			app.Gate = append(app.Gate, outpost.Named{Provider: name, Credential: p.Credential(app)})
		}
	}
	if len(app.Credentials) == 0 && !c.open(a) {
		c.report(path, "has no credentials, so nobody could ever pass; name a provider under credentials")
	}
}

// consumed answers the request headers that the application does not see.
func consumed(a *Application, app *outpost.Application) []string {
	if a.Headers.PassToken || len(app.Credentials) == 0 {
		return nil
	}
	names := []string{"Authorization"}
	for _, c := range app.Credentials {
		if c.Header != "" && !slices.Contains(names, c.Header) {
			names = append(names, c.Header)
		}
	}
	return names
}

// order puts the kinds that send a token to somebody else behind the others
// that read tokens, wherever the document has them: a token that is good here
// is nobody else's business.
func (c *compiler) order(provider string) int {
	if c.Providers[provider].Last {
		return 1
	}
	return 0
}

// limiter makes the limit l, if there is one.
func (c *compiler) limiter(name string, l *RateLimit) outpost.Limiter {
	if l == nil || c.Limiter == nil {
		return nil
	}
	return c.Limiter(name, l.Requests, l.Per)
}

// open reports whether every rule of a decides without an identity.
func (c *compiler) open(a *Application) bool {
	for _, r := range a.Rules {
		if r.Allow == "anyone" {
			return true
		}
	}
	return false
}

func (c *compiler) headers(path string, a *Application, app *outpost.Application) {
	meta := outpost.Meta{Application: a.Name, Version: "akprox/" + c.Version}
	if app.SignIn != nil {
		meta.JWKS = c.Providers[app.SignIn.Provider].JWKS
	}
	m, err := outpost.NewHeaderMap(a.Headers.Preset, a.Headers.GroupsSeparator, a.Headers.Set, meta)
	if err != nil {
		c.report(path+".headers", "%v", err)
	}
	app.Headers = m
}

func (c *compiler) rules(app string, rules []Rule) []outpost.Rule {
	list := make([]outpost.Rule, len(rules))
	for i, r := range rules {
		list[i] = outpost.Rule{
			Name:        fmt.Sprintf("rules[%d]", i),
			Methods:     upper(r.Methods),
			Networks:    r.Networks,
			Admit:       outpost.SignedIn,
			Users:       r.Users,
			Groups:      r.Groups,
			Scopes:      r.Scopes,
			Credentials: r.Credentials,
			Limit:       c.limiter(fmt.Sprintf("%s rules[%d]", app, i), r.RateLimit),
		}
		switch r.Allow {
		case "anyone":
			list[i].Admit = outpost.Anyone
		case "nobody":
			list[i].Admit = outpost.Nobody
		}
		for _, p := range r.Paths {
			list[i].Paths = append(list[i].Paths, canon.NewGlob(p))
		}
		for _, h := range r.Hosts {
			list[i].Hosts = append(list[i].Hosts, outpost.HostPattern(strings.ToLower(h)))
		}
	}
	return list
}

func (c *compiler) upstream(path, raw string) *url.URL {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		c.report(path+".upstream", "is not a URL")
		return nil
	}
	return u
}

func upper(words []string) []string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = strings.ToUpper(w)
	}
	return list
}

// external takes an external_url apart, which Parse has found to be canonical.
func external(raw string) outpost.External {
	scheme, host, path, err := canon.SplitURL(raw)
	if err != nil {
		return outpost.External{}
	}
	if path = strings.TrimRight(path, "/"); path == "" {
		path = "/"
	}
	return outpost.External{Scheme: scheme, Host: host, Path: path}
}

// cookieName answers the name of the session cookie that belongs to an
// application or a cookie domain.
func cookieName(of string) string {
	sum := sha256.Sum256([]byte(of))
	return "akprox_" + hex.EncodeToString(sum[:4])
}

// Prefixes answers the prefix and its aliases.
func (s Server) Prefixes() []string { return append([]string{s.Prefix}, s.PrefixAliases...) }

// ownPaths answers which paths of ours a browser or an issuer calls.
func ownPaths(s Server) outpost.OwnPaths {
	own, static := map[string]bool{}, []string{}
	authServer := map[string]bool{}
	if slices.Contains(s.Compat, "auth-server") {
		authServer = map[string]bool{"/auth/sign-in": true, "/auth/password-authenticate": true, "/auth/sign-out": true}
	}
	if slices.Contains(s.Compat, "knocker") {
		own["/knock"] = true
	}
	for _, prefix := range s.Prefixes() {
		for _, p := range []string{"start", "callback", "sign_in", "sign_out", "userinfo", "backchannel_logout", "knock", "ping"} {
			own[prefix+"/"+p] = true
		}
		static = append(static, prefix+"/static/")
	}
	return func(r *outpost.Request) bool {
		path, plain := r.Path.Plain()
		if !plain || path != r.Path.Raw() { // an escaped spelling of ours is not served
			return false
		}
		for _, s := range static {
			if name, ok := strings.CutPrefix(path, s); ok {
				return name != "" && !strings.Contains(name, "/")
			}
		}
		// That program asks for the token first, also here.
		return own[path] || authServer[path] && !bearer(r.Header)
	}
}

func bearer(h http.Header) bool {
	return slices.ContainsFunc(h["Authorization"], func(line string) bool {
		scheme, _, _ := strings.Cut(line, " ")
		return strings.EqualFold(scheme, "Bearer")
	})
}
