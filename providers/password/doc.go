// Package password is the credential kind for people whom no issuer knows:
// users with a hashed password, from the document, a users file or an htpasswd
// file. Identify answers for "Authorization: Basic" (RFC 7617), Check for the
// sign-in page; both count the same failures.
//
// It knows neither sessions nor pages. It keeps no password, and none is in
// any error.
package password
