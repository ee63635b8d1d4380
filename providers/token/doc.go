// Package token identifies the bearer of an OAuth 2.0 access token (RFC 6750):
// JWT verifies signed tokens on the spot, Introspection asks the issuer about
// opaque ones (RFC 7662). It owns what makes a token acceptable, the two
// caches, and every call to the issuer. It knows nothing of rules: scopes,
// groups, hosts and paths are judged on each request by outpost.
//
// Only the Authorization header is read. Which kind a token belongs to:
//
//   - A token without three parts is not JWT's. A token of three parts is the
//     JWT's whose issuer it names, by its unverified "iss"; with another "iss"
//     it is not this JWT's. Both are outpost.ErrUnclaimed, and the next kind is
//     asked: a second JWT, then Introspection. All else that is wrong with it
//     is a bad credential.
//   - Every bearer token is Introspection's. Put it behind all other kinds
//     that read the header, so that no issuer is shown what is not its own.
//
// A refusal is an *Error. An error that wraps outpost.ErrUnavailable means
// that nobody could be asked; it is never kept.
package token
