package token

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost"
)

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

// The error codes of RFC 6750, section 3.1, that this package uses.
const (
	InvalidRequest = "invalid_request" // the Authorization header is malformed
	InvalidToken   = "invalid_token"   // the token is expired, revoked, forged or not for us
)

// Error says why a presented token is refused.
type Error struct {
	Code        string // InvalidRequest or InvalidToken
	Description string // for the log alone: clients are not told. It holds no token
}

// Error answers the code and the description.
func (e *Error) Error() string { return e.Code + ": " + e.Description }

func bad(format string, args ...any) *Error {
	return &Error{Code: InvalidToken, Description: fmt.Sprintf(format, args...)}
}

// Unavailable is the error of an Introspection whose issuer could not be
// asked. It wraps outpost.ErrUnavailable.
type Unavailable struct {
	Cause string        // in words, for the log
	Retry time.Duration // when the issuer wants to be asked again; 0 when it did not say
}

// Error answers the cause.
func (u *Unavailable) Error() string { return outpost.ErrUnavailable.Error() + ": " + u.Cause }

// RetryAfter implements outpost.Retrying.
func (u *Unavailable) RetryAfter() time.Duration { return u.Retry }

// Unwrap answers outpost.ErrUnavailable.
func (u *Unavailable) Unwrap() error { return outpost.ErrUnavailable }

// Stats are the counters of a kind since it was made.
type Stats struct {
	Hits, NegativeHits uint64 // answered by a cache: with an identity, with a refusal
	Misses             uint64 // checked, or asked about
	Shared             uint64 // of those, answered by what another outpost was told
	Evicted            uint64 // left a cache before their time, for want of room
	Entries, Negative  int    // in the caches now, expired ones not counted
}

// ThreeParts reports whether a bearer token has the three parts of a signed
// JWT (RFC 7515, section 3.1).
func ThreeParts(token string) bool { return strings.Count(token, ".") == 2 }

// Bearer answers the token of the Authorization header (RFC 6750, section
// 2.1). The error is outpost.ErrNoCredential when there is no such header or
// it is of another scheme, and an *Error with InvalidRequest when the header
// comes twice, holds no token, or what it holds is not made of the characters
// of a token or longer than 16 KiB.
func Bearer(h http.Header) (string, error) {
	values := h["Authorization"]
	if len(values) == 0 {
		return "", outpost.ErrNoCredential
	}
	if len(values) > 1 {
		return "", &Error{InvalidRequest, "the Authorization header came twice"}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return "", outpost.ErrNoCredential
	}
	token = strings.TrimLeft(token, " ") // RFC 9110, section 11.4: one blank or more
	if len(token) > maxToken || !tokenSyntax(token) {
		return "", &Error{InvalidRequest, "what follows Bearer is no token, or is longer than 16 KiB"}
	}
	return token, nil
}

// tokenSyntax reports whether s is a b64token (RFC 6750, section 2.1).
func tokenSyntax(s string) bool {
	s = strings.TrimRight(s, "=")
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return s != ""
}
