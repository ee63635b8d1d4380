package reverse_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/reverse"
)

func Test_what_the_upstream_sends_arrives_at_once(t *testing.T) {
	for name, header := range map[string]http.Header{
		"server-sent events":     {"Content-Type": {"text/event-stream"}},
		"a body of known length": {"Content-Type": {"text/plain"}, "Content-Length": {"27"}},
	} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			s := through(t, reverse.Options{}, func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), header)
				for i := range 3 {
					fmt.Fprintf(w, "data: %d\n\n", i)
					_ = http.NewResponseController(w).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
					}
				}
			})
			req, _ := http.NewRequestWithContext(tenSeconds(t), http.MethodGet, s.URL, nil)
			res, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }()
			lines := bufio.NewReader(res.Body)
			for i := range 3 {
				// The upstream sends the next one only once this one has come.
				if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintf("data: %d\n", i) {
					t.Fatalf("line %d: %q %v", i, line, err)
				}
				_, _ = lines.ReadString('\n')
				next <- struct{}{}
			}
		})
	}
}

func tenSeconds(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func Test_websocket_passes_with_identity(t *testing.T) {
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, r *http.Request) {
		user := r.Header.Get("X-Auth-Username")
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, append([]byte(user+": "), b...)) != nil {
				return
			}
		}
	})
	ctx := tenSeconds(t)
	c, _, err := websocket.Dial(ctx, s.URL, &websocket.DialOptions{HTTPHeader: http.Header{"X_auth_username": {"forged"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		word := fmt.Sprint("word ", i)
		if err := c.Write(ctx, websocket.MessageText, []byte(word)); err != nil {
			t.Fatal(err)
		}
		if _, b, err := c.Read(ctx); err != nil || string(b) != "john: "+word {
			t.Fatalf("%q %v", b, err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}

func switching(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		fmt.Fprint(w, "plain")
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
	_, _ = io.Copy(c, rw)
}

func Test_other_upgrades_pass_but_never_to_another_http(t *testing.T) {
	s := through(t, reverse.Options{}, switching)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	r := textproto.NewReader(bufio.NewReader(c))
	if line, err := r.ReadLine(); err != nil || !strings.Contains(line, "101") {
		t.Fatal(line, err)
	}
	if h, err := r.ReadMIMEHeader(); err != nil || h.Get("Upgrade") != "tcp" {
		t.Fatal(h, err)
	}
	fmt.Fprint(c, "hello\n")
	if line, err := r.ReadLine(); err != nil || line != "hello" {
		t.Fatal(line, err)
	}
	for _, protocol := range []string{"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2", " h2c "} {
		res := raw(t, s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: "+protocol+"\r\n\r\n")
		if res.StatusCode != http.StatusOK || res.Body != "plain" {
			t.Errorf("Upgrade: %s: %d %q", protocol, res.StatusCode, res.Body)
		}
	}
}

func Test_a_hundred_mebibytes_stream_both_ways_in_flat_memory(t *testing.T) {
	const size = 100 << 20
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := s.Client().Post(s.URL, "application/octet-stream", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	runtime.ReadMemStats(&after)
	if err != nil || n != size {
		t.Fatalf("%d bytes came back: %v", n, err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > size/4 {
		t.Errorf("%d MiB were allocated for a body of %d MiB", used>>20, size>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func Test_client_and_upstream_talk_at_once_over_either_protocol(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintln(w, "echo", lines.Text())
			_ = rc.Flush()
		}
	})
	for _, h2 := range []bool{false, true} {
		s := httptest.NewUnstartedServer(front(reverse.New(reverse.Options{}), application(t, up.URL), everybodyIsJohn))
		s.EnableHTTP2 = h2
		s.StartTLS()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		out, in := io.Pipe()
		ctx := tenSeconds(t)
		context.AfterFunc(ctx, func() { _ = in.Close() }) // net/http waits for the body even then
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, out)
		go func() { fmt.Fprintln(in, 0) }()
		res, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if (res.ProtoMajor == 2) != h2 {
			t.Fatalf("spoke %s", res.Proto)
		}
		lines := bufio.NewScanner(res.Body)
		for i := range 5 {
			if !lines.Scan() || lines.Text() != fmt.Sprint("echo ", i) {
				t.Fatalf("line %d over %s: %q %v", i, res.Proto, lines.Text(), lines.Err())
			}
			fmt.Fprintln(in, i+1)
		}
		_ = in.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
}

func Test_trailers_pass_both_ways_without_forged_ones(t *testing.T) {
	trailers := make(chan http.Header, 1)
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(w, r.Body)
		trailers <- r.Trailer.Clone()
		w.Header().Set("X-Sum", "up")
		w.Header().Set(http.TrailerPrefix+"X-Late", "late")
	})
	out, in := io.Pipe()
	req, _ := http.NewRequest(http.MethodPost, s.URL, out)
	req.Trailer = http.Header{"X-Sum": nil, "X_Auth_Username": nil, "X-Forwarded-For": nil, "Cookie": nil, "Authorization": nil}
	go func() {
		fmt.Fprint(in, "body")
		for name := range req.Trailer {
			req.Trailer[name] = []string{"down"}
		}
		_ = in.Close()
	}()
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil || string(b) != "body" {
		t.Fatalf("%q %v", b, err)
	}
	if got := <-trailers; fmt.Sprint(got) != "map[X-Sum:[down]]" {
		t.Errorf("the upstream got %v", got)
	}
	if res.Trailer.Get("X-Sum") != "up" || res.Trailer.Get("X-Late") != "late" {
		t.Errorf("the client got %v", res.Trailer)
	}
}

func Test_a_body_is_only_sent_once_the_upstream_wants_it(t *testing.T) {
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	const head = " HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
	if res := raw(t, s, "POST /no"+head); res.StatusCode != http.StatusExpectationFailed {
		t.Errorf("refused: %d", res.StatusCode)
	}
	if res := raw(t, s, "POST /yes"+head); res.StatusCode != http.StatusContinue {
		t.Errorf("wanted: %d", res.StatusCode)
	}
	req, _ := http.NewRequest(http.MethodPost, s.URL, strings.NewReader("body"))
	req.Header.Set("Expect", "100-continue")
	if got := text(t, &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}, req); got != "body" {
		t.Errorf("got %q", got)
	}
}

func Test_client_that_leaves_ends_the_upstreams_work(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	causes := make(chan string, 1)
	s := through(t, failPage(causes), func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	go func() { <-begun; cancel() }()
	if res, err := s.Client().Do(req); !errors.Is(err, context.Canceled) {
		_ = res.Body.Close()
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the upstream still works")
	}
	if got := <-causes; got != "client_gone" {
		t.Error(got)
	}
}

func failPage(causes chan string) reverse.Options {
	return reverse.Options{
		ResponseTimeout: 20 * time.Second, TLSTimeout: 20 * time.Second,
		FailPage: func(w http.ResponseWriter, _ *http.Request, _ *outpost.Application, err error) {
			causes <- reverse.Cause(err)
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

func Test_body_that_the_client_breaks_is_not_the_upstreams_fault(t *testing.T) {
	causes := make(chan string, 1)
	s := through(t, failPage(causes), func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
	time.Sleep(50 * time.Millisecond)
	_ = c.Close()
	if got := <-causes; got != "client_gone" {
		t.Error("breaks off:", got)
	}
	raw(t, s, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nno chunk\r\n")
	if got := <-causes; got != "client_gone" {
		t.Error("is no body:", got)
	}
}

func Test_upstream_that_vanishes_in_its_answer_tears_ours(t *testing.T) {
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	res, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%q looks whole", b)
	}
}

func Test_upstream_with_tls_is_verified_and_spoken_to_in_http2(t *testing.T) {
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			switching(w, r)
			return
		}
		fmt.Fprint(w, r.Proto, " ", r.Host, " ", r.RequestURI)
	}))
	up.EnableHTTP2 = true
	up.StartTLS()
	t.Cleanup(func() { up.CloseClientConnections(); up.Close() })
	pool := x509.NewCertPool()
	pool.AddCert(up.Certificate())
	s := serve(t, front(reverse.New(reverse.Options{TLS: &tls.Config{RootCAs: pool}}), application(t, up.URL), everybodyIsJohn))
	for _, uri := range []string{"/a%2Fb?x;y", "//a%2Fb", "/a|b"} {
		got := raw(t, s, "GET "+uri+" HTTP/1.1\r\nHost: app.example.com\r\n\r\n").Body
		if want := "HTTP/2.0 app.example.com " + uri; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if res := raw(t, s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"); res.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("upgrade: %d", res.StatusCode)
	}
}
