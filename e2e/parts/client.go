package parts

import (
	"context"
	"net"
	"net/http"
	"net/http/cookiejar"
	"testing"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Client returns a client that behaves as a browser with a fresh profile: it
// keeps cookies by the browsers' rules. It follows no redirects, so that a
// test sees each step. All host names lead to 127.0.0.1, at the port of the
// URL: http://app.example.test:8080/ asks whatever listens on 127.0.0.1:8080.
// Its Transport is a Watched.
func Client(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
		DisableCompression: true, // what a test sees is what was sent
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     &Watched{transport, t},
		Jar:           jar,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
