// Package ext takes the place of a nested module of Traefik's own repository
// that was never released by itself, so that Traefik can be built as a module.
package ext

// HTTP is the empty extension of Traefik's HTTP configuration.
type HTTP struct{}

// Router is the empty extension of one Traefik router.
type Router struct{}
