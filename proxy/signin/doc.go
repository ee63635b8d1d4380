// Package signin is the browser's way in and out. Each step is one request,
// ends at the browser, and calls no other step:
//
//	start ──▶ the issuer ──▶ callback ──▶ the page that was asked for
//	start ──▶ sign_in, which asks for a password ──▶ the same
//	sign_out ──▶ the issuer, where it has a page for that
//	userinfo
//
// Between start and callback a sign-in is one stored item, its flow, found by
// the state that the issuer hands back, taken at most once, and bound by a
// cookie to the browser that began it. Every URL that a browser is sent to is
// made of the document; the return URL, which the browser tells, is judged at
// start and again at the callback, or when the password is posted (package
// returnurl). What was posted, and by whose doing, is package form's business;
// package words has what becomes of it all.
//
// The package knows no reverse proxy and no issuer's protocol, and it never
// logs, prints or links to a code, a state, a cookie, a token or a password.
package signin
