package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	socketName = "control.sock"
	maxPath    = 100     // bytes: of what every system takes for a socket's path
	maxRequest = 8 << 10 // bytes of a request's body
)

// line is one line of an answer: a session, or the last one, without which the
// answer is not whole.
type line struct {
	Session *Session `json:"session,omitempty"`
	Done    bool     `json:"done,omitempty"`
	Ended   int      `json:"ended,omitempty"`
	Error   string   `json:"error,omitempty"`
}

// order is the body of a request to end sessions.
type order struct {
	Subject  string `json:"subject"`
	Provider string `json:"provider"`
}

// Serve answers requests about s at the socket in the folder of the store,
// until stop is called. The caller has the store's lock: a socket that is
// there is left from a process that has died, and is replaced.
func Serve(folder string, s Sessions, log logrus.FieldLogger) (stop func(), err error) {
	path, err := socketPath(folder)
	if err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there and is no socket; remove it", path)
	}
	listener, err := listen(folder, path)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sessions", func(w http.ResponseWriter, r *http.Request) { list(w, r, s) })
	mux.HandleFunc("POST /sessions/end", func(w http.ResponseWriter, r *http.Request) { end(w, r, s, log) })
	server := &http.Server{Handler: mux, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Warnf("akprox sessions cannot ask this process: %v", err)
		}
	}()
	return func() {
		_ = os.Remove(path)
		_ = server.Close()
	}, nil
}

// listen makes the socket at path, in the place of one that is there. It is
// made in a folder that is closed to others, and moved when it is closed
// itself: the store's folder may be as open as its owner likes.
func listen(folder, path string) (*net.UnixListener, error) {
	scratch, err := os.MkdirTemp(folder, "c") // mode 0700
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	made := filepath.Join(scratch, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err = os.Chmod(made, 0o600); err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

// socketPath answers where the socket of a store stands.
func socketPath(folder string) (string, error) {
	path := filepath.Join(folder, socketName)
	if len(path) > maxPath {
		return "", fmt.Errorf("%s is too long for a socket (%d bytes, at most %d); use a shorter store.path", path, len(path), maxPath)
	}
	return path, nil
}

func list(w http.ResponseWriter, r *http.Request, s Sessions) {
	out := json.NewEncoder(w)
	query := r.URL.Query()
	err := s.List(r.Context(), query.Get("subject"), query.Get("provider"), func(one Session) error {
		return out.Encode(line{Session: &one})
	})
	_ = out.Encode(last(0, err)) // whoever has gone needs no answer
}

func end(w http.ResponseWriter, r *http.Request, s Sessions, log logrus.FieldLogger) {
	var o order
	decoder := json.NewDecoder(io.LimitReader(r.Body, maxRequest))
	if err := decoder.Decode(&o); err != nil || o.Subject == "" {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(last(0, errors.New("the request names no subject")))
		return
	}
	// Who gives up in the middle has meant it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	n, err := s.End(ctx, o.Subject, o.Provider)
	log = log.WithFields(logrus.Fields{"subject": o.Subject, "provider": o.Provider, "ended": n})
	if err != nil {
		log.WithError(err).Warn("sessions ended from the command line")
	} else {
		log.Info("sessions ended from the command line")
	}
	_ = json.NewEncoder(w).Encode(last(n, err))
}

func last(ended int, err error) line {
	l := line{Done: err == nil, Ended: ended}
	if err != nil {
		l.Error = err.Error()
	}
	return l
}
