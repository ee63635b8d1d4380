package outpost

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost/canon"
)

// Admission is what a rule's allow says. Its zero value is Nobody.
type Admission uint8

// The admissions.
const (
	Nobody Admission = iota
	SignedIn
	Anyone
)

// Rule is one compiled rule: conditions, and what it requires of an identity.
type Rule struct {
	Name string // "rules[0]"

	Hosts    []HostPattern // any of; empty: every host
	Paths    []canon.Glob  // any of; empty: every path
	Methods  []string      // any of, upper-case; GET holds HEAD too
	Networks []netip.Prefix

	Admit       Admission
	Users       []string // any of
	Groups      []string // any of
	Scopes      []string // all of
	Credentials []string // any of, names of providers
	Limit       Limiter  // beside the application's; nil: none
}

// HostPattern is a canonical host name, or "*." and a domain: every host under it.
type HostPattern string

func (p HostPattern) matches(name string) bool {
	if suffix, ok := strings.CutPrefix(string(p), "*"); ok {
		return len(name) > len(suffix) && strings.HasSuffix(name, suffix)
	}
	return name == string(p)
}

// Rules is an application's list; the first rule whose conditions fit decides.
type Rules struct {
	list     []look
	beneath  map[string][]look // by the first segment of a path: those of list that may fit it
	anywhere []look            // those that may fit a path that begins with no segment of beneath
	fallback *Rule
}

// look is a rule, and one of the patterns of paths that it is about.
type look struct {
	holds string      // what a path has to hold, so that most are told apart at once; "" for nothing
	glob  *canon.Glob // nil: every path
	rule  *Rule
}

// fewLooks are sooner read one by one than found.
const fewLooks = 6

// NewRules makes Rules of list, in order; where none fits, somebody signed in
// is required.
func NewRules(list []Rule) Rules {
	rs := Rules{fallback: &Rule{Name: "default", Admit: SignedIn}}
	for i := range list {
		rule := &list[i]
		for j := range rule.Paths {
			rs.list = append(rs.list, look{rule.Paths[j].Holds(), &rule.Paths[j], rule})
		}
		if len(rule.Paths) == 0 {
			rs.list = append(rs.list, look{rule: rule})
		}
	}
	if rs.anywhere = rs.list; len(rs.list) > fewLooks {
		rs.index()
	}
	return rs
}

// index makes what about looks up.
func (rs *Rules) index() {
	rs.beneath, rs.anywhere = map[string][]look{}, nil
	for _, l := range rs.list {
		if first := l.first(); first != "" {
			rs.beneath[first] = nil
		}
	}
	for _, l := range rs.list {
		if first := l.first(); first != "" {
			rs.beneath[first] = append(rs.beneath[first], l)
			continue
		}
		rs.anywhere = append(rs.anywhere, l)
		for first, fit := range rs.beneath {
			rs.beneath[first] = append(fit, l)
		}
	}
}

// first answers the first segment of the paths that fit; "" when they need not
// have the same one.
func (l look) first() string {
	if l.glob == nil {
		return ""
	}
	return l.glob.First()
}

// about answers what may fit the path, in order.
func (rs Rules) about(path canon.Path, reading string) []look {
	if !path.Known() {
		return rs.list
	}
	if fit, ok := rs.beneath[canon.FirstSegment(reading)]; ok {
		return fit
	}
	return rs.anywhere
}

// Demand is what a request needs: all of these rules at once. One reading and
// a known method yield exactly one.
type Demand struct{ rules []*Rule }

// Match answers the rules that fit the request, one for each way in which it
// can be read, appended to buf; or the reason why that cannot be told, which
// refuses the request.
func (rs Rules) Match(r *Request, buf []*Rule) (Demand, Reason) {
	d := Demand{rules: buf}
	if rs.fallback == nil {
		return d, ReasonNobody
	}
	if !r.Path.Known() {
		return rs.match(r, "", d)
	}
	for i := range r.Path.Len() {
		var reason Reason
		if d, reason = rs.match(r, r.Path.Reading(i), d); reason != "" {
			return d, reason
		}
	}
	return d, ""
}

