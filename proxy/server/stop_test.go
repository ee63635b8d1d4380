package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/server"
)

func Test_request_in_flight_ends_before_the_server_does(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	addrs, stop := start(t, server.Options{HTTP: "127.0.0.1:0", Metrics: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		fmt.Fprint(w, "whole")
	})})
	got := make(chan string, 1)
	go func() {
		res, err := http.Get("http://" + addrs.HTTP)
		if err != nil {
			got <- err.Error()
			return
		}
		defer func() { _ = res.Body.Close() }()
		b, _ := io.ReadAll(res.Body)
		got <- string(b)
	}()
	<-begun
	if err := server.Probe(t.Context(), addrs.Metrics); err != nil {
		t.Error(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	eventually(t, "nothing more is accepted", func() bool {
		c, err := net.Dial("tcp", addrs.HTTP)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if err := server.Probe(t.Context(), addrs.Metrics); err == nil || !strings.Contains(err.Error(), `"server":"stopping"`) {
		t.Errorf("while it drains: %v", err)
	}
	close(finish)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if body := <-got; body != "whole" {
		t.Errorf("the request in flight got %q", body)
	}
}

func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !yes(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func Test_readyz_says_no_before_connections_are_refused(t *testing.T) {
	t.Parallel()
	addrs, stop := start(t, server.Options{
		HTTP: "127.0.0.1:0", Metrics: "127.0.0.1:0", Handler: http.HandlerFunc(tell), Limits: server.Limits{Delay: 5 * time.Second},
	})
	go func() { _ = stop() }()
	eventually(t, "not ready", func() bool { return server.Probe(t.Context(), addrs.Metrics) != nil })
	if code, _ := get(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+addrs.HTTP); code != http.StatusOK {
		t.Error(code)
	}
}

func Test_kept_connections_are_told_that_the_server_leaves(t *testing.T) {
	t.Parallel()
	addrs, stop := start(t, server.Options{
		HTTP: "127.0.0.1:0", Metrics: "127.0.0.1:0", Handler: http.HandlerFunc(tell), Limits: server.Limits{Delay: 5 * time.Second},
	})
	last := func(upgrade string) bool {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addrs.HTTP, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade != "" {
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {upgrade}}
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res.Close
	}
	if last("") {
		t.Error("a connection is not kept")
	}
	go func() { _ = stop() }()
	eventually(t, "not ready", func() bool { return server.Probe(t.Context(), addrs.Metrics) != nil })
	if !last("") {
		t.Error("a connection is kept by a server that stops")
	}
	if last("websocket") {
		t.Error("an upgrade is told that its connection ends")
	}
}

// A proxy sends no POST twice: who was let in is answered.
func Test_nobody_who_was_let_in_is_turned_away_by_a_stop(t *testing.T) {
	addrs, stop := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(tell)})
	var let []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", addrs.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		let = append(let, c)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for {
		c, err := net.Dial("tcp", addrs.HTTP)
		if err != nil {
			break
		}
		_ = c.Close()
	}
	for _, c := range let {
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"); err != nil {
			t.Error(err)
		}
	}
	for _, c := range let {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusOK || !res.Close {
			t.Error(res.Status, res.Header)
		}
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func Test_request_that_never_ends_is_cut_off_and_told(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	var log lines
	addrs, stop := start(t, server.Options{
		HTTP: "127.0.0.1:0", Log: logTo(&log), Limits: server.Limits{Drain: 100 * time.Millisecond},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done()
			close(ended)
		}),
	})
	go func() {
		if res, err := http.Get("http://" + addrs.HTTP); err == nil {
			_ = res.Body.Close()
		}
	}()
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-ended
	if !strings.Contains(log.String(), "cut off") {
		t.Error(log.String())
	}
}

func Test_upgraded_connection_is_closed_at_the_end(t *testing.T) {
	addrs, stop := start(t, server.Options{HTTP: "127.0.0.1:0", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As a reverse proxy does it: the end of the request's context ends
		// the connection.
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		<-r.Context().Done()
		_ = c.Close()
	})})
	c, err := net.Dial("tcp", addrs.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Error("it is still open:", err)
	}
}

func Test_listener_that_fails_ends_the_server_with_an_error(t *testing.T) {
	s, err := server.Listen(server.Options{HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if err := s.Serve(context.Background()); err == nil || !strings.Contains(err.Error(), "server.http") {
		t.Error(err)
	}
}

func Test_health_endpoints_answer_get_and_head_alone(t *testing.T) {
	state := server.Readiness{Issuers: map[string]error{"company": errors.New("connection refused"), "other": nil}}
	addrs, _ := start(t, server.Options{
		HTTP: "127.0.0.1:0", Metrics: "127.0.0.1:0",
		MetricsHandler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "akprox_up 1") }),
		Ready: func(ctx context.Context) server.Readiness {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("/readyz asks without a bound")
			}
			return state
		},
	})
	base := "http://" + addrs.Metrics
	ready := `{"status":"ready","checks":{"document":"ok","store":"ok"},"issuers":{"company":"connection refused","other":"ok"}}` + "\n"
	for path, want := range map[string]string{"/metrics": "akprox_up 1", "/livez": "ok\n", "/readyz": ready} {
		if code, body := get(t, http.DefaultClient, base+path); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
		for method, want := range map[string]int{http.MethodHead: 200, http.MethodPost: 405, http.MethodDelete: 405} {
			req, _ := http.NewRequest(method, base+path, nil)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != want {
				t.Errorf("%s %s: %d", method, path, res.StatusCode)
			}
		}
	}
	if code, _ := get(t, http.DefaultClient, base+"/other"); code != http.StatusNotFound {
		t.Error(code)
	}
	state.Store = errors.New("closed")
	if code, body := get(t, http.DefaultClient, base+"/readyz"); code != 503 || !strings.Contains(body, `"status":"not ready"`) || !strings.Contains(body, `"store":"closed"`) {
		t.Errorf("%d %s", code, body)
	}
	if err := server.Probe(t.Context(), addrs.Metrics); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Error(err)
	}
}

func Test_probe_finds_the_server_wherever_it_listens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	for _, metrics := range []string{"127.0.0.1:0", "0.0.0.0:0", ":0", "unix:" + path} {
		addrs, stop := start(t, server.Options{HTTP: "127.0.0.1:0", Metrics: metrics})
		ask := addrs.Metrics
		if _, port, err := net.SplitHostPort(ask); err == nil && strings.HasSuffix(metrics, ":0") {
			ask = strings.TrimSuffix(metrics, "0") + port // as the document says it
		}
		if err := server.Probe(t.Context(), ask); err != nil {
			t.Errorf("%s: %v", metrics, err)
		}
		_ = stop()
		if err := server.Probe(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "nobody answers") {
			t.Errorf("%s, stopped: %v", metrics, err)
		}
	}
}
