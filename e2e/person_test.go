package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// person is somebody with a browser of their own.
type person struct {
	*http.Client
	t *testing.T
	s *stage
}

// person answers somebody new.
func (s *stage) person(t *testing.T) *person {
	t.Helper()
	client := parts.Client(t)
	if s.tls != nil {
		client.Transport.(*parts.Watched).TLSClientConfig = s.tls
	}
	return &person{client, t, s}
}

// navigation is what a browser sends when its person goes to a page, program
// what a script on a page sends.
var (
	navigation = http.Header{"Accept": {"text/html,application/xhtml+xml,*/*;q=0.8"}, "Sec-Fetch-Mode": {"navigate"}}
	program    = http.Header{"Accept": {"application/json"}, "Sec-Fetch-Mode": {"cors"}}
)

// with answers h and the given headers, in their spelling.
func with(h http.Header, pairs ...string) http.Header {
	h = h.Clone()
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = []string{pairs[i+1]}
	}
	return h
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
	url    string // asked for
}

// echo is what the guarded program saw.
func (r reply) echo(t *testing.T) parts.Echoed {
	t.Helper()
	var e parts.Echoed
	if r.status != http.StatusOK || json.Unmarshal([]byte(r.body), &e) != nil {
		t.Fatalf("%s: the program did not answer: %d %s", r.url, r.status, r.body)
	}
	return e
}

// next is where the reply sends the browser, or "".
func (r reply) next() string {
	location := r.header.Get("Location")
	from, err := url.Parse(r.url)
	if err != nil || location == "" || r.status < 300 || r.status > 399 {
		return ""
	}
	to, err := from.Parse(location)
	if err != nil {
		return ""
	}
	return to.String()
}

// get asks as a browser that goes to a page. Where it is sent next is for the caller.
func (p *person) get(address string) reply { return p.send(http.MethodGet, address, navigation, nil) }

func (p *person) send(method, address string, header http.Header, body []byte) reply {
	p.t.Helper()
	r, err := p.try(method, address, header, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *person) try(method, address string, header http.Header, body []byte) (reply, error) {
	req, err := http.NewRequestWithContext(p.t.Context(), method, address, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header = header.Clone()
	resp, err := p.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(got), address}, err
}

// patient asks again, for a while, where akprox tells a stranger, or at an
// address of its own, to try later: on a busy machine an issuer that is well
// may seem to be down. Who is signed in has to be answered at once.
func (p *person) patient(address string, header http.Header) reply {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	for {
		r := p.send(http.MethodGet, address, header, nil)
		own := strings.HasPrefix(u.Path, "/akprox/") || len(p.cookies(address)) == 0
		if !own || r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" || time.Now().After(deadline) {
			return r
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// visit goes to an address as user, through the sign-in where one comes up,
// and answers the page where it ends.
func (p *person) visit(address, user string) reply {
	p.t.Helper()
	r := p.patient(address, navigation)
	for range 12 {
		next := r.next()
		if next == "" {
			return r
		}
		if strings.HasPrefix(next, p.s.issuer.URL) {
			callback, err := p.s.issuer.SignIn(p.Client, next, user)
			if err != nil {
				p.t.Fatalf("sign in as %s: %v", user, err)
			}
			next = callback
		}
		r = p.patient(next, navigation)
	}
	p.t.Fatalf("%s: no end of redirects, the last to %s", address, r.url)
	return r
}

// arrive is visit for an address that user may see: it has to be the one that
// the browser shows at the end, and the program has to have been asked it.
func (p *person) arrive(address, user string) parts.Echoed {
	p.t.Helper()
	r := p.visit(address, user)
	if r.url != address {
		p.t.Fatalf("wanted to see %s, ended at %s: %d %s", address, r.url, r.status, r.body)
	}
	e := r.echo(p.t)
	if got := e.Header.Get("X-Auth-Username"); got != user {
		p.t.Fatalf("%s: the program was told the user %q", address, got)
	}
	return e
}

// cookies answers the names of our session cookies for an address.
func (p *person) cookies(address string) []*http.Cookie {
	u, err := url.Parse(address)
	if err != nil {
		p.t.Fatal(err)
	}
	var ours []*http.Cookie
	for _, c := range p.Jar.Cookies(u) {
		if strings.HasPrefix(c.Name, "akprox_") {
			ours = append(ours, c)
		}
	}
	return ours
}
