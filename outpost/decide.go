package outpost

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/limit"
)

// Outcome is the kind of an answer. Its zero value is Forbidden.
type Outcome uint8

// The outcomes, in the words of the log and the metrics.
const (
	Forbidden Outcome = iota
	Allow
	SignIn
	Unauthorized
	RateLimited
	Unavailable
	Malformed
	UnknownHost
)

// Outcomes lists the words of all outcomes, by value.
func Outcomes() [8]string {
	return [8]string{"forbidden", "allow", "sign_in", "unauthorized", "rate_limited", "unavailable", "bad_request", "unknown_host"}
}

// String answers the outcome's word.
func (o Outcome) String() string {
	if words := Outcomes(); int(o) < len(words) {
		return words[o]
	}
	return "forbidden"
}

// Decision is the answer about one request: data, carried out elsewhere. Its
// zero value denies.
type Decision struct {
	Outcome   Outcome
	Reason    Reason
	Rule      string // "rules[2]", "default", or "" when no rule was reached
	Identity  *Identity
	Headers   []Header      // on Allow: every mapped header, empty ones too
	Location  string        // on SignIn, for a person: the absolute start URL, rd included
	SignOut   string        // the absolute URL to sign out at, for somebody who is known and has no access
	Challenge string        // on Unauthorized and scope refusals: WWW-Authenticate
	Retry     time.Duration // on RateLimited and Unavailable: when to ask again
	Limit     limit.Limit   // how the limit stands that is nearest its end; zero where there is none
	Err       error         // for the log: what stood behind Unavailable and bad credentials
}

// retryUnavailable is what clients are told to wait when nobody could be asked.
const retryUnavailable = 5 * time.Second

// Decide answers whether r may pass to the application. It is the only place
// that makes an Allow of an identity and a rule.
func (a *Application) Decide(ctx context.Context, r *Request) Decision {
	if a.Own != nil && a.Own(r) {
		return a.allow(r, ReasonOwnPath, "", nil)
	}
	if len(a.Gate) > 0 {
		if d := a.gate(ctx, r); d.Outcome != Allow {
			return d
		}
	}
	var buf [4]*Rule
	demand, reason := a.Rules.Match(r, buf[:0])
	if reason != "" {
		return Decision{Reason: reason, Rule: demand.last(), Err: hint(reason)}
	}
	if demand.nobody() {
		return Decision{Reason: ReasonNobody, Rule: demand.last()}
	}
	if a.full(r, demand) {
		// Whoever has used up what an address may do does not make others work.
		ctx = Local(ctx)
	}
	id, err := a.identify(ctx, r, demand)
	count, d := a.count(ctx, r, demand, id)
	if d.Outcome == Forbidden {
		d = a.judge(r, demand, id, err)
	}
	d.Limit = count
	if d.Rule == "" {
		d.Rule = demand.last()
	}
	return d
}

// hint answers how to mend what keeps a rule from being judged.
func hint(reason Reason) error {
	switch reason {
	case ReasonPathUnknown:
		return ErrPathUnknown
	case ReasonClientUnknown:
		return errClientUnknown
	}
	return nil
}

// judge holds the demand against what is known of the person.
func (a *Application) judge(r *Request, demand Demand, id *Identity, err error) Decision {
	switch {
	case id == nil && demand.public():
		return a.allow(r, ReasonPublic, demand.last(), nil)
	case id == nil:
		return a.refuse(r, demand, err)
	}
	rule, reason := a.Rules.Check(demand, id)
	if reason != "" {
		d := Decision{Outcome: Forbidden, Reason: reason, Rule: rule.Name, Identity: id, SignOut: a.signOutURL(r)}
		if reason == ReasonScope {
			d.Challenge = a.bearer(`, error="insufficient_scope", scope="` + strings.Join(rule.Scopes, " ") + `"`)
		}
		return d
	}
	return a.allow(r, ReasonAllowed, rule.Name, id)
}

// gate answers Allow when a kind of the gate vouches for the client's address.
func (a *Application) gate(ctx context.Context, r *Request) Decision {
	for _, c := range a.Gate {
		switch id, err := c.Identify(ctx, r); {
		case err == nil && id != nil:
			return Decision{Outcome: Allow}
		case errors.Is(err, ErrUnavailable):
			return Decision{Outcome: Unavailable, Reason: ReasonUnavailable, Retry: retryUnavailable, Err: err}
		}
	}
	return Decision{Outcome: Unauthorized, Reason: ReasonGate, Challenge: a.challenge(r, false)}
}

// full reports whether the client's address may ask nothing more while nobody
// is known there.
func (a *Application) full(r *Request, demand Demand) bool {
	if a.Limit == nil && !demand.limited() {
		return false
	}
	who := a.address(r)
	return a.Limit != nil && a.Limit.Full(who) || slices.ContainsFunc(demand.rules, func(rule *Rule) bool {
		return rule.Limit != nil && rule.Limit.Full(rule.Name+":"+who)
	})
}

// address is the key under which requests of nobody are counted.
func (a *Application) address(r *Request) string {
	return a.Name + ":address:" + limit.AddressKey(r.Client)
}

