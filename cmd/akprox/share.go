package main

import (
	"fmt"
	"slices"

	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/token"
)

// sharing is what instances share over the store beside its items; what is nil
// each has for itself.
type sharing struct {
	limits   limit.Tallier // rate limits
	failures limit.Tallier // of passwords and knocks
	answers  token.Shared  // about introspected tokens
}

// newSharing answers what the document lets the instances of a kind of store
// share; measured is st with its calls timed.
func newSharing(kind string, share []string, st, measured store.Store, m *telemetry.Metrics) (s sharing, err error) {
	shares := func(what string) bool { return slices.Contains(share, what) }
	if t, ok := st.(limit.Tallier); ok {
		t = m.Tallier(t)
		if shares("rate_limits") {
			s.limits = t
		}
		if shares("throttles") {
			s.failures = t
		}
	} else if shares("rate_limits") || shares("throttles") {
		return s, fmt.Errorf("store.share: a %s store does not count", kind)
	}
	if shares("introspection") {
		a, ok := measured.(token.Shared)
		if !ok {
			return s, fmt.Errorf("store.share: a %s store is not for introspection", kind)
		}
		s.answers = a
	}
	return s, nil
}
