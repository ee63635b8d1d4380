package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// readyTimeout bounds what /readyz asks.
const readyTimeout = 2 * time.Second

// Readiness is the state of what requests depend on; nil is good. The server
// is ready when Store and Document are: an issuer that is down is told and
// changes nothing, because sessions already made are served on.
type Readiness struct {
	Store, Document error
	Issuers         map[string]error // by provider's name
}

// readiness is the JSON of /readyz.
type readiness struct {
	Status  string            `json:"status"` // "ready" or "not ready"
	Checks  map[string]string `json:"checks"`
	Issuers map[string]string `json:"issuers"`
}

// health answers /metrics, /livez and /readyz, to GET and HEAD alone.
func (s *Server) health(o Options) http.Handler {
	mux := http.NewServeMux()
	if o.MetricsHandler != nil {
		mux.Handle("GET /metrics", o.MetricsHandler)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var state Readiness
		if o.Ready != nil {
			ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
			defer cancel()
			state = o.Ready(ctx)
		}
		s.writeReadiness(w, state)
	})
	return mux
}

func (s *Server) writeReadiness(w http.ResponseWriter, state Readiness) {
	reply := readiness{
		Status:  "ready",
		Checks:  map[string]string{"store": words(state.Store), "document": words(state.Document)},
		Issuers: map[string]string{},
	}
	for name, err := range state.Issuers {
		reply.Issuers[name] = words(err)
	}
	if s.stopping.Load() {
		reply.Checks["server"] = "stopping"
	}
	code := http.StatusOK
	for _, check := range reply.Checks {
		if check != "ok" {
			code, reply.Status = http.StatusServiceUnavailable, "not ready"
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(reply)
}

func words(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

// Probe asks the server whose metrics listener is at addr ("host:port" or
// "unix:/path") whether it is ready; nil means yes. It takes 5 s at most. A
// host that means every address is asked on loopback.
func Probe(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	network, address := "tcp", addr
	if path, ok := strings.CutPrefix(addr, unixPrefix); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address) // an empty or unspecified host is this machine
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://akprox/readyz", nil)
	if err != nil {
		return err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("nobody answers on %s: %w", addr, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("%s: %w", addr, err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %s", addr, res.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
