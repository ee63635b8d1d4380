package reverse_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/proxy/reverse"
)

const session = "akprox_0123abcd"

// john is who every test request is from, unless it says otherwise.

func john() *outpost.Identity {
	return &outpost.Identity{Subject: "7", Username: "john", Email: "john@example.com", Groups: []string{"admin"}}
}

// application answers one that guards app.example.com in front of upstream.

func application(t *testing.T, upstream string) *outpost.Application {
	t.Helper()
	u, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := outpost.NewHeaderMap("", "", [][2]string{{"X-Dept", "claims.department"}}, outpost.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return &outpost.Application{
		Name:     "app",
		External: outpost.External{Scheme: "https", Host: "app.example.com", Path: "/"},
		Cookie:   outpost.CookieReach{Name: session},
		Upstream: u,
		Headers:  m,
	}
}

// front is a handler that allows everything to who and forwards it.

func front(f *reverse.Forwarder, app *outpost.Application, who func(*http.Request) *outpost.Identity) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		path, query, err := canon.SplitURI(r.RequestURI)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		req := &outpost.Request{
			Method: strings.ToUpper(r.Method), Scheme: "https", Host: "app.example.com",
			Path: path, Query: query, Client: netip.MustParseAddr("192.0.2.7"), Header: r.Header,
		}
		f.Forward(w, r, app, req, app.Headers.Headers(who(r)))
	}
}

func everybodyIsJohn(*http.Request) *outpost.Identity { return john() }

// serve starts h; its connections end with the test.

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// through starts an upstream and a front before it.

func through(t *testing.T, o reverse.Options, upstream http.HandlerFunc) *httptest.Server {
	t.Helper()
	return serve(t, front(reverse.New(o), application(t, serve(t, upstream).URL), everybodyIsJohn))
}

// answer is a response, read to its end.

type answer struct {
	StatusCode int
	Header     http.Header
	Body       string
}

// raw sends bytes to s as they are and answers the response.

func raw(t *testing.T, s *httptest.Server, request string) answer {
	t.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// seen is what an upstream saw of one request.

type seen struct {
	Method, Host, URI string
	Header            http.Header
}

// recorder is an upstream that remembers the last request.

func recorder(last *seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		*last = seen{r.Method, r.Host, r.RequestURI, r.Header.Clone()}
		w.WriteHeader(http.StatusNoContent)
	}
}

// text answers the body of the answer to req.

func text(t *testing.T, c *http.Client, req *http.Request) string {
	res, err := c.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// tenSeconds answers a context that bounds a conversation.

// switching is an upstream that grants every upgrade and echoes.

// zeros is an endless body.
