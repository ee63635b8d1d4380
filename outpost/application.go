package outpost

import (
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/canon"
)

// Application is one guarded thing, compiled from the document. It is
// immutable; a reload makes new ones.
type Application struct {
	Name        string
	External    External    // where people reach it, and where its sign-in lives
	Cookie      CookieReach // how far its session reaches
	Upstream    *url.URL    // where Allow is forwarded to; nil where a reverse proxy does that
	Gate        []Named     // one of these must vouch before anything else is asked
	Credentials []Named     // asked in this order
	Limit       Limiter     // of each identity, or address that is not known; nil: none
	SignIn      *SignInWay  // nil when nobody can sign in here
	Headers     *HeaderMap  // how an identity is told to the application
	Rules       Rules       // the first that fits decides
	Session     Lifetimes   // of its sessions
	Own         OwnPaths    // our own endpoints, which need no identity
	Domain      string      // cookie domain when it guards every host under it, else ""
	Consumed    []string    // request headers whose credentials are for us: the application does not see them
}

// Named is a credential kind under its provider's name.
type Named struct {
	Provider string
	Scheme   string // of the Authorization header that it reads: Bearer, Basic or ""
	Header   string // another header that it reads, or ""
	Credential
}

// External is an external_url, taken apart.
type External struct {
	Scheme string
	Host   string // canonical, with a port that is not the default
	Path   string // "/" or a path without a slash at its end
}

// Origin answers scheme and host as the beginning of a URL.
func (e External) Origin() string { return e.Scheme + "://" + e.Host }

// URL answers the whole external URL.
func (e External) URL() string { return e.Origin() + e.Path }

// CookieReach says where a session cookie goes.
type CookieReach struct {
	Name   string
	Domain string // "" for the one host
	Secure bool
}

// Lifetimes bounds a session: since its last use, and since sign-in. In use it
// is renewed at the issuer when the issuer has not vouched for it for Refresh;
// 0 means never.
type Lifetimes struct {
	Idle, Absolute, Refresh time.Duration
}

// SignInWay is how people sign in to an application.
type SignInWay struct {
	Provider string
	Issuer   Issuer // nil for the password page

	Passwords Passwords // what the password page asks; nil with an Issuer

	AfterSignOut string // where the issuer sends people then; "" is its own page
}

func (s *SignInWay) ready() error {
	if s.Issuer == nil {
		return nil
	}
	return s.Issuer.Ready()
}

// OwnPaths reports whether a request goes to one of our own browser-facing
// paths, which must be reachable before anybody has signed in.
type OwnPaths func(r *Request) bool

// startURL answers where sign-in begins for r, to come back to r.
func (a *Application) startURL(r *Request) string {
	back := a.External.URL()
	if r.Path.Known() {
		back = a.BackURL(r)
	}
	return r.Ways.StartURL(a.External.Origin(), back)
}

// signOutURL answers where people sign out; "" where nobody can sign in.
func (a *Application) signOutURL(r *Request) string {
	if a.SignIn == nil || r.Ways.SignOut == "" {
		return ""
	}
	return a.External.Origin() + r.Ways.SignOut
}

// BackURL answers the absolute URL of r as a browser reaches it: the scheme is
// the document's, and so is the host, except under a whole domain.
func (a *Application) BackURL(r *Request) string {
	host := a.External.Host
	if a.Domain != "" {
		host = r.Host
	}
	question := ""
	if r.Query != "" {
		question = "?"
	}
	return a.External.Scheme + "://" + host + r.Path.Raw() + question + r.Query
}

// Applications is the immutable set of applications of one document.
type Applications struct {
	all     []*Application
	hosts   map[string][]*Application // by host name without port, longest path first
	domains map[string]*Application   // by cookie domain
}

// NewApplications indexes apps. The document has been checked: no two of them
// claim the same host and path, or the same cookie domain.
func NewApplications(apps []*Application) *Applications {
	as := &Applications{all: apps, hosts: map[string][]*Application{}, domains: map[string]*Application{}}
	for _, a := range apps {
		if a.Domain != "" {
			as.domains[a.Domain] = a
			continue
		}
		name := canon.HostName(a.External.Host)
		as.hosts[name] = append(as.hosts[name], a)
	}
	for _, list := range as.hosts {
		sort.SliceStable(list, func(i, j int) bool { return len(list[i].External.Path) > len(list[j].External.Path) })
	}
	return as
}

