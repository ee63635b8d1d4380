package extauthz

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/peer"
)

// method is the path under which gRPC knows the question; faults are logged
// under it.
const method = authv3.Authorization_Check_FullMethodName

// question answers the client's request that in tells of, in the form in which
// the Envoy dialect reads it over HTTP: RequestURI, Host, method and headers
// are the client's, RemoteAddr is whoever asks. Nothing is judged here: what
// is missing stays empty, and the dialect refuses it.
func question(ctx context.Context, in *authv3.CheckRequest) *http.Request {
	told := in.GetAttributes().GetRequest().GetHttp()
	r := &http.Request{
		Method: told.GetMethod(), Host: told.GetHost(), RequestURI: told.GetPath(), URL: &url.URL{Path: method},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: headers(told), Body: http.NoBody, RemoteAddr: asker(ctx),
	}
	if _, ok := r.Header["X-Forwarded-Proto"]; !ok && told.GetScheme() != "" {
		// With allowed_headers the header may stay behind. Where it is told it
		// counts for more: a client of HTTP/2 writes :scheme itself.
		r.Header["X-Forwarded-Proto"] = []string{told.GetScheme()}
	}
	if last, ok := source(in.GetAttributes().GetSource()); ok {
		// Who is connected to Envoy is one hop more to walk past.
		r.Header["X-Forwarded-For"] = append(r.Header["X-Forwarded-For"], last)
	}
	return r.WithContext(ctx)
}

// asker answers the address of whoever asks, as net/http has it in RemoteAddr.
// All unix sockets have one: a peer may bind its own end to a name that reads
// like an address.
func asker(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	switch {
	case !ok || p.Addr == nil:
		return "unknown"
	case p.Addr.Network() == "unix":
		return "@"
	}
	return p.Addr.String()
}

// headers answers the client's headers, told in one of two forms: joined by
// name, or line by line (encode_raw_headers).
func headers(told *authv3.AttributeContext_HttpRequest) http.Header {
	h := make(http.Header, len(told.GetHeaders())+1)
	add := func(name, value string) {
		if name == "" || name[0] == ':' || strings.EqualFold(name, "host") {
			return // Envoy's own names; the attributes tell them
		}
		name = http.CanonicalHeaderKey(name)
		h[name] = append(h[name], value)
	}
	for name, value := range told.GetHeaders() {
		add(name, value)
	}
	for _, line := range told.GetHeaderMap().GetHeaders() {
		value := line.GetValue()
		if raw := line.GetRawValue(); len(raw) > 0 {
			value = string(raw)
		}
		add(line.GetKey(), value)
	}
	return h
}

// source answers the address of whoever is connected to Envoy; false where
// there is none to tell: over a pipe, whose permissions say who may connect.
// What is no address stays what it is, and one of a listener inside Envoy is
// none: then the client is not known, whatever it says of itself.
func source(p *authv3.AttributeContext_Peer) (string, bool) {
	switch a := p.GetAddress().GetAddress().(type) {
	case *corev3.Address_SocketAddress:
		return a.SocketAddress.GetAddress(), true
	case *corev3.Address_EnvoyInternalAddress:
		return "internal", true
	default:
		return "", false
	}
}
