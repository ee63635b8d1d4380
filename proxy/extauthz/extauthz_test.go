package extauthz

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/dialect"
)

// edge believes this machine.
func edge() *dialect.Edge {
	return &dialect.Edge{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}}
}

// serve serves check on l and answers a connection to it.
func serve(t *testing.T, l net.Listener, check Check) (*Server, *grpc.ClientConn) {
	t.Helper()
	s := New(check)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; err != nil {
			t.Log(err)
		}
	})
	target := l.Addr().String()
	if l.Addr().Network() == "unix" {
		target = "unix:" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return s, conn
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asked is a question as Envoy asks it, changed.
func asked(change func(*authv3.AttributeContext_HttpRequest)) *authv3.CheckRequest {
	told := &authv3.AttributeContext_HttpRequest{
		Method: "GET", Scheme: "https", Host: "wiki.example.com", Path: "/a?b=c", Protocol: "HTTP/2",
		Headers: map[string]string{
			":authority": "wiki.example.com", ":method": "GET", ":path": "/a?b=c", ":scheme": "https",
			"x-forwarded-proto": "https", "x-forwarded-for": "198.51.100.7", "accept": "text/html", "cookie": "a=b; c=d",
		},
	}
	if change != nil {
		change(told)
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: told}}}
}

// from adds who is connected to Envoy.
func from(address string) *authv3.AttributeContext_Peer {
	return &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: address}}}}
}

