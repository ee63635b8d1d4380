// Package server listens: it binds the addresses of the document, speaks
// HTTP/1.1 and HTTP/2 on them with and without TLS, answers /metrics, /livez
// and /readyz on a listener of their own, and stops without cutting anybody
// off. It must not know what is served.
//
// A request over a unix socket has the RemoteAddr "@", whatever name its peer
// gave its own end; over TCP it is always an address and a port. That is how a
// handler tells the two apart.
package server
