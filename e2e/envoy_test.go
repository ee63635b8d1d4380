package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// No Envoy can be had here: these two are no real proxies. In its place stands
// envoySite, code of this package, which reads what is printed with the types
// of Envoy's configuration, checks it with their own rules, and does with it
// what their documentation says. It talks to the real akprox, over HTTP and by
// the protocol of ext_authz with the client generated from it.
var (
	envoyHTTP = front{name: "envoy-http", snippet: "envoy", start: startEnvoy, ownErrors: true}
	envoyGRPC = front{name: "envoy-grpc", snippet: "envoy", start: startEnvoy, grpc: true}
)

// envoySite is one printed configuration.
type envoySite struct {
	hcm      *hcmv3.HttpConnectionManager
	auth     *extauthzv3.ExtAuthz
	strip    *mutationv3.HeaderMutation
	clusters map[string]string
	client   authv3.AuthorizationClient // nil over HTTP
}

func startEnvoy(t *testing.T, s *stage, printed []string) {
	var sites []*envoySite
	for _, text := range printed {
		sites = append(sites, newEnvoySite(t, strings.ReplaceAll(text, "address: \"127.0.0.1\", port_value: 8080", fmt.Sprintf("address: \"127.0.0.1\", port_value: %s", portOf(s.program)))))
		if (sites[0].client != nil) != s.front.grpc {
			t.Fatal("the configuration asks in the other way")
		}
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, site := range sites {
			if host := site.host(r.Host); host != nil {
				site.serve(w, r, host)
				return
			}
		}
		http.Error(w, "no virtual host", http.StatusNotFound)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}

// readEnvoy reads a configuration strictly and has Envoy's rules check it.
func readEnvoy(t *testing.T, text string) *bootstrapv3.Bootstrap {
	t.Helper()
	var tree any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatal(err, text)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	b := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(asJSON, b); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if err := validate(b); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return b
}

// validate checks m and, inside it, whatever is packed.
func validate(m proto.Message) (err error) {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		return validate(inner)
	}
	m.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				err = validate(v.Message().Interface())
				return err == nil
			})
		case fd.IsList() && fd.Message() != nil:
			for i := 0; i < v.List().Len() && err == nil; i++ {
				err = validate(v.List().Get(i).Message().Interface())
			}
		case !fd.IsMap() && fd.Message() != nil:
			err = validate(v.Message().Interface())
		}
		return err == nil
	})
	return err
}

func newEnvoySite(t *testing.T, text string) *envoySite {
	t.Helper()
	b := readEnvoy(t, text)
	e := &envoySite{hcm: &hcmv3.HttpConnectionManager{}, auth: &extauthzv3.ExtAuthz{}, strip: &mutationv3.HeaderMutation{}, clusters: map[string]string{}}
	unpack := func(from *anypb.Any, to proto.Message) {
		if err := from.UnmarshalTo(to); err != nil {
			t.Fatal(err)
		}
	}
	unpack(b.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), e.hcm)
	filters := e.hcm.GetHttpFilters()
	if len(filters) != 3 {
		t.Fatalf("%d filters", len(filters))
	}
	unpack(filters[0].GetTypedConfig(), e.strip)
	unpack(filters[1].GetTypedConfig(), e.auth)
	for _, c := range b.GetStaticResources().GetClusters() {
		a := c.GetLoadAssignment().GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress()
		e.clusters[c.GetName()] = fmt.Sprintf("%s:%d", a.GetAddress(), a.GetPortValue())
	}
	if cluster := e.auth.GetGrpcService().GetEnvoyGrpc().GetClusterName(); cluster != "" {
		conn, err := grpc.NewClient(e.clusters[cluster], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		e.client = authv3.NewAuthorizationClient(conn)
	}
	return e
}

// host answers the virtual host for a Host.
func (e *envoySite) host(name string) *routev3.VirtualHost {
	name = strings.ToLower(name)
	for _, v := range e.hcm.GetRouteConfig().GetVirtualHosts() {
		for _, d := range v.GetDomains() {
			if d == name || strings.HasPrefix(d, "*") && len(name) >= len(d) && strings.HasSuffix(name, d[1:]) {
				return v
			}
		}
	}
	return nil
}