// All answers the applications in the document's order.
func (as *Applications) All() []*Application { return as.all }

// Find answers the application that guards the request's host and path: the
// longest external path on its host, else the closest domain above it. The
// error is a BadRequest, or the reason why none can be told.
func (as *Applications) Find(r *Request) (*Application, error) {
	name := canon.HostName(r.Host)
	list := as.hosts[name]
	domain := as.domainFor(r.Host)
	if !r.Path.Known() {
		return withoutPath(list, r.Host, domain)
	}
	found := onHost(list, r.Host, r.Path.Reading(0))
	// Some proxies choose the program by the path as it stands. The paths of
	// applications need no escape.
	if onHost(list, r.Host, r.Path.Raw()) != found {
		return nil, Bad(ReasonAmbiguous, "")
	}
	for i := 1; i < r.Path.Len(); i++ {
		if onHost(list, r.Host, r.Path.Reading(i)) != found {
			return nil, Bad(ReasonAmbiguous, "")
		}
	}
	if found == nil {
		found = domain
	}
	if found == nil {
		return nil, ErrUnknownHost
	}
	return found, nil
}

// Guards reports whether any application guards host, a canonical one.
func (as *Applications) Guards(host string) bool {
	name := canon.HostName(host)
	for _, a := range as.hosts[name] {
		if samePort(a, as.hosts[name], host) {
			return true
		}
	}
	return as.domainFor(host) != nil
}

// OnHost answers the applications whose sessions a browser shows on host.
func (as *Applications) OnHost(host string) []*Application {
	var on []*Application
	name := canon.HostName(host)
	for _, a := range as.hosts[name] {
		if samePort(a, as.hosts[name], host) {
			on = append(on, a)
		}
	}
	if d := as.domainFor(host); d != nil {
		on = append(on, d)
	}
	return on
}

// domainFor answers the domain-level application of a host. Where applications
// of their own claim the host's name, a port that none of them has is nobody's:
// proxies choose the site by the name, so that a made-up port would lead to
// the same program under the domain's rules.
func (as *Applications) domainFor(host string) *Application {
	name := canon.HostName(host)
	list := as.hosts[name]
	if len(list) > 0 && !slices.ContainsFunc(list, func(a *Application) bool { return samePort(a, list, host) }) {
		return nil
	}
	return as.domainOf(name)
}

// domainOf answers the domain-level application closest above a host name, by
// whole labels. Ports do not matter there, as they do not for cookies.
func (as *Applications) domainOf(name string) *Application {
	for len(as.domains) > 0 {
		if a := as.domains[name]; a != nil {
			return a
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return nil
		}
		name = rest
	}
	return nil
}

func onHost(list []*Application, host, path string) *Application {
	for _, a := range list {
		if underPath(a.External.Path, path) && samePort(a, list, host) {
			return a
		}
	}
	return nil
}

// samePort reports whether a is meant by host. A host without a port means
// the default port; where nobody claims that, it means the one port that is
// claimed, because some proxies tell the host without its port (nginx's $host).
func samePort(a *Application, list []*Application, host string) bool {
	if a.External.Host == host {
		return true
	}
	if canon.HostName(host) != host {
		return false
	}
	for _, other := range list {
		if other.External.Host != a.External.Host {
			return false
		}
	}
	return true
}

// underPath reports whether path lies at or under prefix, by whole segments.
func underPath(prefix, path string) bool {
	return prefix == "/" || strings.HasPrefix(path, prefix) && (len(path) == len(prefix) || path[len(prefix)] == '/')
}

// withoutPath answers the application when the proxy told no path: the only
// one of its host, if it guards the whole host.
func withoutPath(list []*Application, host string, domain *Application) (*Application, error) {
	for _, a := range list {
		if !samePort(a, list, host) {
			continue
		}
		if len(list) > 1 || a.External.Path != "/" {
			return nil, ErrPathUnknown
		}
		return a, nil
	}
	if domain == nil {
		return nil, ErrUnknownHost
	}
	return domain, nil
}
