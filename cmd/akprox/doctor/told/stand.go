// Package told finds out what the program behind a proxy is told: as the
// program shows it, or by standing in its place.
package told

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Mark is how the program, or the doctor in its place, knows a request
// of the doctor's.
const Mark = "X-Akprox-Doctor"

// Stand is the doctor in the program's place.
type Stand struct {
	server *http.Server
	mark   string

	mu   sync.Mutex
	last http.Header
}

// Listen stands there; requests whose Mark is mark are kept.
func Listen(ctx context.Context, address, mark string) (*Stand, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Stand{mark: mark}
	s.server = &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 256 << 10}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

// ServeHTTP implements http.Handler: others are told to come back later.
func (s *Stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Header.Get(Mark) != s.mark {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "akprox doctor stands here for a moment", http.StatusServiceUnavailable)
		return
	}
	s.mu.Lock()
	s.last = r.Header.Clone()
	s.mu.Unlock()
	_, _ = io.WriteString(w, "akprox doctor\n")
}

// Taken answers the headers of the last request of ours, once, a line each.
func (s *Stand) Taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := ""
	for name, values := range s.last {
		for _, v := range values {
			text += fmt.Sprintf("%s: %s\n", name, v)
		}
	}
	s.last = nil
	return text
}

// Close ends it.
func (s *Stand) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.server.Shutdown(ctx)
}
