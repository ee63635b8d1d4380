package call

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Options is what a Client is made of.
type Options struct {
	Timeout   time.Duration  // of one whole call
	UserAgent string         // "" means akprox
	RootCAs   *x509.CertPool // nil means the system's

	// Observe, when set, is told of every call: its kind, how long it took,
	// and why it failed. The error holds no secret.
	Observe func(call string, took time.Duration, err error)
}

// Client asks one issuer, over at most 64 connections. Proxies come from the
// environment.
type Client struct {
	http    *http.Client
	agent   string
	observe func(string, time.Duration, error)
}

// New makes a Client; it does no I/O.
func New(o Options) *Client {
	if o.Observe == nil {
		o.Observe = func(string, time.Duration, error) {}
	}
	return &Client{agent: cmp.Or(o.UserAgent, "akprox"), observe: o.Observe, http: &http.Client{
		Timeout: o.Timeout,
		// A redirect could carry a token and our secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs},
			IdleConnTimeout:        90 * time.Second,
			MaxIdleConnsPerHost:    16,
			MaxConnsPerHost:        64,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
	}}
}

// Status is the error of an answer that is not 200.
type Status struct {
	Code  int           // of HTTP
	Body  []byte        // what came with it, within the bound; never for a log
	Retry time.Duration // Retry-After (RFC 9110, section 10.2.3); 0 when there is none
}

// Error answers the status in words.
func (s *Status) Error() string {
	text := fmt.Sprintf("it answers %d %s", s.Code, http.StatusText(s.Code))
	if s.Code >= 300 && s.Code < 400 {
		text += ", and redirects are not followed; if it moved, write its new address"
	}
	return text
}

// Do makes the call and answers the headers and the whole body, of at most
// limit bytes. Any status but 200 is a *Status; the other errors are fit for a
// log, too: they hold neither a query nor what was sent.
func (c *Client) Do(kind string, r *http.Request, limit int64) (http.Header, []byte, error) {
	r.Header.Set("User-Agent", c.agent)
	r.Header.Set("Accept", "application/json")
	began := time.Now()
	header, body, err := c.do(r, limit)
	c.observe(kind, time.Since(began), err)
	return header, body, err
}

func (c *Client) do(r *http.Request, limit int64) (http.Header, []byte, error) {
	resp, err := c.http.Do(r) //nolint:gosec // G704: the operator's addresses, and what discovery at one of them told
	if err != nil {
		return nil, nil, problem(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, nil, problem(err)
	case int64(len(body)) > limit:
		return nil, nil, fmt.Errorf("the answer is larger than %d KiB", limit>>10)
	case resp.StatusCode != http.StatusOK:
		return nil, nil, &Status{Code: resp.StatusCode, Body: body, Retry: retryAfter(resp.Header.Get("Retry-After"))}
	}
	return resp.Header, body, nil
}

// problem says in words why a call failed, without the address: it may have a
// query.
func problem(err error) error {
	var call *url.Error
	if errors.As(err, &call) {
		err = call.Err
	}
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("no answer in time")
	}
	return err
}

func retryAfter(s string) time.Duration {
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

// CheckURL answers what keeps s from being an address that is asked, by the
// setting's name. It is not quoted where it may hold a password.
func CheckURL(key, s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return fmt.Errorf("%s: it is empty; write an address like https://id.example.com", key)
	case err != nil:
		return fmt.Errorf("%s: it is no URL; write one like https://id.example.com", key)
	case u.User != nil:
		return fmt.Errorf("%s: it holds a user or password; leave them out", key)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%s: %q does not begin with https:// or http://", key, s)
	case u.Hostname() == "":
		return fmt.Errorf("%s: %q names no host", key, s)
	case strings.Contains(s, "#"):
		return fmt.Errorf("%s: %q has a fragment; write the address without it", key, s)
	}
	return nil
}
