// Package outpost decides: what is asked, by whom, of what, and what we answer.
// It holds the nouns (Request, Identity, Application, Rule, Decision), the
// contracts that credential kinds and issuers fulfil, and the one decision,
// Application.Decide. It does no I/O, writes no log and reads no clock, and it
// must not know any reverse proxy, provider or store. The zero value of
// everything that could let somebody in denies.
package outpost
