package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// Options say where to listen, and what answers there. An address is
// "host:port", "unix:/path", or "" for none.
type Options struct {
	HTTP, HTTPS, GRPC, Metrics string

	CertFile, KeyFile string // PEM, needed by HTTPS and GRPCTLS; read again when they change
	GRPCTLS           bool   // GRPC is served over TLS

	GRPCService    Service                         // answers on GRPC
	Handler        http.Handler                    // answers on HTTP and HTTPS; it recovers its own panics
	MetricsHandler http.Handler                    // answers /metrics; nil: 404
	Ready          func(context.Context) Readiness // asked by /readyz, for 2 s at most; nil: always ready
	Log            *logrus.Logger                  // nil: nothing is logged
	Limits         Limits
}

// Limits bound what a client and a stop may take. 0 means the default.
// Reading a body and writing an answer have no bound: both may stream.
type Limits struct {
	Header      time.Duration // to send a request's header; 10 s
	Idle        time.Duration // between two requests of a connection; 120 s
	HeaderBytes int           // of a request's header, cookies included; a little over 1 MiB, more is 431
	Delay       time.Duration // from the first 503 of /readyz until no more is accepted; none
	Drain       time.Duration // for requests in flight after that; 25 s
}

func (l Limits) withDefaults() Limits {
	l.Header = cmp.Or(l.Header, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 2*time.Minute)
	// An absurd cookie is answered as anonymous rather than by 431, which nginx
	// makes a 500 of. Reading it is bounded by Header.
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 1<<20+64<<10)
	l.Drain = cmp.Or(l.Drain, 25*time.Second)
	return l
}

// Service answers what arrives at a listener, as *http.Server does: Shutdown
// lets what is in flight end, Close does not.
type Service interface {
	Serve(l net.Listener) error
	Shutdown(ctx context.Context) error
	Close() error
}

// Addrs tells the addresses that are bound, in the form of Options; with port
// 0 asked for, the port that was given.
type Addrs struct{ HTTP, HTTPS, GRPC, Metrics string }

// Server holds bound addresses. It is made by Listen and serves once.
type Server struct {
	limits   Limits
	faces    []*face // the metrics one last
	log      *logrus.Logger
	cut      context.CancelFunc // ends every request's context
	stopping atomic.Bool
}

// face is one address and what answers there.
type face struct {
	kind     string // "http", "https", "grpc" or "metrics"
	listener net.Listener
	gentle   *gentle // below listener
	service  Service
}

// Listen binds every address, or none: the error names the address and what
// would mend it. The caller ends it by Serve or Close.
func Listen(o Options) (*Server, error) {
	if o.HTTP == "" && o.HTTPS == "" {
		return nil, errors.New("nothing to serve: set server.http or server.https")
	}
	base, cut := context.WithCancel(context.Background())
	s := &Server{limits: o.Limits.withDefaults(), log: o.Log, cut: cut}
	if s.log == nil {
		s.log = logrus.New()
		s.log.SetOutput(io.Discard)
	}
	for _, want := range []struct {
		kind, address string
		handler       http.Handler
	}{{"http", o.HTTP, o.Handler}, {"https", o.HTTPS, o.Handler}, {"grpc", o.GRPC, nil}, {"metrics", o.Metrics, s.health(o)}} {
		if want.address == "" {
			continue
		}
		l, err := listen(want.address)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("server.%s: %w", want.kind, err)
		}
		g := &gentle{Listener: l}
		f := &face{kind: want.kind, listener: g, gentle: g, service: o.GRPCService}
		s.faces = append(s.faces, f)
		if want.kind != "grpc" {
			f.service = s.overHTTP(base, want.kind, l, want.handler)
		}
		if err := f.secure(o, s.log); err != nil {
			s.Close()
			return nil, fmt.Errorf("server.tls: %w", err)
		}
	}
	return s, nil
}

// secure puts TLS before what is served over it.
func (f *face) secure(o Options, log *logrus.Logger) error {
	if f.kind != "https" && (f.kind != "grpc" || !o.GRPCTLS) {
		return nil
	}
	config, err := tlsConfig(o.CertFile, o.KeyFile, log)
	if err != nil {
		return err
	}
	if server, ok := f.service.(*http.Server); ok {
		server.TLSConfig = config
		return nil
	}
	config.NextProtos = []string{"h2"}
	f.listener = tls.NewListener(f.listener, config)
	return nil
}

