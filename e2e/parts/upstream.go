package parts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Echoed is what Upstream answers: the request as it arrived there.
type Echoed struct {
	Method, Host, Path, Query string
	// RequestURI is the request target as sent, before any decoding.
	RequestURI string
	Header     http.Header
	BodyLength int64
	// BodySHA256 is in hex.
	BodySHA256 string
}

// Upstream starts a server that stands for the application behind a proxy.
// It answers every request with an Echoed as JSON, except at
//
//	/ws      a WebSocket that sends back what it receives
//	/stream  three lines of text, half a second apart
//	/sse     the same as server-sent events
func Upstream(t testing.TB) *httptest.Server {
	t.Helper()
	// No ServeMux, which would redirect a path like /a//b to its clean form.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ws":
			echoSocket(w, r)
		case "/stream":
			drip(w, r, "text/plain", "chunk %d\n")
		case "/sse":
			drip(w, r, "text/event-stream", "data: event %d\n\n")
		default:
			echo(w, r)
		}
	}))
	t.Cleanup(func() {
		s.CloseClientConnections() // do not wait for open streams
		s.Close()
	})
	return s
}

func echo(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Echoed{
		Method:     r.Method,
		Host:       r.Host,
		Path:       r.URL.Path,
		Query:      r.URL.RawQuery,
		RequestURI: r.RequestURI,
		Header:     r.Header,
		BodyLength: n,
		BodySHA256: hex.EncodeToString(sum.Sum(nil)),
	})
}

// drip writes three numbered pieces, each flushed before the next is due.
func drip(w http.ResponseWriter, r *http.Request, contentType, format string) {
	w.Header().Set("Content-Type", contentType)
	flush := http.NewResponseController(w).Flush
	for i := range 3 {
		if i > 0 {
			select {
			case <-r.Context().Done():
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
		if _, err := fmt.Fprintf(w, format, i); err != nil {
			return
		}
		if err := flush(); err != nil {
			return
		}
	}
}

func echoSocket(w http.ResponseWriter, r *http.Request) {
	// The origin is the proxy's business here, not the upstream's.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	for {
		kind, message, err := conn.Read(r.Context())
		if err != nil {
			return
		}
		if err := conn.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