func TestQuestions(t *testing.T) {
	header := func(name, value string) func(*authv3.AttributeContext_HttpRequest) {
		return func(h *authv3.AttributeContext_HttpRequest) { h.Headers[name] = value }
	}
	lines := func(pairs ...string) func(*authv3.AttributeContext_HttpRequest) {
		return func(h *authv3.AttributeContext_HttpRequest) {
			h.Headers, h.HeaderMap = nil, &corev3.HeaderMap{}
			for i := 0; i < len(pairs); i += 2 {
				h.HeaderMap.Headers = append(h.HeaderMap.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
			}
		}
	}
	var got *outpost.Request
	var refused error
	_, conn := serve(t, loopback(t), func(r *http.Request) (dialect.Answer, error) {
		got, refused = dialect.Envoy().Read(r, edge())
		return dialect.Answer{Decision: outpost.Refuse(errors.Join(refused, errors.New("seen"))), Request: got}, nil
	})
	for _, row := range []struct {
		name   string
		in     *authv3.CheckRequest
		source *authv3.AttributeContext_Peer
		client string // "198.51.100.7" if ""
		scheme string // "https" if ""
		reason outpost.Reason
	}{
		{name: "an honest question", in: asked(nil)},
		{name: "line by line", in: asked(lines("x-forwarded-proto", "https", "x-forwarded-for", "203.0.113.9", "x-forwarded-for", "198.51.100.7", "accept", "text/html"))},
		{name: "the scheme's header stayed behind", in: asked(func(h *authv3.AttributeContext_HttpRequest) {
			delete(h.Headers, "x-forwarded-proto")
			h.Scheme = "http"
		}), scheme: "http"},
		{name: "a client of HTTP/2 writes :scheme", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Scheme = "http" })},
		{name: "no scheme", in: asked(func(h *authv3.AttributeContext_HttpRequest) { delete(h.Headers, "x-forwarded-proto"); h.Scheme = "" }), reason: outpost.ReasonMissingHeader},
		{name: "a scheme of scripts", in: asked(header("x-forwarded-proto", "javascript")), reason: outpost.ReasonBadScheme},
		{name: "two schemes", in: asked(header("x-forwarded-proto", "https,http")), reason: outpost.ReasonBadScheme},
		{name: "CVE-2021-39206: two lines of the scheme", in: asked(lines("x-forwarded-proto", "https", "x-forwarded-proto", "https")), reason: outpost.ReasonRepeatedHeader},
		{name: "CVE-2026-39858: a twin of the scheme", in: asked(header("x_forwarded_proto", "https")), reason: outpost.ReasonHeaderTwin},
		{name: "a dotted twin of the client", in: asked(header("x.forwarded.for", "10.0.0.1")), reason: outpost.ReasonHeaderTwin},
		{name: "a path without its slash", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Path = "x" }), reason: outpost.ReasonBadURI},
		{name: "user info for a path", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Path = "@pub/x" }), reason: outpost.ReasonBadURI},
		{name: "no path", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Path = "" }), reason: outpost.ReasonBadURI},
		{name: "user info before the host", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "adm@wiki.example.com" }), reason: outpost.ReasonBadHost},
		{name: "no host", in: asked(func(h *authv3.AttributeContext_HttpRequest) { h.Host = "" }), reason: outpost.ReasonBadHost},
		{name: "the header Host is not the host", in: asked(header("host", "pub.example.com"))},
		{name: "nothing at all", in: &authv3.CheckRequest{}, reason: outpost.ReasonMissingHeader},
		{name: "the client is connected to Envoy", in: asked(header("x-forwarded-for", "203.0.113.9")), source: from("198.51.100.7")},
		{name: "a proxy in front of Envoy", in: asked(nil), source: from("10.0.0.2")},
		{name: "Knocker: what the client wrote is left of the truth", in: asked(header("x-forwarded-for", "10.9.9.9, 198.51.100.7")), source: from("10.0.0.2")},
		{name: "on this machine alone", in: asked(func(h *authv3.AttributeContext_HttpRequest) { delete(h.Headers, "x-forwarded-for") }), source: from("127.0.0.1"), client: "127.0.0.1"},
		{name: "CVE-2023-36456: an address that is none", in: asked(nil), source: from("a"), client: "invalid IP"},
		{name: "Envoy is asked by itself, inside", in: asked(header("x-forwarded-for", "10.9.9.9")), source: &authv3.AttributeContext_Peer{Address: &corev3.Address{
			Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "x"}}},
		}}, client: "invalid IP"},
		{name: "Envoy is asked over a pipe", in: asked(nil), source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: "/x"}}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.source != nil {
				row.in.Attributes.Source = row.source
			}
			out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), row.in)
			if err != nil || out.GetStatus().GetCode() == int32(codes.OK) || out.GetOkResponse() != nil {
				t.Fatalf("%v, %v", out, err)
			}
			if row.reason != "" {
				if refused == nil || outpost.ReasonOf(refused) != row.reason {
					t.Errorf("got %+v, %v; want %s", got, refused, row.reason)
				}
				return
			}
			if refused != nil {
				t.Fatal(refused)
			}
			client, scheme := row.client, row.scheme
			if client == "" {
				client = "198.51.100.7"
			}
			if scheme == "" {
				scheme = "https"
			}
			if got.Client.String() != client || got.Scheme != scheme || got.Host != "wiki.example.com" || got.Path.Raw() != "/a" || got.Query != "b=c" || got.Method != "GET" || !got.Page {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOnlyTrustedPeersAreAnswered(t *testing.T) {
	var refused error
	check := func(r *http.Request) (dialect.Answer, error) {
		_, refused = dialect.Envoy().Read(r, &dialect.Edge{})
		return dialect.Answer{}, nil
	}
	_, conn := serve(t, loopback(t), check)
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), asked(nil)); err != nil || outpost.ReasonOf(refused) != outpost.ReasonUntrustedPeer {
		t.Errorf("CVE-2026-40575: %v, %v", err, refused)
	}
	socket, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	_, conn = serve(t, socket, check)
	if _, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), asked(nil)); err != nil || refused != nil {
		t.Errorf("over a unix socket: %v, %v", err, refused)
	}
}

