package extauthz

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/akprox/akprox/proxy/dialect"
)

// What one Envoy, or a stranger who reaches the listener, may take.
const (
	maxMessage     = 2 << 20 // of a question, in bytes: the headers of one request, and no body
	maxConnections = 1024    // at a time; more of them wait
	maxStreams     = 1000    // questions at a time in a connection
	maxHeaderList  = 16 << 10
	handshake      = 10 * time.Second
	idle           = 10 * time.Minute
	pingsApart     = 10 * time.Second // at least; a client that pings more often is cut off
)

// Check decides about the request that r stands for, and records it; see
// proxy.Live.Check. An error means that there is no answer.
type Check func(r *http.Request) (dialect.Answer, error)

// Server answers Envoy's questions, and grpc.health.v1 beside them. It serves
// once.
type Server struct {
	grpc   *grpc.Server
	health *health.Server
}

// New makes a Server that answers with what check decides.
func New(check Check) *Server {
	s := &Server{
		grpc: grpc.NewServer(
			grpc.MaxRecvMsgSize(maxMessage),
			grpc.MaxConcurrentStreams(maxStreams),
			grpc.MaxHeaderListSize(maxHeaderList),
			grpc.ConnectionTimeout(handshake),
			// A peer that is gone without a word, or asks nothing, gives its place up.
			grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idle, Time: time.Minute, Timeout: 20 * time.Second}),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingsApart, PermitWithoutStream: true}),
		),
		health: health.NewServer(),
	}
	authv3.RegisterAuthorizationServer(s.grpc, authorization{check: check})
	healthv1.RegisterHealthServer(s.grpc, s.health)
	s.health.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	return s
}

// Serve answers on l until Shutdown or Close.
func (s *Server) Serve(l net.Listener) error {
	return s.grpc.Serve(netutil.LimitListener(l, maxConnections))
}

// Shutdown accepts nothing more, lets the questions in flight end, and returns.
// When ctx ends before, it cuts them off and answers the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
		return ctx.Err()
	}
}

// Close cuts everything off at once.
func (s *Server) Close() error {
	s.grpc.Stop()
	return nil
}

// authorization is Envoy's service.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	check Check
}

// Check implements authv3.AuthorizationServer. Envoy refuses on every error.
func (a authorization) Check(ctx context.Context, in *authv3.CheckRequest) (out *authv3.CheckResponse, err error) {
	defer func() {
		if recover() != nil { // a fault here, not in what decides: that recovers by itself, and logs it
			out, err = nil, status.Error(codes.Internal, "internal error")
		}
	}()
	r := question(ctx, in)
	answer, err := a.check(r)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	return reply(r, answer), nil
}

// refusal gathers what a dialect writes for the client.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

var (
	_ http.ResponseWriter = (*refusal)(nil)
	_ io.StringWriter     = (*refusal)(nil)
)

// Header implements http.ResponseWriter.
func (r *refusal) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter; the first status counts.
func (r *refusal) WriteHeader(code int) {
	if r.status == 0 {
		r.status = code
	}
}

// Write implements http.ResponseWriter.
func (r *refusal) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

// WriteString implements io.StringWriter.
func (r *refusal) WriteString(s string) (int, error) {
	r.body = append(r.body, s...)
	return len(s), nil
}