// forgetNominated takes away what Connection names, as Envoy's HTTP/1 codec
// does (sanitizeConnectionHeader) before any filter sees a request.
func forgetNominated(h http.Header) {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); !strings.EqualFold(name, "upgrade") && !strings.EqualFold(name, "keep-alive") {
				h.Del(name)
			}
		}
	}
	if h.Get("Upgrade") == "" {
		h.Del("Connection")
	} else {
		h.Set("Connection", "Upgrade")
	}
}

func (e *envoySite) serve(w http.ResponseWriter, r *http.Request, host *routev3.VirtualHost) {
	r = r.Clone(r.Context())
	forgetNominated(r.Header)
	path, query, asked := strings.Cut(r.RequestURI, "?")
	if u, err := url.Parse(r.RequestURI); err == nil && u.IsAbs() {
		path, query = u.EscapedPath(), u.RawQuery
	}
	if e.hcm.GetNormalizePath().GetValue() {
		path = normalized(path)
	}
	if r.RequestURI = path; asked {
		r.RequestURI += "?" + query
	}
	e.clean(r)
	for _, route := range host.GetRoutes() {
		prefix, separated := route.GetMatch().GetPrefix(), route.GetMatch().GetPathSeparatedPrefix()
		if separated != "" && path != separated && !strings.HasPrefix(path, separated+"/") || !strings.HasPrefix(path, prefix) {
			continue
		}
		perRoute := &extauthzv3.ExtAuthzPerRoute{}
		if packed := route.GetTypedPerFilterConfig()["envoy.filters.http.ext_authz"]; packed != nil {
			if err := packed.UnmarshalTo(perRoute); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		if !perRoute.GetDisabled() && !e.may(w, r) {
			return
		}
		for _, name := range route.GetRequestHeadersToRemove() {
			r.Header.Del(name)
		}
		e.forward(w, r, e.clusters[route.GetRoute().GetCluster()])
		return
	}
	http.Error(w, "no route", http.StatusNotFound)
}

// clean is what happens to the client's headers before the question.
func (e *envoySite) clean(r *http.Request) {
	drop := e.hcm.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() == corev3.HttpProtocolOptions_DROP_HEADER
	remove := func(name string) bool {
		for _, m := range e.strip.GetMutations().GetRequestMutations() {
			part := m.GetRemoveOnMatch().GetKeyMatcher().GetContains()
			if strings.EqualFold(m.GetRemove(), name) || part != "" && strings.Contains(name, part) {
				return true
			}
		}
		return false
	}
	for name := range r.Header {
		if drop && strings.Contains(name, "_") || remove(name) {
			delete(r.Header, name)
		}
	}
	if e.hcm.GetUseRemoteAddress().GetValue() {
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		r.Header["X-Forwarded-For"] = []string{strings.Join(append(r.Header["X-Forwarded-For"], peer), ",")}
		r.Header["X-Forwarded-Proto"] = []string{"http"}
	}
}

// normalized resolves dot segments, also escaped ones; "//" and "%2f" stay.
func normalized(path string) string {
	path = strings.NewReplacer("%2e", ".", "%2E", ".").Replace(path)
	segments := strings.Split(path, "/")
	var kept []string
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(kept) > 1 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, "/")
}

// may asks akprox. If it answers false, w has been answered.
func (e *envoySite) may(w http.ResponseWriter, r *http.Request) bool {
	var err error
	var ok bool
	if e.client != nil {
		ok, err = e.overGRPC(w, r)
	} else {
		ok, err = e.overHTTP(w, r)
	}
	if err != nil {
		w.WriteHeader(int(e.auth.GetStatusOnError().GetCode()))
		return false
	}
	return ok
}

func (e *envoySite) overHTTP(w http.ResponseWriter, r *http.Request) (bool, error) {
	service := e.auth.GetHttpService()
	address := e.clusters[service.GetServerUri().GetCluster()]
	ctx, cancel := context.WithTimeout(r.Context(), service.GetServerUri().GetTimeout().AsDuration())
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	var b bytes.Buffer // by hand: the path goes as it is
	fmt.Fprintf(&b, "%s %s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n", r.Method, service.GetPathPrefix(), r.RequestURI, r.Host)
	for name, lines := range r.Header {
		if name == "Authorization" || matches(e.auth.GetAllowedHeaders(), name) {
			for _, line := range lines {
				fmt.Fprintf(&b, "%s: %s\r\n", name, line)
			}
		}
	}
	if _, err := conn.Write(append(b.Bytes(), "\r\n"...)); err != nil {
		return false, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: r.Method})
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode >= 500:
		return false, fmt.Errorf("%s", resp.Status)
	case resp.StatusCode != http.StatusOK:
		for name, lines := range resp.Header {
			w.Header()[name] = lines
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
		return false, nil
	}
	for name, lines := range resp.Header {
		if matches(service.GetAuthorizationResponse().GetAllowedUpstreamHeaders(), name) {
			r.Header[name] = lines
		}
	}
	for name := range strings.SplitSeq(resp.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",") {
		r.Header.Del(strings.TrimSpace(name))
	}
	return true, nil
}

