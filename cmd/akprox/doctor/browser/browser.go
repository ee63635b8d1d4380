// Package browser asks as a browser does, with cookies, step by step, and only
// the hosts that it was told. What it says of an answer holds no secret.
package browser

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// MaxRequests is how many requests an Asker sends.
const MaxRequests = 60

const (
	patience = 10 * time.Second // for one answer
	maxBody  = 256 << 10
)

var errTooMany = errors.New("more requests than the doctor makes")

// Asker sends requests, at most MaxRequests of them, to the hosts that it was
// told alone.
type Asker struct {
	transport *http.Transport
	allowed   map[string]bool // by host:port as in URLs
	sent      int
}

// New makes an Asker. resolve leads from host:port, or *:port, to what is
// connected to; trust is what is believed of certificates.
func New(resolve map[string]string, trust *tls.Config) *Asker {
	dialer := &net.Dialer{Timeout: patience}
	return &Asker{allowed: map[string]bool{}, transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, _ := net.SplitHostPort(addr)
			if to, ok := resolve[addr]; ok {
				addr = to
			} else if to, ok = resolve["*:"+port]; ok {
				addr = to
			}
			return dialer.DialContext(ctx, network, addr)
		},
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   patience,
		ResponseHeaderTimeout: patience,
		DisableCompression:    true,
	}}
}

// Visitor is somebody with cookies of their own.
type Visitor struct {
	*Asker
	client *http.Client
	Header http.Header // sent to Home alone
	Home   string      // origin
}

// Visitor answers somebody new.
func (a *Asker) Visitor() *Visitor {
	jar, _ := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List}) // never fails
	return &Visitor{Asker: a, client: &http.Client{
		Transport: a.transport, Jar: jar, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Answer is what came back.
type Answer struct {
	URL    *url.URL // asked for
	Status int
	Header http.Header
	Body   string
}

// Navigation is what a browser sends when its person goes to a page.
func Navigation() http.Header {
	return http.Header{
		"Accept":         {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"}, "Sec-Fetch-User": {"?1"},
		"User-Agent": {"akprox-doctor"},
	}
}

// Program is what a script sends.
func Program() http.Header {
	return http.Header{"Accept": {"application/json"}, "Sec-Fetch-Mode": {"cors"}, "User-Agent": {"akprox-doctor"}}
}

// With answers h and more headers, in their spelling.
func With(h http.Header, pairs ...string) http.Header {
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = append(h[pairs[i]], pairs[i+1])
	}
	return h
}

// Browse goes to a page; it follows no redirect.
func (v *Visitor) Browse(ctx context.Context, u *url.URL) (Answer, error) {
	return v.Send(ctx, http.MethodGet, u, Navigation(), "")
}

// Send sends a request with a form, if there is one. The answer has at most
// 256 KiB of the body; it takes 10 seconds at most.
func (v *Visitor) Send(ctx context.Context, method string, u *url.URL, h http.Header, form string) (Answer, error) {
	switch {
	case !v.allowed[u.Host] || u.Scheme != "http" && u.Scheme != "https":
		return Answer{}, fmt.Errorf("%s is neither the site nor its issuer, and is not asked", Origin(u))
	case v.sent >= MaxRequests:
		return Answer{}, errTooMany
	}
	v.sent++
	req, err := http.NewRequestWithContext(ctx, method, u.String(), strings.NewReader(form))
	if err != nil {
		return Answer{}, err
	}
	req.Header = h
	if form != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if Origin(u) == v.Home {
		for name, values := range v.Header {
			req.Header[name] = values
		}
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return Answer{}, plain(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // what there is of it is enough
	return Answer{u, resp.StatusCode, resp.Header, string(body)}, nil
}

// plain leaves the URL, which may hold a state, out of an error.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Next answers where a redirect leads, or nil.
func (a Answer) Next() *url.URL {
	location := a.Header.Get("Location")
	if location == "" || a.Status < 300 || a.Status > 399 {
		return nil
	}
	to, err := a.URL.Parse(location)
	if err != nil {
		return nil
	}
	return to
}

var (
	pageReason = regexp.MustCompile(`<dt>Reason</dt><dd>(\w+)</dd>`)
	jsonReason = regexp.MustCompile(`"reason":"(\w+)"`)
	lineReason = regexp.MustCompile(`^(?:\w+: )?(\w+) \(request [^)]*\)\s*$`)
)

// Reason answers the reason that akprox shows, or "".
func (a Answer) Reason() string {
	for _, form := range []*regexp.Regexp{pageReason, jsonReason, lineReason} {
		if m := form.FindStringSubmatch(a.Body); m != nil {
			return m[1]
		}
	}
	return ""
}

// Told says what was asked and answered, without anything secret.
func (a Answer) Told() string {
	text := fmt.Sprintf("%s: %d", Shown(a.URL), a.Status)
	if to := a.Next(); to != nil {
		text += " to " + Shown(to)
	}
	if r := a.Reason(); r != "" {
		text += ", reason " + r
	}
	return text
}

// Shown answers a URL without its query, which may hold a secret.
func Shown(u *url.URL) string {
	text := Origin(u) + u.EscapedPath()
	if len(text) > 120 {
		text = text[:120] + "…"
	}
	return text
}

// Origin answers scheme and host.
func Origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// SetsCookie reports whether the answer sets a cookie whose name fits.
func (a Answer) SetsCookie(name *regexp.Regexp) bool {
	for _, line := range a.Header.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil && name.MatchString(c.Name) && c.MaxAge >= 0 {
			return true
		}
	}
	return false
}

// HoldsCookie reports whether a cookie whose name fits would be sent to u.
func (v *Visitor) HoldsCookie(u *url.URL, name *regexp.Regexp) bool {
	for _, c := range v.client.Jar.Cookies(u) {
		if name.MatchString(c.Name) {
			return true
		}
	}
	return false
}

// Allow lets a host be asked.
func (a *Asker) Allow(u *url.URL) { a.allowed[u.Host] = true }

// Sent answers how many requests were made.
func (a *Asker) Sent() int { return a.sent }

// Close ends the connections.
func (a *Asker) Close() { a.transport.CloseIdleConnections() }

// SameHost reports whether a browser is at the same host and port.
func SameHost(a, b *url.URL) bool {
	return strings.EqualFold(withPort(a), withPort(b))
}

func withPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "https":
		return u.Host + ":443"
	}
	return u.Host + ":80"
}

// SameOrigin reports whether a form may be sent from one page to another.
func SameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && SameHost(a, b) }
