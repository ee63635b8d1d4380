// Package oidc says everything that the outpost says to an OpenID issuer:
// discovery, where to send the browser, the redemption of a code, userinfo,
// and where to end the issuer's session. It owns the HTTP calls to the issuer.
// It knows nothing of sessions, cookies, pages or documents, verifies no
// signature itself (that is go-oidc's), and leaves the way from claims to an
// identity to outpost/claims.
//
// A Provider never fails at start. Until the issuer answers, and whenever it
// stops, every question gets an error that wraps outpost.ErrUnavailable and
// names the cause; Follow notices when it is back.
package oidc
