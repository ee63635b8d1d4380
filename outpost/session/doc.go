// Package session owns who signed in: the cookie, the typed record behind it,
// how long it lives, and the credential kind that reads it. The cookie holds a
// signed random id and nothing else; everything about a person stays in the
// store. No other package sees the cookie's form, gorilla's types or the
// record's encoding, and nothing here knows how somebody signed in.
//
// # What is held in memory
//
// A session that was read from the store is held decoded, and is then checked
// without asking the store again for as long as it is confirmed. In a store that
// this process has for itself, every ending goes through here, and so what is
// held is always confirmed. In a store that several share (a store.Watcher) it
// is confirmed from the moment it was asked for until the store tells of a
// change under its key, which drops it, or that changes may have been missed
// (Watch's "", as after a lost connection), which makes everything held
// unconfirmed. What is unconfirmed is asked for again at its next use.
//
// If the store does not answer then, Options.Grace decides: for that long after
// the watch was lost, what was held goes on, up to its own limits; afterwards,
// and at once with a grace of 0, the answer is outpost.ErrUnavailable. The price
// of a grace is that a session ended elsewhere meanwhile goes on here for so
// long. No cookie is touched either way, and nothing but an answer of the store
// is needed to recover.
//
// # How a session is renewed
//
// A session with a refresh token is due when the issuer has not vouched for it
// for Lifetimes.Refresh, or when its access token is about to end. The request
// that finds it due is answered with what is known. In the background, one
// process of all (store.Claimer) reads the record once more, asks the issuer
// and writes what it said (store.Replacer), trying again while the store is
// silent; the claim outlives that. A claim that was made though the store did
// not say so is found again by the process that asked for it. Only the process that holds the claim uses a
// refresh token, and only the one that it read under the claim. A session that
// was ended meanwhile does not come back. The issuer's "no" ends the session; its
// silence does not, and is tried again later and later, up to a minute apart.
package session