func (s *Server) overHTTP(base context.Context, kind string, l net.Listener, h http.Handler) *http.Server {
	if l.Addr().Network() == "unix" {
		h = overUnix(h)
	}
	server := &http.Server{
		Handler:           s.leaving(h),
		ReadHeaderTimeout: s.limits.Header,
		IdleTimeout:       s.limits.Idle,
		MaxHeaderBytes:    s.limits.HeaderBytes,
		ErrorLog:          log.New(logWriter{s.log.WithField("listener", kind)}, "", 0),
		BaseContext:       func(net.Listener) context.Context { return base },
		Protocols:         new(http.Protocols),
		// "OPTIONS *" is answered by the handler: net/http would say 200.
		DisableGeneralOptionsHandler: true,
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(kind == "https")
	server.Protocols.SetUnencryptedHTTP2(kind == "http")
	return server
}

// leaving says with each answer, once the server stops, that the connection
// ends with it. A proxy keeps connections for its next question, and one that
// is closed as that leaves costs a POST, which no proxy sends twice.
func (s *Server) leaving(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.stopping.Load() && r.Header.Get("Upgrade") == "" {
			w.Header().Set("Connection", "close")
		}
		h.ServeHTTP(w, r)
	})
}

// overUnix gives every request the one RemoteAddr of unix sockets: a peer may
// bind its own end to a name that reads like an address.
func overUnix(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "@"
		h.ServeHTTP(w, r)
	})
}

// Addrs answers what Listen bound.
func (s *Server) Addrs() Addrs {
	var a Addrs
	for _, f := range s.faces {
		address := f.listener.Addr().String()
		if f.listener.Addr().Network() == "unix" {
			address = unixPrefix + address
		}
		switch f.kind {
		case "http":
			a.HTTP = address
		case "https":
			a.HTTPS = address
		case "grpc":
			a.GRPC = address
		default:
			a.Metrics = address
		}
	}
	return a
}

// Serve answers until ctx is done, then stops: /readyz says 503 at once; after
// Limits.Delay nothing more is accepted; who connected before is still heard,
// for a moment; requests in flight have Limits.Drain to end, and what is left
// then, upgraded connections included, is closed.
// That is no error. One is answered when a listener fails while it serves.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, len(s.faces))
	for _, f := range s.faces {
		go func() { failed <- f.serve() }()
	}
	select {
	case err := <-failed:
		s.Close()
		return err
	case <-ctx.Done():
		s.stop()
		return nil
	}
}

func (f *face) serve() error {
	if server, ok := f.service.(*http.Server); ok && server.TLSConfig != nil {
		return fmt.Errorf("server.%s: %w", f.kind, server.ServeTLS(f.listener, "", ""))
	}
	return fmt.Errorf("server.%s: %w", f.kind, f.service.Serve(f.listener))
}

// lastCall is from the moment that nothing more is accepted to the first that
// net/http drops requests, which it does in Shutdown with those that it has just
// read: time for who was let in last to be heard.
const lastCall = 250 * time.Millisecond

func (s *Server) stop() {
	s.stopping.Store(true)
	time.Sleep(s.limits.Delay)
	for _, f := range s.faces {
		if f.kind != "metrics" { // says "not ready" until the end
			f.gentle.leave()
		}
	}
	time.Sleep(lastCall)
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.Drain)
	defer cancel()
	var wg sync.WaitGroup
	for _, f := range s.faces {
		if f.kind == "metrics" {
			continue
		}
		wg.Go(func() {
			if err := f.service.Shutdown(ctx); err != nil {
				s.log.WithField("listener", f.kind).Warn("requests that did not end in time are cut off")
			}
		})
	}
	wg.Wait()
	s.Close()
}

// Close cuts everything off at once and lets go of the addresses. After Serve
// has ended it does nothing.
func (s *Server) Close() {
	s.cut()
	for _, f := range s.faces {
		_ = f.service.Close()
		_ = f.listener.Close() // Server.Close knows it only once it was served
	}
}

// Run is Listen and Serve.
func Run(ctx context.Context, o Options) error {
	s, err := Listen(o)
	if err != nil {
		return err
	}
	return s.Serve(ctx)
}

// logWriter passes the lines of net/http on. What strangers cause by talking
// something else than TLS is for the curious only.
type logWriter struct{ log *logrus.Entry }

// Write logs one line.
func (w logWriter) Write(line []byte) (int, error) {
	level := logrus.WarnLevel
	if strings.Contains(string(line), "TLS handshake error") {
		level = logrus.DebugLevel
	}
	w.log.Log(level, strings.TrimSpace(string(line)))
	return len(line), nil
}

// tlsConfig answers TLS 1.2 and newer with the pair of files.
func tlsConfig(certFile, keyFile string, log *logrus.Logger) (*tls.Config, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("https needs cert_file and key_file")
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}