// match adds the rules of one reading. A rule on methods may or may not fit a
// request whose method is not known: it is added, and the walk goes on.
func (rs Rules) match(r *Request, path string, d Demand) (Demand, Reason) {
	host := canon.HostName(r.Host)
	path = canon.TrimSlash(path)
	known := r.Path.Known()
	looks := rs.about(r.Path, path)
	for i := range looks {
		l := &looks[i]
		if known && !strings.Contains(path, l.holds) {
			continue
		}
		rule := l.rule
		if !rule.onHost(host) {
			continue
		}
		if l.glob != nil && !known {
			return d.with(rule), ReasonPathUnknown
		}
		if l.glob != nil && !l.glob.Matches(path) || r.Method != "" && !rule.onMethod(r.Method) {
			continue
		}
		if len(rule.Networks) > 0 {
			if !r.Client.IsValid() {
				return d.with(rule), ReasonClientUnknown
			}
			if !slices.ContainsFunc(rule.Networks, func(n netip.Prefix) bool { return n.Contains(r.Client) }) {
				continue
			}
		}
		d = d.with(rule)
		if r.Method != "" || len(rule.Methods) == 0 {
			return d, ""
		}
	}
	return d.with(rs.fallback), ""
}

func (rule *Rule) onHost(name string) bool {
	return len(rule.Hosts) == 0 || slices.ContainsFunc(rule.Hosts, func(p HostPattern) bool { return p.matches(name) })
}

func (rule *Rule) onMethod(method string) bool {
	if len(rule.Methods) == 0 || slices.Contains(rule.Methods, method) {
		return true
	}
	return method == "HEAD" && slices.Contains(rule.Methods, "GET")
}

func (d Demand) with(rule *Rule) Demand {
	if !slices.Contains(d.rules, rule) {
		d.rules = append(d.rules, rule)
	}
	return d
}

// last names the rule that the log tells.
func (d Demand) last() string {
	if len(d.rules) == 0 {
		return ""
	}
	return d.rules[len(d.rules)-1].Name
}

func (d Demand) nobody() bool {
	return len(d.rules) == 0 || slices.ContainsFunc(d.rules, func(r *Rule) bool { return r.Admit == Nobody })
}

func (d Demand) public() bool {
	for _, r := range d.rules {
		if r.Admit != Anyone {
			return false
		}
	}
	return len(d.rules) > 0
}

func (d Demand) limited() bool {
	return slices.ContainsFunc(d.rules, func(r *Rule) bool { return r.Limit != nil })
}

// accepts reports whether every rule accepts what provider vouches for.
func (d Demand) accepts(provider string) bool {
	for _, r := range d.rules {
		if len(r.Credentials) > 0 && !slices.Contains(r.Credentials, provider) {
			return false
		}
	}
	return true
}

// Check holds the demand against an identity: the rule that decided, and ""
// or the reason why the identity is not enough.
func (rs Rules) Check(d Demand, id *Identity) (*Rule, Reason) {
	if len(d.rules) == 0 || id == nil {
		return &Rule{}, ReasonNobody
	}
	for _, r := range d.rules {
		if reason := r.check(id); reason != "" {
			return r, reason
		}
	}
	return d.rules[len(d.rules)-1], ""
}

func (rule *Rule) check(id *Identity) Reason {
	switch {
	case rule.Admit == Anyone:
		return ""
	case rule.Admit != SignedIn:
		return ReasonNobody
	case len(rule.Credentials) > 0 && !slices.Contains(rule.Credentials, id.Provider):
		return ReasonCredential
	case len(rule.Users) > 0 && (id.Username == "" || !slices.Contains(rule.Users, id.Username)):
		return ReasonUser
	case len(rule.Groups) > 0 && !overlap(rule.Groups, id.Groups):
		return ReasonGroup
	}
	for _, s := range rule.Scopes {
		if !slices.Contains(id.Scopes, s) {
			return ReasonScope
		}
	}
	return ""
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
