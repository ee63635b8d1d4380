package server_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/proxy/server"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func logTo(l *lines) *logrus.Logger {
	logger := logrus.New()
	logger.SetOutput(l)
	return logger
}

// start serves o until the test ends; stop stops it and answers what Serve did.
func start(t *testing.T, o server.Options) (addrs server.Addrs, stop func() error) {
	t.Helper()
	s, err := server.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("it does not stop")
		}
	})
	t.Cleanup(func() { _ = stop() })
	return s.Addrs(), stop
}

// tell answers what a handler sees of the connection.
func tell(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.RemoteAddr) }

func get(t *testing.T, c *http.Client, url string) (int, string) {
	t.Helper()
	res, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func Test_plain_listener_speaks_http1_and_http2(t *testing.T) {
	addrs, _ := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(tell)})
	var h2c http.Protocols
	h2c.SetUnencryptedHTTP2(true)
	for want, c := range map[string]*http.Client{"HTTP/1.1": {}, "HTTP/2.0": {Transport: &http.Transport{Protocols: &h2c}}} {
		if code, body := get(t, c, "http://"+addrs.HTTP); code != http.StatusOK || !strings.HasPrefix(body, want+" 127.0.0.1:") {
			t.Errorf("%s: %d %q", want, code, body)
		}
		c.CloseIdleConnections()
	}
}

func Test_options_asterisk_is_not_answered_behind_the_handlers_back(t *testing.T) {
	addrs, _ := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	})})
	if line := firstLine(t, addrs.HTTP, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.Contains(line, "403") {
		t.Error(line)
	}
}

// firstLine sends bytes and answers the first line that comes back.
func firstLine(t *testing.T, addr, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	go func() { _, _ = io.WriteString(c, request) }() // who is refused early need not be heard
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return line
}

func Test_header_that_is_too_large_is_431(t *testing.T) {
	addrs, _ := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(tell)})
	for size, want := range map[int]string{1 << 20: "200", 1<<20 + 70<<10: "431"} {
		if line := firstLine(t, addrs.HTTP, "GET / HTTP/1.1\r\nHost: a\r\nCookie: "+strings.Repeat("a", size)+"\r\n\r\n"); !strings.Contains(line, want) {
			t.Errorf("%d bytes: %s", size, line)
		}
	}
}

func Test_header_that_comes_in_drops_is_cut_off(t *testing.T) {
	addrs, _ := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(tell), Limits: server.Limits{Header: 200 * time.Millisecond}})
	c, err := net.Dial("tcp", addrs.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() {
		_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n")
		for err == nil {
			time.Sleep(20 * time.Millisecond)
			_, err = io.WriteString(c, "X: y\r\n")
		}
	}()
	begun := time.Now()
	_ = c.SetReadDeadline(begun.Add(10 * time.Second))
	if b, err := io.ReadAll(c); strings.Contains(string(b), "200") || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q %v", b, err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it held the connection for %s", took)
	}
}

func Test_address_that_cannot_be_bound_is_told_with_the_mend(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		o    server.Options
		want []string
	}{
		{"in use", server.Options{HTTP: taken.Addr().String()}, []string{"server.http", taken.Addr().String(), "address already in use", "stop the program"}},
		{"metrics in use", server.Options{HTTP: "127.0.0.1:0", Metrics: taken.Addr().String()}, []string{"server.metrics", "address already in use"}},
		{"not ours", server.Options{HTTP: "192.0.2.1:0"}, []string{"192.0.2.1:0", "this machine does not have that address"}},
		{"no name", server.Options{HTTP: "nowhere.invalid:1"}, []string{"nowhere.invalid", "write an address of this machine"}},
		{"no port", server.Options{HTTP: "localhost"}, []string{"localhost", "missing port"}},
		{"a file in the way", server.Options{HTTP: "unix:" + file}, []string{file, "no socket"}},
		{"no folder", server.Options{HTTP: "unix:" + file + ".d/x.sock"}, []string{file, "folder must exist"}},
		{"abstract socket", server.Options{HTTP: "unix:@akprox"}, []string{"names no file"}},
		{"nothing", server.Options{Metrics: "127.0.0.1:0"}, []string{"nothing to serve"}},
		{"no certificate", server.Options{HTTPS: "127.0.0.1:0"}, []string{"server.tls", "cert_file"}},
		{"no such certificate", server.Options{HTTPS: "127.0.0.1:0", CertFile: file, KeyFile: file}, []string{"server.tls", file}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := server.Run(t.Context(), row.o)
			for _, want := range row.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}

// overSocket answers a client that speaks to a unix socket from the end from,
// which may be nil.
func overSocket(path string, from *net.UnixAddr) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.DialUnix("unix", from, &net.UnixAddr{Name: path, Net: "unix"})
	}}}
}

func Test_unix_socket_has_one_remote_address_and_goes_with_the_server(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	addrs, stop := start(t, server.Options{HTTP: "unix:" + path, Handler: http.HandlerFunc(tell)})
	if addrs.HTTP != "unix:"+path {
		t.Error(addrs)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Error(info.Mode(), err)
	}
	t.Chdir(t.TempDir()) // where a peer binds a file that is called like an address
	for _, from := range []*net.UnixAddr{nil, {Name: "10.0.0.1:443", Net: "unix"}} {
		if _, body := get(t, overSocket(path, from), "http://a"); body != "HTTP/1.1 @" {
			t.Errorf("from %v: %q", from, body)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("the socket is still there", err)
	}
}

func Test_socket_file_is_replaced_only_when_nobody_listens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Listen(server.Options{HTTP: "unix:" + path}); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Error(err)
	}
	l.SetUnlinkOnClose(false) // as if it had been killed
	_ = l.Close()
	start(t, server.Options{HTTP: "unix:" + path, Handler: http.HandlerFunc(tell)})
	if code, _ := get(t, overSocket(path, nil), "http://a"); code != http.StatusOK {
		t.Error(code)
	}
}
