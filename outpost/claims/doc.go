// Package claims goes from what an issuer says of somebody to an
// outpost.Identity. It owns the strict reading of that JSON, the mapping with
// its fallbacks and bounds, and what a claim must look like to name somebody.
// It does no I/O, and takes for granted that somebody else verified where the
// claims are from.
package claims
