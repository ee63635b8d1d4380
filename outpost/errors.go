package outpost

import (
	"errors"

	"github.com/akprox/akprox/outpost/canon"
)

// ErrNoCredential is what a Credential answers when the request carries
// nothing of its kind: the next kind is asked.
var ErrNoCredential = errors.New("no credential")

// ErrUnclaimed is an ErrNoCredential too: something was presented that this
// kind does not know, but another one may. When none of them does, it is a bad
// credential, and nobody is sent to sign in.
var ErrUnclaimed error = unclaimed{}

type unclaimed struct{}

// Error implements error.
func (unclaimed) Error() string { return "nobody here knows it" }

// Unwrap answers ErrNoCredential.
func (unclaimed) Unwrap() error { return ErrNoCredential }

// ErrUnavailable is wrapped by an error that means "nobody could be asked"
// (issuer, store or users file out of reach). It is never a refusal of a
// person: the answer is 503, and no cookie is touched.
var ErrUnavailable = errors.New("unavailable")

// ErrUnknownHost says that no application guards the request's host and path.
var ErrUnknownHost = errors.New("no application guards this host and path")

// ErrPathUnknown says that the application depends on the path, which the
// reverse proxy did not tell.
var ErrPathUnknown = errors.New("nginx did not tell the path, and this application depends on it: " +
	"use the configuration that akprox snippet nginx prints, and set server.nginx_original_url: true")

var errClientUnknown = errors.New("the client's address is not known, and a rule depends on it: " +
	"the reverse proxy has to send a good X-Forwarded-For")

// Reason says in one word why a decision is what it is. The set is closed, so
// that a reason may be a metric label; every one is explained in
// docs/troubleshooting.md.
type Reason string

// The reasons.
const (
	ReasonAllowed          Reason = "allowed"                // a rule's requirements are met
	ReasonPublic           Reason = "public"                 // the rule allows anyone
	ReasonOwnPath          Reason = "own_path"               // one of our own browser-facing paths
	ReasonNoSession        Reason = "no_session"             // nobody has signed in
	ReasonNoCredential     Reason = "no_credential"          // nothing presented, and no sign-in exists
	ReasonBadCredential    Reason = "bad_credential"         // something presented, and it is not good
	ReasonThrottled        Reason = "throttled"              // too many bad credentials for this user or from this address
	ReasonGate             Reason = "gate_closed"            // the client's address holds no lease
	ReasonRateLimit        Reason = "rate_limit"             // too many requests of this identity or address
	ReasonNobody           Reason = "nobody"                 // the rule allows nobody
	ReasonUser             Reason = "user_not_listed"        // users: does not hold this person
	ReasonGroup            Reason = "group_missing"          // none of groups:
	ReasonScope            Reason = "scope_missing"          // not all of scopes:
	ReasonCredential       Reason = "credential_not_allowed" // another credential kind than credentials: lists
	ReasonClientUnknown    Reason = "client_unknown"         // a rule has networks:, and the client's address is not known
	ReasonPathUnknown      Reason = "path_unknown"           // a rule has paths:, and the proxy did not tell the path
	ReasonUnknownHost      Reason = "unknown_host"           // no application guards this host and path
	ReasonUnknownPage      Reason = "unknown_page"           // a page under our prefix that we do not have
	ReasonIssuer           Reason = "issuer_unavailable"     // sign-in is needed and its issuer does not answer
	ReasonUnavailable      Reason = "unavailable"            // a store or provider could not be asked
	ReasonUntrustedPeer    Reason = "untrusted_peer"         // the asking peer is not in trusted_proxies
	ReasonRepeatedHeader   Reason = "repeated_header"        // a control header came twice
	ReasonHeaderTwin       Reason = "header_twin"            // an _ or . spelling of a control header
	ReasonMissingHeader    Reason = "missing_header"         // a control header is absent
	ReasonBadHost          Reason = canon.BadHost            // a host that is no host
	ReasonBadURI           Reason = canon.BadURI             // a URI not in origin form, or with a forbidden byte
	ReasonBadScheme        Reason = canon.BadScheme          // neither http nor https
	ReasonBadMethod        Reason = canon.BadMethod          // a method that is no token
	ReasonTooManyReadings  Reason = canon.TooManyReadings    // servers could read the path in too many ways
	ReasonAmbiguous        Reason = "ambiguous_application"  // the path's readings belong to different applications
	ReasonSpoofedIdentity  Reason = "spoofed_identity"       // the client sent an identity header that the proxy would pass on
	ReasonOversized        Reason = canon.Oversized          // a URL or header beyond its bound
	ReasonInternal         Reason = "internal_error"         // a fault of ours; the log has it
	ReasonMethodNotAllowed Reason = "method_not_allowed"     // an endpoint of ours asked with the wrong method
)

// BadRequest is the error of reading a request that no honest proxy sends.
type BadRequest struct {
	Reason Reason
	Detail string // for the log; never holds a secret
}

// Error answers the reason and the detail.
func (e *BadRequest) Error() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Detail
}

// Bad makes a BadRequest.
func Bad(reason Reason, detail string) error { return &BadRequest{Reason: reason, Detail: detail} }

// ReasonOf answers why err refuses a request: the reason that a BadRequest or
// a canon.Refused names, path_unknown, unknown_host, else internal_error.
func ReasonOf(err error) Reason {
	var bad *BadRequest
	var refused *canon.Refused
	switch {
	case errors.As(err, &bad):
		return bad.Reason
	case errors.As(err, &refused):
		return Reason(refused.Reason)
	case errors.Is(err, ErrPathUnknown):
		return ReasonPathUnknown
	case errors.Is(err, ErrUnknownHost):
		return ReasonUnknownHost
	}
	return ReasonInternal
}
