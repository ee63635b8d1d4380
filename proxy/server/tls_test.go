package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/server"
)

// pair answers a new self-signed certificate for 127.0.0.1 and its key, in PEM.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// shown answers the name of the certificate that addr shows.
func shown(t *testing.T, addr string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func Test_certificate_is_read_again_when_it_changes_and_a_broken_one_is_not_served(t *testing.T) {
	dir := t.TempDir()
	o := server.Options{HTTPS: "127.0.0.1:0", CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), Handler: http.HandlerFunc(tell)}
	var log lines
	o.Log = logTo(&log)
	cert, key := pair(t, "first")
	write(t, o.CertFile, cert)
	write(t, o.KeyFile, key)
	addrs, _ := start(t, o)
	if got := shown(t, addrs.HTTPS); got != "first" {
		t.Fatal(got)
	}
	cert, key = pair(t, "second")
	write(t, o.CertFile, cert) // the key of the first is still there: half a change
	eventually(t, "the broken pair is told", func() bool { return shown(t, addrs.HTTPS) == "first" && strings.Contains(log.String(), "not usable") })
	write(t, o.KeyFile, key)
	eventually(t, "the second is shown", func() bool { return shown(t, addrs.HTTPS) == "second" })
	if n := strings.Count(log.String(), "not usable"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	if err := os.Remove(o.CertFile); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is told", func() bool {
		return shown(t, addrs.HTTPS) == "second" && strings.Count(log.String(), "not usable") == 2
	})
}

func Test_tls_listener_speaks_http2_and_nothing_older_than_tls_1_2(t *testing.T) {
	dir := t.TempDir()
	o := server.Options{HTTPS: "127.0.0.1:0", CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), Handler: http.HandlerFunc(tell)}
	cert, key := pair(t, "a")
	write(t, o.CertFile, cert)
	write(t, o.KeyFile, key)
	addrs, _ := start(t, o)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	for _, h2 := range []bool{true, false} {
		c := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{RootCAs: pool}}}
		if _, body := get(t, c, "https://"+addrs.HTTPS); strings.HasPrefix(body, "HTTP/2.0") != h2 {
			t.Errorf("spoke %s", body)
		}
		c.CloseIdleConnections()
	}
	old := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if c, err := tls.Dial("tcp", addrs.HTTPS, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.1 was accepted")
	}
}
