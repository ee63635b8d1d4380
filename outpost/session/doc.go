// Package session owns who signed in: the cookie, the typed record behind it,
// how long it lives, and the credential kind that reads it. The cookie holds a
// signed random id and nothing else; everything about a person stays in the
// store. No other package sees the cookie's form, gorilla's types or the
// record's encoding, and nothing here knows how somebody signed in.
package session