func TestAnswers(t *testing.T) {
	page := &outpost.Request{Navigation: true, Page: true, Host: "wiki.example.com", Header: http.Header{"X_auth_groups": {"root"}, "X.other": {"x"}}}
	script := &outpost.Request{JSON: true}
	var answer dialect.Answer
	_, conn := serve(t, loopback(t), func(*http.Request) (dialect.Answer, error) { return answer, nil })
	for _, row := range []struct {
		outcome  outpost.Outcome
		req      *outpost.Request
		status   int
		code     codes.Code
		location bool
		body     string
	}{
		{outpost.Allow, page, 0, codes.OK, false, ""},
		{outpost.SignIn, page, 302, codes.Unauthenticated, true, ""},
		{outpost.SignIn, script, 401, codes.Unauthenticated, false, `"error":"sign_in"`},
		{outpost.Unauthorized, page, 401, codes.Unauthenticated, false, "<html"},
		{outpost.Forbidden, page, 403, codes.PermissionDenied, false, "<html"},
		{outpost.RateLimited, script, 429, codes.PermissionDenied, false, "rate_limited"},
		{outpost.Unavailable, script, 503, codes.PermissionDenied, false, "unavailable"},
		{outpost.Malformed, nil, 400, codes.PermissionDenied, false, "bad_request"},
		{outpost.UnknownHost, page, 404, codes.PermissionDenied, false, "<html"},
		{outpost.Outcome(77), page, 403, codes.PermissionDenied, false, "<html"},
	} {
		t.Run(row.outcome.String(), func(t *testing.T) {
			answer = dialect.Answer{
				Decision: outpost.Decision{
					Outcome: row.outcome, Reason: "group_missing", Location: "https://wiki.example.com/akprox/start?rd=x", Challenge: `Bearer realm="wiki"`,
					Retry: 1500 * time.Millisecond, Headers: []outpost.Header{{Name: "X-Auth-Username", Values: []string{"alice"}}, {Name: "X-Auth-Groups", Values: []string{""}}},
				},
				Request: row.req, Prefix: "/akprox", RequestID: "id-1", Consumed: []string{"Authorization"},
			}
			out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), asked(nil))
			if err != nil {
				t.Fatal(err)
			}
			if got := codes.Code(out.GetStatus().GetCode()); got != row.code {
				t.Errorf("code %v, want %v", got, row.code)
			}
			if err := out.ValidateAll(); err != nil || out.GetDynamicMetadata() != nil {
				t.Errorf("%v, %v", err, out.GetDynamicMetadata())
			}
			if row.outcome == outpost.Allow {
				ok := out.GetOkResponse()
				if got := told(ok.GetHeaders()); !maps.Equal(got, map[string]string{"x-auth-username": "alice"}) {
					t.Errorf("headers %v", got)
				}
				if got := ok.GetHeadersToRemove(); !slices.Equal(got, []string{"authorization", "x-auth-groups", "x_auth_groups"}) {
					t.Errorf("to remove %q", got)
				}
				return
			}
			no := out.GetDeniedResponse()
			h := told(no.GetHeaders())
			if out.GetOkResponse() != nil || int(no.GetStatus().GetCode()) != row.status || !strings.Contains(no.GetBody(), row.body) {
				t.Errorf("%v", no)
			}
			_, identity := h["x-auth-username"]
			if (h["location"] != "") != row.location || h["cache-control"] != "no-store" || identity {
				t.Errorf("headers %v", h)
			}
			if row.outcome == outpost.Unauthorized && h["www-authenticate"] == "" {
				t.Error("no challenge")
			}
			if (row.outcome == outpost.RateLimited || row.outcome == outpost.Unavailable) && h["retry-after"] != "2" {
				t.Errorf("Retry-After %q", h["retry-after"])
			}
			if _, counted := h["content-length"]; counted {
				t.Error("a length that Envoy counts itself")
			}
		})
	}
}

// told answers single-valued headers; each overwrites.
func told(options []*corev3.HeaderValueOption) map[string]string {
	h := map[string]string{}
	for _, o := range options {
		if o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			h[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
		}
	}
	return h
}

func TestAHeadHasNoBody(t *testing.T) {
	_, conn := serve(t, loopback(t), func(*http.Request) (dialect.Answer, error) { return dialect.Answer{}, nil })
	out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), asked(func(h *authv3.AttributeContext_HttpRequest) { h.Method = http.MethodHead }))
	if err != nil || out.GetDeniedResponse().GetBody() != "" || out.GetDeniedResponse().GetStatus().GetCode() != 403 {
		t.Errorf("%v, %v", out, err)
	}
}

func TestFaultsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		check Check
		in    *authv3.CheckRequest
		want  codes.Code
	}{
		"a panic":     {func(*http.Request) (dialect.Answer, error) { panic("x") }, asked(nil), codes.Internal},
		"no answer":   {func(*http.Request) (dialect.Answer, error) { return dialect.Answer{}, errors.New("not ready") }, asked(nil), codes.Unavailable},
		"no UTF-8":    {allow("a\xff"), asked(nil), codes.Internal},
		"a huge body": {allow("alice"), asked(func(h *authv3.AttributeContext_HttpRequest) { h.RawBody = make([]byte, maxMessage) }), codes.ResourceExhausted},
	} {
		_, conn := serve(t, loopback(t), c.check)
		if out, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), c.in); status.Code(err) != c.want || out != nil {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
}

func allow(user string) Check {
	return func(*http.Request) (dialect.Answer, error) {
		return dialect.Answer{Decision: outpost.Decision{Outcome: outpost.Allow, Headers: []outpost.Header{{Name: "X-Auth-Username", Values: []string{user}}}}}, nil
	}
}

func TestShutdownLetsQuestionsEnd(t *testing.T) {
	begun, end := make(chan bool), make(chan bool)
	s, conn := serve(t, loopback(t), func(r *http.Request) (dialect.Answer, error) {
		begun <- true
		select {
		case <-end:
		case <-r.Context().Done():
		}
		return allow("alice")(r)
	})
	answered := make(chan error, 1)
	go func() {
		out, err := authv3.NewAuthorizationClient(conn).Check(context.Background(), asked(nil))
		if err == nil && out.GetOkResponse() == nil {
			err = errors.New(out.String())
		}
		answered <- err
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	select {
	case err := <-stopped:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	close(end)
	if err := <-answered; err != nil {
		t.Errorf("the question in flight: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestShutdownEnds(t *testing.T) {
	begun := make(chan bool)
	s, conn := serve(t, loopback(t), func(r *http.Request) (dialect.Answer, error) {
		begun <- true
		<-r.Context().Done()
		return dialect.Answer{}, r.Context().Err()
	})
	answered := make(chan error, 1)
	go func() {
		_, err := authv3.NewAuthorizationClient(conn).Check(context.Background(), asked(nil))
		answered <- err
	}()
	<-begun
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := <-answered; err == nil {
		t.Error("a question that did not end was answered")
	}
}

func TestHealth(t *testing.T) {
	_, conn := serve(t, loopback(t), allow("alice"))
	for _, name := range []string{"", "envoy.service.auth.v3.Authorization"} {
		out, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: name})
		if err != nil || out.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", name, out, err)
		}
	}
}

// FuzzQuestion holds that of whatever bytes a question is made, what is read is
// canonical, and that what is refused is no OK.
func FuzzQuestion(f *testing.F) {
	for _, in := range []*authv3.CheckRequest{
		asked(nil),
		{},
		asked(func(h *authv3.AttributeContext_HttpRequest) { h.Path, h.Host = "@pub/x", "a@b" }),
		asked(func(h *authv3.AttributeContext_HttpRequest) {
			h.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x_forwarded_proto", RawValue: []byte("\x00")}}}
		}),
	} {
		in.GetAttributes().GetRequest().GetHttp() // nil is fine
		bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(bytes)
	}
	f.Fuzz(func(t *testing.T, bytes []byte) {
		in := &authv3.CheckRequest{}
		if proto.Unmarshal(bytes, in) != nil {
			return
		}
		r := question(t.Context(), in)
		if _, err := dialect.Envoy().Read(r, edge()); outpost.ReasonOf(err) != outpost.ReasonUntrustedPeer {
			t.Fatalf("somebody without an address is believed: %v", err)
		}
		r.RemoteAddr = "127.0.0.1:1"
		req, err := dialect.Envoy().Read(r, edge())
		if err != nil {
			a := dialect.Answer{Decision: outpost.Refuse(err), Request: req}
			if out := reply(r, a); a.Reason == outpost.ReasonInternal || out.GetStatus().GetCode() == 0 || out.GetDeniedResponse().GetStatus().GetCode() < 400 {
				t.Fatalf("%v: %v", err, out)
			}
			return
		}
		if req.Scheme != "http" && req.Scheme != "https" || req.Host == "" || strings.ContainsAny(req.Host, "/@\\ \x00") ||
			strings.ToUpper(req.Method) != req.Method || !req.Path.Known() || req.Path.Raw()[0] != '/' {
			t.Fatalf("%+v", req)
		}
	})
}
