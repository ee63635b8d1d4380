// Package dial is the way to a Redis server: its address, TLS, the connection.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
)

// TLS says whom to believe and what to show. The files are PEM. The
// certificate and its key are read at every connection, the CA at the start.
type TLS struct {
	CAFile     string // instead of the system's
	CertFile   string
	KeyFile    string
	ServerName string // instead of the host's name
}

// Target is where a URL leads.
type Target struct {
	Address  string // host:port, or the path of a socket
	Database int
	TLS      bool
}

// ParseURL reads a URL: redis://host:port/db, rediss://host:port/db (TLS) or
// unix:///path?db=n. Its errors do not repeat it: somebody may have written a
// password.
func ParseURL(text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Fragment != "" {
		return Target{}, errors.New("redis: expected redis://host:port, rediss://host:port or unix:///path")
	}
	if u.User != nil {
		return Target{}, errors.New("redis: a URL holds no user and no password; they have settings of their own")
	}
	t, database := Target{}, strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case "unix":
		t.Address, database = u.Path, u.Query().Get("db")
		if u.Host != "" || len(u.Path) < 2 {
			return Target{}, errors.New("redis: expected unix:///path, with three slashes")
		}
	case "redis", "rediss":
		t.TLS = u.Scheme == "rediss"
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if t.Address = net.JoinHostPort(u.Hostname(), port); u.Hostname() == "" || u.RawQuery != "" {
			return Target{}, errors.New("redis: expected redis://host:port/db")
		}
	default:
		return Target{}, errors.New("redis: expected a URL that begins with redis://, rediss:// or unix://")
	}
	if database != "" {
		if t.Database, err = strconv.Atoi(database); err != nil || t.Database < 0 {
			return Target{}, errors.New("redis: the number of the database is no number")
		}
	}
	return t, nil
}

// Config makes the settings of TLS; t may be nil.
func (t *TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t == nil {
		return c, nil
	}
	c.ServerName = t.ServerName
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("redis: the CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("redis: %s holds no certificate", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
			return &pair, err
		}
		if _, err := load(); err != nil {
			return nil, fmt.Errorf("redis: the client's certificate: %w", err)
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

// Connect connects to host:port, or to a socket when the address is a path.
func Connect(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout) // the handshake too
	defer cancel()
	if strings.HasPrefix(address, "/") {
		return d.DialContext(ctx, "unix", address)
	}
	if c != nil {
		return (&tls.Dialer{NetDialer: d, Config: c}).DialContext(ctx, "tcp", address)
	}
	return d.DialContext(ctx, "tcp", address)
}
