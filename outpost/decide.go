package outpost

import (
	"context"
	"errors"
	"time"
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
	Location  string        // on SignIn: the absolute start URL, rd included
	Challenge string        // on Unauthorized and scope refusals: WWW-Authenticate
	Retry     time.Duration // on RateLimited and Unavailable: when to ask again
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
	var buf [4]*Rule
	demand, reason := a.Rules.Match(r, buf[:0])
	if reason != "" {
		return Decision{Reason: reason, Rule: demand.last()}
	}
	if demand.nobody() {
		return Decision{Reason: ReasonNobody, Rule: demand.last()}
	}
	id, err := a.identify(ctx, r, demand)
	if id == nil && demand.public() {
		return a.allow(r, ReasonPublic, demand.last(), nil)
	}
	if id == nil {
		d := a.refuse(r, demand, err)
		d.Rule = demand.last()
		return d
	}
	rule, reason := a.Rules.Check(demand, id)
	if reason != "" {
		return a.forbid(id, rule, reason)
	}
	return a.allow(r, ReasonAllowed, rule.Name, id)
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
	for _, accepted := range [2]bool{true, false} {
		for _, c := range a.Credentials {
			if d.accepts(c.Provider) != accepted {
				continue
			}
			id, err := c.Identify(ctx, r)
			switch {
			case err == nil && id != nil:
				return id, nil
			case errors.Is(err, ErrNoCredential):
			case err == nil:
				return nil, errNilIdentity
			default:
				return nil, err
			}
		}
	}
	return nil, ErrNoCredential
}

var errNilIdentity = errors.New("a credential kind answered neither an identity nor an error")

// refuse answers somebody whom nobody vouches for.
func (a *Application) refuse(r *Request, d Demand, err error) Decision {
	switch {
	case errors.Is(err, ErrUnavailable):
		return Decision{Outcome: Unavailable, Reason: ReasonUnavailable, Retry: retryUnavailable, Err: err}
	case !errors.Is(err, ErrNoCredential):
		return Decision{Outcome: Unauthorized, Reason: ReasonBadCredential, Challenge: a.Challenge, Err: err}
	case a.SignIn == nil || !d.accepts(a.SignIn.Provider):
		return Decision{Outcome: Unauthorized, Reason: ReasonNoCredential, Challenge: a.Challenge}
	}
	if err := a.SignIn.ready(); err != nil {
		return Decision{Outcome: Unavailable, Reason: ReasonIssuer, Retry: retryUnavailable, Err: err}
	}
	return Decision{Outcome: SignIn, Reason: ReasonNoSession, Location: a.startURL(r)}
}

func (a *Application) forbid(id *Identity, rule *Rule, reason Reason) Decision {
	d := Decision{Outcome: Forbidden, Reason: reason, Rule: rule.Name, Identity: id}
	if reason == ReasonScope {
		d.Challenge = rule.scopeChallenge
	}
	return d
}
