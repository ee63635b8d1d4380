package reverse_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/reverse"
)

// listener starts a listener that does serve to every connection.
func listener(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// says reads a request's first line, writes words and hangs up.
func says(words string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		_, _ = io.WriteString(c, words)
		_ = c.Close()
	}
}

func Test_every_failure_of_an_upstream_is_502_with_its_cause(t *testing.T) {
	untrusted := httptest.NewTLSServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = nil
	t.Cleanup(untrusted.Close)
	silent := func(c net.Conn) { time.Sleep(30 * time.Second); _ = c.Close() }
	for _, row := range []struct{ name, upstream, want string }{
		{"nobody listens", "http://127.0.0.1:1", "refused"},
		{"no such name", "http://upstream.invalid", "name_not_found"},
		{"it never answers", "http://" + listener(t, silent), "timeout"},
		{"it never shakes hands", "https://" + listener(t, silent), "timeout"},
		{"nobody vouches for its certificate", untrusted.URL, "tls"},
		{"it speaks no TLS", "https://" + listener(t, says("HTTP/1.1 400 Bad Request\r\n\r\n")), "tls"},
		{"it speaks no HTTP", "http://" + listener(t, says("SSH-2.0-OpenSSH_9.2\r\n\r\n")), "protocol"},
		{"it hangs up", "http://" + listener(t, says("")), "closed"},
		{"it grants an upgrade that nobody wanted", "http://" + listener(t, says("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")), "protocol"},
		{"there is none", "", "no_upstream"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			causes := make(chan string, 1)
			o := failPage(causes)
			if row.want == "timeout" {
				o.TLSTimeout, o.ResponseTimeout = time.Second, time.Second
			}
			app := application(t, row.upstream)
			if row.upstream == "" {
				app.Upstream = nil
			}
			s := serve(t, front(reverse.New(o), app, everybodyIsJohn))
			res, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if got := <-causes; got != row.want || res.StatusCode != http.StatusBadGateway {
				t.Errorf("%d, %s, want %s", res.StatusCode, got, row.want)
			}
		})
	}
}

func Test_fail_page_sees_the_clients_own_request_and_keeps_what_was_set(t *testing.T) {
	var got *http.Request
	o := reverse.Options{FailPage: func(w http.ResponseWriter, r *http.Request, _ *outpost.Application, _ error) {
		got = r
		w.WriteHeader(http.StatusBadGateway)
	}}
	app := application(t, "http://127.0.0.1:1")
	app.Upstream = &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	w := httptest.NewRecorder()
	w.Header().Set("Set-Cookie", "renewed")
	r := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("body"))
	r.Header.Set("Authorization", "Bearer t")
	front(reverse.New(o), app, everybodyIsJohn)(w, r)
	if got != r || r.Header.Get("Authorization") == "" || w.Header().Get("Set-Cookie") != "renewed" || w.Code != http.StatusBadGateway {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
