// Package knock is the HTTP face of knocking: POST or GET /knock with a key
// admits an address for a while, /verify says whether an address is admitted,
// /health and /ready how things are. Answers are byte for byte those of
// Knocker, so that its clients and its Caddyfiles work unchanged.
//
// It knows neither keys nor leases: whom it asks is a Door.
package knock
