// Package page makes everything that a person sees: refusals, errors and the
// pages of signing in and out, in one layout that needs no other file, and the
// JSON that programs get in their place. It decides nothing and must not know
// how a request came or what happens next; it repeats nothing of what a client
// sent except the canonical host.
package page
