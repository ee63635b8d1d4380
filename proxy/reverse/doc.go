// Package reverse is proxy mode: it carries out an Allow by forwarding the
// request to the application's upstream. It owns what an upstream gets to see
// of a client (which headers, cookies, path) and what becomes of an upstream
// that does not answer. It must not know why a request was allowed, nor any
// session, credential kind or document.
//
// What an upstream receives:
//
//   - method, path and query as they were judged, byte for byte: nothing is
//     cleaned, decoded or put in order. A path on the upstream's URL is put
//     in front ("http://127.0.0.1:8080/base" and "/x" make "/base/x").
//   - Host is the one that the browser used, in canonical form, so that
//     upstreams make correct links without being told.
//   - X-Forwarded-For and X-Real-IP hold the one client address that was
//     judged, X-Forwarded-Proto the scheme of the external URL,
//     X-Forwarded-Host the browser's host. Everything else called
//     X-Forwarded-*, X-Original-* or Forwarded never passes.
//   - every mapped identity header, empty where there is no value; and no
//     other spelling of one, in headers or trailers.
//   - no cookie of ours, and no Authorization unless the application asks.
//
// Bodies stream both ways and are bounded by neither size nor time. Upgrades
// pass (WebSocket and others), except to another form of HTTP.
package reverse
