// Package extauthz is the gRPC face: Envoy asks
// envoy.service.auth.v3.Authorization/Check on a listener of its own. It turns
// the question into the request that the Envoy dialect reads, and the answer
// into Envoy's. It decides and records nothing, and there is one way to an OK:
// an Allow.
package extauthz