func matches(list *matcherv3.ListStringMatcher, name string) bool {
	return slices.ContainsFunc(list.GetPatterns(), func(m *matcherv3.StringMatcher) bool { return m.GetExact() == strings.ToLower(name) })
}

func (e *envoySite) overGRPC(w http.ResponseWriter, r *http.Request) (bool, error) {
	told := &authv3.AttributeContext_HttpRequest{
		Method: r.Method, Scheme: "http", Host: r.Host, Path: r.RequestURI, Protocol: r.Proto,
		Headers: map[string]string{":method": r.Method, ":path": r.RequestURI, ":authority": r.Host, ":scheme": "http"},
	}
	for name, lines := range r.Header {
		told.Headers[strings.ToLower(name)] = strings.Join(lines, ",")
	}
	peer, _, _ := net.SplitHostPort(r.RemoteAddr)
	ctx, cancel := context.WithTimeout(r.Context(), e.auth.GetGrpcService().GetTimeout().AsDuration())
	defer cancel()
	out, err := e.client.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: peer, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}},
		}}},
		Request: &authv3.AttributeContext_Request{Http: told},
	}})
	if err != nil {
		return false, err
	}
	if err := validate(out); err != nil {
		return false, err
	}
	if out.GetStatus().GetCode() != 0 {
		no := out.GetDeniedResponse()
		set(w.Header(), no.GetHeaders())
		w.WriteHeader(int(no.GetStatus().GetCode()))
		_, _ = io.WriteString(w, no.GetBody())
		return false, nil
	}
	set(r.Header, out.GetOkResponse().GetHeaders())
	for _, name := range out.GetOkResponse().GetHeadersToRemove() {
		for own := range r.Header {
			if strings.EqualFold(own, name) {
				delete(r.Header, own)
			}
		}
	}
	return true, nil
}

func set(h http.Header, options []*corev3.HeaderValueOption) {
	for _, o := range options {
		if o.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
			h.Add(o.GetHeader().GetKey(), o.GetHeader().GetValue())
			continue
		}
		h.Set(o.GetHeader().GetKey(), o.GetHeader().GetValue())
	}
}

// forward hands the request on to a cluster, as it is.
func (e *envoySite) forward(w http.ResponseWriter, r *http.Request, address string) {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	decoded, err := url.PathUnescape(path)
	if err != nil {
		http.Error(w, "bad path", http.StatusBadRequest)
		return
	}
	(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL = &url.URL{Scheme: "http", Host: address, Path: decoded, RawPath: path, RawQuery: query}
		p.Out.Host = p.In.Host
		for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"} {
			if lines := p.In.Header[name]; len(lines) > 0 {
				p.Out.Header[name] = lines
			}
		}
	}}).ServeHTTP(w, r)
}

// TestEnvoyReadsEverySnippet has Envoy's own types and rules check what is
// printed, with all that a document may ask for.
func TestEnvoyReadsEverySnippet(t *testing.T) {
	t.Parallel()
	golden, err := filepath.Glob("../proxy/dialect/testdata/snippets/envoy-*.txt")
	if err != nil || len(golden) < 3 {
		t.Fatal(golden, err)
	}
	for _, file := range golden {
		text, err := os.ReadFile(file) // #nosec G304 -- the repository's own
		if err != nil {
			t.Fatal(err)
		}
		readEnvoy(t, string(text))
	}
	for name, text := range map[string]string{
		"sockets": snippetOf(t, "envoy", "unix:/run/akprox/http.sock", "https://app.example.test", `grpc: "unix:/run/akprox/grpc.sock"`),
		"TLS":     snippetOf(t, "envoy", ":9000", "https://app.example.test/team/app", `grpc: ":9001"`, "grpc_tls: true", "tls: { cert_file: a, key_file: b }"),
		"HTTP":    snippetOf(t, "envoy", ":9000", "http://app.example.test:8000"),
	} {
		t.Run(name, func(t *testing.T) { readEnvoy(t, text) })
	}
}
