package backchannel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// maxBody bounds an answer of the issuer, in bytes.
const maxBody = 1 << 20

var (
	errTooLarge = fmt.Errorf("the answer is larger than %d KiB", maxBody>>10)
	errNotJSON  = errors.New("the answer is not JSON, so another server than the issuer seems to answer there")
)

// StatusError says that the issuer answered, but not what was asked for. The
// body is dropped: nobody knows what it echoes.
type StatusError struct {
	Code     int    // of HTTP
	location string // of a redirect
}

// Error answers the status in words, and how to mend a redirect.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("it answers %d %s", e.Code, http.StatusText(e.Code))
	if e.location != "" {
		text += fmt.Sprintf(" to %s, and redirects are not followed; if it moved, write its new address", e.location)
	}
	return text
}

// Options is what Clients are made of.
type Options struct {
	Route     Route
	Timeout   time.Duration // of one whole call
	UserAgent string
	RootCAs   *x509.CertPool                                      // nil means the system's
	Observe   func(call string, took time.Duration, failed error) // told of every call; may be nil
}

// refreshTime bounds a refresh. Nobody waits for it, and an answer that is given
// up may have replaced the refresh token.
const refreshTime = 20 * time.Second

// Clients holds one client for each kind of call; they share connections, of
// which there are at most 64. Proxies come from the environment.
type Clients struct {
	Discovery, Token, Refresh, Keys, UserInfo *http.Client
	pool                                      *http.Transport
}

// NewClients makes the clients; it does no I/O.
func NewClients(o Options) Clients {
	if o.Observe == nil {
		o.Observe = func(string, time.Duration, error) {}
	}
	pool := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        64,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	client := func(kind string, timeout time.Duration) *http.Client {
		return &http.Client{
			Transport: &caller{kind: kind, pool: pool, route: o.Route, agent: o.UserAgent, observe: o.Observe},
			Timeout:   timeout,
			// A redirect could carry the code and the client's secret to
			// another host, and no issuer needs one.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return Clients{
		Discovery: client("discovery", o.Timeout), Token: client("token", o.Timeout), Refresh: client("refresh", max(o.Timeout, refreshTime)),
		Keys: client("jwks", o.Timeout), UserInfo: client("userinfo", o.Timeout), pool: pool,
	}
}

// CloseIdle closes the connections that nobody uses.
func (c Clients) CloseIdle() { c.pool.CloseIdleConnections() }

// caller makes one kind of call: to the backchannel where there is one, and
// with the whole answer read and judged here, so that whatever libraries make
// of it, an answer that is no answer shows as an error of the call.
type caller struct {
	kind    string
	pool    *http.Transport
	route   Route
	agent   string
	observe func(string, time.Duration, error)
}

// RoundTrip implements http.RoundTripper.
func (c *caller) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL = c.route.Inward(r.URL)
	r.Host = ""
	r.Header.Set("User-Agent", c.agent)
	began := time.Now()
	resp, err := c.answer(r)
	c.observe(c.kind, time.Since(began), observed(resp, err))
	return resp, err
}

func (c *caller) answer(r *http.Request) (*http.Response, error) {
	resp, err := c.pool.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, errTooLarge
	}
	if r.Method == http.MethodGet {
		if err := readable(resp, body); err != nil {
			return nil, err
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// readable answers why a GET did not get what it asked for. The token
// endpoint's answers are not judged here: their refusals have a meaning.
func readable(resp *http.Response, body []byte) error {
	if resp.StatusCode != http.StatusOK {
		e := &StatusError{Code: resp.StatusCode}
		if to, err := resp.Location(); err == nil {
			e.location = to.Scheme + "://" + to.Host + to.Path // a query might hold anything
		}
		return e
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if media != "application/jwt" && !json.Valid(body) {
		return errNotJSON
	}
	return nil
}

// observed answers what the metrics count as a failure of a call.
func observed(resp *http.Response, err error) error {
	if err == nil && resp.StatusCode >= http.StatusMultipleChoices {
		return &StatusError{Code: resp.StatusCode}
	}
	return err
}

// NoAnswer answers why nobody answered a call, in words for the log, or ""
// when err says something else. It is the line between "could not be asked"
// and "said no or lied".
func NoAnswer(err error) string {
	var call *url.Error
	if !errors.As(err, &call) {
		return ""
	}
	var status *StatusError
	switch {
	case errors.As(err, &status), errors.Is(err, errTooLarge), errors.Is(err, errNotJSON):
	case call.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "no answer in time from " + Place(call.URL)
	}
	return fmt.Sprintf("%s: %s", Place(call.URL), call.Err)
}

// Place answers an address without what it might carry.
func Place(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "an address that is no URL"
	}
	return u.Scheme + "://" + u.Host + u.Path
}
