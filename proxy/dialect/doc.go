// Package dialect knows how each reverse proxy asks and is answered: it reads
// the question into an outpost.Request, canonical and only from peers that are
// trusted, writes the decision in the form that this proxy understands, and
// prints the configuration that makes the proxy ask. One file a dialect. It
// decides nothing.
package dialect