// count counts the request of an identity, or of an address while nobody is
// known. A Decision other than the zero one ends it.
func (a *Application) count(ctx context.Context, r *Request, demand Demand, id *Identity) (nearest limit.Limit, d Decision) {
	if a.Limit == nil && !demand.limited() {
		return nearest, d
	}
	who := a.address(r)
	if id != nil && id.Subject != "" { // a lease is an identity of nobody
		who = a.Name + ":identity:" + id.Provider + ":" + id.Subject
	}
	take := func(l Limiter, key string) {
		if l == nil || d.Outcome != Forbidden {
			return
		}
		got, err := l.Take(ctx, key)
		switch {
		case err != nil:
			d = Decision{Outcome: Unavailable, Reason: ReasonUnavailable, Retry: retryUnavailable, Identity: id, Err: err}
		case !got.OK:
			d = Decision{Outcome: RateLimited, Reason: ReasonRateLimit, Retry: got.RetryAfter, Identity: id}
		}
		if nearest.Limit == 0 || got.Remaining < nearest.Remaining || !got.OK {
			nearest = got
		}
	}
	take(a.Limit, who)
	for _, rule := range demand.rules {
		take(rule.Limit, rule.Name+":"+who)
	}
	return nearest, d
}

// allow is the one place where an Allow is made.
func (a *Application) allow(r *Request, reason Reason, rule string, id *Identity) Decision {
	headers := a.Headers.Headers(id)
	if r.PassesForged {
		for _, h := range headers {
			if h.Values[0] == "" && len(r.Header[h.Name]) > 0 {
				return Decision{Outcome: Malformed, Reason: ReasonSpoofedIdentity, Rule: rule, Identity: id}
			}
		}
	}
	return Decision{Outcome: Allow, Reason: reason, Rule: rule, Identity: id, Headers: headers}
}

// Refuse answers a request that could not be read, or for which no
// application could be told: bad_request, unknown_host, or path_unknown.
func Refuse(err error) Decision {
	d := Decision{Outcome: Malformed, Reason: ReasonOf(err), Err: err}
	var plain *BadRequest
	if errors.As(err, &plain) && plain.Detail == "" || d.Reason == ReasonUnknownHost {
		d.Err = nil // the reason says it all
	}
	switch d.Reason {
	case ReasonUnknownHost:
		d.Outcome = UnknownHost
	case ReasonPathUnknown, ReasonInternal:
		d.Outcome = Forbidden
	}
	return d
}

// identify asks the kinds that the demand accepts, in the document's order,
// then the others, so that somebody known by another kind is told so.
func (a *Application) identify(ctx context.Context, r *Request, d Demand) (*Identity, error) {
	nobody := ErrNoCredential
	for _, accepted := range [2]bool{true, false} {
		for _, c := range a.Credentials {
			if d.accepts(c.Provider) != accepted {
				continue
			}
			id, err := c.Identify(ctx, r)
			switch {
			case err == nil && id != nil:
				return id, nil
			case errors.Is(err, ErrUnclaimed):
				nobody = err
			case errors.Is(err, ErrNoCredential):
			case err == nil:
				return nil, errNilIdentity
			default:
				return nil, err
			}
		}
	}
	return nil, nobody
}

var errNilIdentity = errors.New("a credential kind answered neither an identity nor an error")

// refuse answers somebody whom nobody vouches for.
func (a *Application) refuse(r *Request, d Demand, err error) Decision {
	var throttled Throttled
	switch {
	case errors.As(err, &throttled):
		return Decision{Outcome: RateLimited, Reason: ReasonThrottled, Retry: throttled.Throttled(), Err: err}
	case errors.Is(err, ErrUnavailable):
		return Decision{Outcome: Unavailable, Reason: ReasonUnavailable, Retry: retry(err), Err: err}
	case !errors.Is(err, ErrNoCredential), errors.Is(err, ErrUnclaimed):
		return Decision{Outcome: Unauthorized, Reason: ReasonBadCredential, Challenge: a.challenge(r, true), Err: err}
	case a.SignIn == nil || !d.accepts(a.SignIn.Provider):
		return Decision{Outcome: Unauthorized, Reason: ReasonNoCredential, Challenge: a.challenge(r, false)}
	}
	if err := a.SignIn.ready(); err != nil {
		return Decision{Outcome: Unavailable, Reason: ReasonIssuer, Retry: retryUnavailable, Err: err}
	}
	start := ""
	if r.Page || r.Navigation { // nobody else is told
		start = a.startURL(r)
	}
	return Decision{Outcome: SignIn, Reason: ReasonNoSession, Location: start, Challenge: a.challenge(r, false)}
}

// retry answers when to ask again: when the cause said, else soon.
func retry(err error) time.Duration {
	var said Retrying
	if errors.As(err, &said) && said.RetryAfter() > 0 {
		return said.RetryAfter()
	}
	return retryUnavailable
}

// challenge answers WWW-Authenticate (RFC 6750 3): an error only when a
// credential was presented. Basic is offered to programs alone: a browser
// would ask for a password in a window of its own.
func (a *Application) challenge(r *Request, bad bool) string {
	if a.reads("Basic") && !a.reads("Bearer") && len(r.Header["Sec-Fetch-Mode"]) == 0 && !r.Page {
		return `Basic realm="` + a.Name + `", charset="UTF-8"`
	}
	if bad {
		return a.bearer(`, error="invalid_token"`)
	}
	return a.bearer("")
}

func (a *Application) reads(scheme string) bool {
	return slices.ContainsFunc(a.Credentials, func(c Named) bool { return c.Scheme == scheme })
}

func (a *Application) bearer(more string) string { return `Bearer realm="` + a.Name + `"` + more }
