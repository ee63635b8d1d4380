package extauthz

import (
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/dialect"
)

// reply answers Envoy's form of an answer.
func reply(r *http.Request, a dialect.Answer) *authv3.CheckResponse {
	if a.Outcome == outpost.Allow {
		return allowed(a)
	}
	return denied(r, a)
}

// allowed is the one place where an OK is made. A mapped header with a value
// overwrites the client's, one without takes it away.
func allowed(a dialect.Answer) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: a.Removed()}
	for _, h := range a.Headers {
		if v := h.Values[0]; v != "" {
			ok.Headers = append(ok.Headers, option(h.Name, v, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD))
		}
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: ok},
	}
}

// denied makes what the dialect writes for the client a refusal of Envoy's.
func denied(r *http.Request, a dialect.Answer) *authv3.CheckResponse {
	w := &refusal{header: http.Header{}}
	dialect.Envoy().Write(w, r, a)
	if w.status < 300 { // nobody writes one; if somebody did, it would not pass
		w = &refusal{status: http.StatusForbidden, header: http.Header{}}
	}
	no := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(w.status)}}
	if r.Method != http.MethodHead {
		no.Body = string(w.body)
	}
	delete(w.header, "Content-Length") // Envoy counts
	for _, name := range sorted(w.header) {
		action := corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		for _, v := range w.header[name] {
			no.Headers = append(no.Headers, option(name, v, action))
			action = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		}
	}
	code := codes.PermissionDenied
	if a.Outcome == outpost.SignIn || a.Outcome == outpost.Unauthorized {
		code = codes.Unauthenticated
	}
	return &authv3.CheckResponse{
		Status:       &status.Status{Code: int32(code)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: no},
	}
}

func sorted(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func option(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: strings.ToLower(name), Value: value}, AppendAction: action,
	}
}
