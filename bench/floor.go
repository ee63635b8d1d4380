package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// reply is an answer that the floor repeats.
type reply struct {
	Status int
	Header http.Header
	Body   string
}

// heard asks once and answers what came back, as the handler sent it: the Date
// is net/http's own.
func (s *server) heard(request []byte) (reply, error) {
	c, err := s.at.client(0)
	if err != nil {
		return reply{}, err
	}
	defer c.close()
	if _, err := c.conn.Write(request); err != nil {
		return reply{}, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	return reply{resp.StatusCode, resp.Header, string(body)}, err
}

// startFloor starts a floor that listens at at; "" is a free port.
func (l *lab) startFloor(r reply, at target) (*server, error) {
	if at == "" {
		var err error
		if at, err = l.freeAddr(); err != nil {
			return nil, err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "floor")
	cmd.Env = append(os.Environ(), "FLOOR_ADDR="+string(at), "FLOOR_REPLY="+string(text))
	return begin(cmd, at)
}

// serveFloor is a bare net/http server that sends one answer.
func serveFloor() error {
	var r reply
	if err := json.Unmarshal([]byte(os.Getenv("FLOOR_REPLY")), &r); err != nil {
		return fmt.Errorf("FLOOR_REPLY: %w", err)
	}
	type line struct{ name, value string }
	var headers []line
	for name, values := range r.Header {
		headers = append(headers, line{name, values[0]})
	}
	body := []byte(r.Body)
	s := &http.Server{
		ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			for _, l := range headers {
				h[l.name] = []string{l.value}
			}
			w.WriteHeader(r.Status)
			if len(body) > 0 {
				_, _ = w.Write(body)
			}
		}),
		Protocols: new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	network, address := "tcp", os.Getenv("FLOOR_ADDR")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return s.Serve(listener)
}
