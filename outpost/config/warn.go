package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost/canon"
)

// Warner is an optional power of a provider's settings: to report, by key, what
// is allowed and yet dangerous for the provider of that name in d.
type Warner interface {
	Warn(d *Document, name string, report func(key, problem string))
}

// Warnings answers what is dangerous in a document that is good: each is
// served as it is written, and each is something that a careful operator would
// want to be asked about.
func (d *Document) Warnings() Problems {
	w := warner{doc: d}
	w.server()
	for i, p := range d.Providers {
		if s, ok := p.Settings.(Warner); ok {
			s.Warn(d, p.Name, func(key, problem string) { w.report(fmt.Sprintf("providers[%d].%s", i, key), "%s", problem) })
		}
	}
	for i := range d.Applications {
		w.application(fmt.Sprintf("applications[%d]", i), &d.Applications[i])
	}
	w.problems.Sort()
	return w.problems
}

type warner struct {
	doc      *Document
	problems Problems
}

func (w *warner) report(path, format string, args ...any) {
	w.problems = append(w.problems, w.doc.Problem(path, fmt.Sprintf(format, args...)))
}

func (w *warner) server() {
	for i, p := range w.doc.Server.TrustedProxies {
		if Wide(p) {
			w.report(fmt.Sprintf("server.trusted_proxies[%d]", i),
				"%s believes the forwarded headers of almost anybody, who can then claim any address and ask about any host; list your proxies alone", p)
		}
	}
}

func (w *warner) application(at string, a *Application) {
	if PlainURL(a.ExternalURL) {
		w.report(join(at, "external_url"), "is plain http: cookies and all that people do there can be read and changed on the way; use https")
	}
	for i, r := range a.Rules {
		w.rule(fmt.Sprintf("%s.rules[%d]", at, i), &r)
	}
}

func (w *warner) rule(at string, r *Rule) {
	for i, p := range r.Paths {
		if looksLikeRegexp(p) {
			w.report(fmt.Sprintf("%s.paths[%d]", at, i),
				"%s looks like a regular expression, which it is not: a dot is a dot, * is a segment or part of one, and everything under /public is /public/**", p)
		}
	}
	if r.Allow != "anyone" {
		return
	}
	everything := r.Paths == nil || slices.ContainsFunc(r.Paths, func(p string) bool { return strings.Trim(p, "/*") == "" && strings.Contains(p, "**") })
	switch everything = everything && r.Hosts == nil && r.Networks == nil; {
	case everything && r.Methods == nil:
		w.report(at, "lets everybody in everywhere: nothing of this application is guarded, but for what the rules before it name")
	case everything && slices.Contains(r.Methods, "GET"):
		w.report(at, "lets everybody read everything: no page of this application is guarded, but for what the rules before it name")
	}
	for i, network := range r.Networks {
		if proxy, ok := Holds(network, w.doc.Server.TrustedProxies); ok {
			w.report(fmt.Sprintf("%s.networks[%d]", at, i),
				"%s holds addresses of the trusted proxy %s: when the proxy does not say who is behind it, everybody comes from there", network, proxy)
		}
	}
}

// looksLikeRegexp reports whether a path may have been meant as a regular
// expression. A dot before a star fits names with any ending, as in /icon.*,
// too: only a segment of nothing else is suspect.
func looksLikeRegexp(p string) bool {
	return slices.Contains(strings.Split(p, "/"), ".*") || strings.Contains(p, ".+") || strings.HasSuffix(p, "$") || strings.Contains(p, ".*)")
}

// Wide reports whether p holds so many addresses that nobody can know who
// they are: more than an IPv4 /8 or an IPv6 /16.
func Wide(p netip.Prefix) bool {
	if p.Addr().Unmap().Is4() {
		return p.Bits() < 8 || p.Addr().Is4In6() && p.Bits() < 96+8
	}
	return p.Bits() < 16
}

// Holds answers the first of proxies that shares addresses with network.
func Holds(network netip.Prefix, proxies []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(proxies, network.Overlaps)
	if i < 0 {
		return netip.Prefix{}, false
	}
	return proxies[i], true
}

// PlainURL reports whether raw is plain http to anywhere but this machine.
func PlainURL(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "http" && !thisMachine(canon.HostName(u.Host))
}

func thisMachine(host string) bool {
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
