// Package apikey is the credential kind for programs: named keys, of which
// only the SHA-256 is known here, presented as "Authorization: Bearer KEY"
// (RFC 6750, section 2.1) or "X-Api-Key: KEY".
//
// It knows neither rules nor limits; that a key may do less than all is said
// by the groups and scopes of the identity it answers.
package apikey
