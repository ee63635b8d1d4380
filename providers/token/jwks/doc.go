// Package jwks knows an issuer's signing keys (RFC 7517): where they are, how
// long they are good, when to ask again, and which of them may have signed a
// token. It knows nothing of tokens beyond their key id and algorithm.
//
// Keys are fetched when they are first needed and refreshed behind the
// requests that use them. The last good set serves on while the issuer is
// down. However many ask, with however many key ids made up, the issuer is
// asked at most once in 30 s.
package jwks
