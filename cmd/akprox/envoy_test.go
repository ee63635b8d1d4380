package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	grpccredentials "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/akprox/akprox/outpost/config"
)

// TestEnvoyAsksBelowItsEndpoint is about the way there: what is judged is what
// stands in the request line after the endpoint, byte for byte. Package dialect
// tests what is read of it.
func TestEnvoyAsksBelowItsEndpoint(t *testing.T) {
	w := newWorld(t)
	at := strings.TrimPrefix(w.url, "http://")
	for _, row := range []struct {
		name, line string
		more       string
		want       int
	}{
		{name: "anybody's path", line: "GET /akprox/auth/envoy/health", want: 200},
		{name: "with a query", line: "GET /akprox/auth/envoy/health?a=/old/x", want: 200},
		{name: "under the alias", line: "GET /outpost.goauthentik.io/auth/envoy/health", want: 200},
		{name: "a page", line: "GET /akprox/auth/envoy/x", want: 302},
		{name: "nobody's path", line: "GET /akprox/auth/envoy/old/x", want: 403},
		{name: "CVE-2026-33494: dot segments", line: "GET /akprox/auth/envoy/health/../old/x", want: 403},
		{name: "escaped dot segments", line: "GET /akprox/auth/envoy/health/%2e%2e/old/x", want: 403},
		{name: "an escaped slash", line: "GET /akprox/auth/envoy/health%2f..%2fold%2fx", want: 403},
		{name: "slashes", line: "GET /akprox/auth/envoy//old/x", want: 403},
		{name: "out of the endpoint", line: "GET /akprox/auth/envoy/../../../health", want: 302},
		{name: "a path without its slash", line: "GET /akprox/auth/envoyhealth", want: 400},
		{name: "user info for a path", line: "GET /akprox/auth/envoy@pub/health", want: 400},
		{name: "no path", line: "GET /akprox/auth/envoy", want: 400},
		{name: "a query for a path", line: "GET /akprox/auth/envoy?/health", want: 400},
		{name: "all of a server", line: "OPTIONS /akprox/auth/envoy*", want: 400},
		{name: "a bad escape", line: "GET /akprox/auth/envoy/%zz", want: 400},
		{name: "the endpoint in another spelling", line: "GET /akprox/auth/%65nvoy/health", want: 404},
		{name: "the query form is not Envoy's", line: "GET /akprox/auth?envoy", want: 403}, // nginx's answer: the path is not told
		{name: "our own page", line: "GET /akprox/auth/envoy/akprox/start?rd=/", want: 200},
		{name: "a body that never comes", line: "POST /akprox/auth/envoy/x", more: "Content-Length: 10\r\n", want: 401},
		{name: "a body without a length", line: "POST /akprox/auth/envoy/x", more: "Transfer-Encoding: chunked\r\n", want: 401},
		{name: "HEAD", line: "HEAD /akprox/auth/envoy/health", want: 200},
	} {
		raw := row.line + " HTTP/1.1\r\nHost: wiki.example.test\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 198.51.100.7\r\nAccept: text/html\r\n" + row.more + "\r\n"
		if got := exchange(t, at, raw); got != row.want {
			t.Errorf("%s: %d, want %d", row.name, got, row.want)
		}
	}
}

// TestEnvoyAsksOverGRPC is the same decision on a listener of its own, over TCP,
// TLS and a socket.
func TestEnvoyAsksOverGRPC(t *testing.T) {
	w := newWorld(t)
	cert, pool := selfSigned(t)
	for name, s := range map[string]config.Server{
		"TCP":    {GRPC: freeAddress(t)},
		"TLS":    {GRPC: freeAddress(t), GRPCTLS: true, TLS: cert},
		"socket": {GRPC: "unix:" + filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(name, func(t *testing.T) {
			s.HTTP = freeAddress(t)
			ctx, stop := context.WithCancel(t.Context())
			ready, done := make(chan struct{}), make(chan error, 1)
			go func() { done <- w.listen(ctx, s, func() { close(ready) }) }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			}
			creds := insecure.NewCredentials()
			if s.GRPCTLS {
				creds = grpccredentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12})
			}
			conn, err := grpc.NewClient(s.GRPC, grpc.WithTransportCredentials(creds))
			if err != nil {
				t.Fatal(err)
			}
			check := func(method, path string, header ...string) *authv3.CheckResponse {
				t.Helper()
				headers := map[string]string{"x-forwarded-proto": "http", "accept": "text/html"}
				for i := 0; i < len(header); i += 2 {
					headers[header[i]] = header[i+1]
				}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				out, err := authv3.NewAuthorizationClient(conn).Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
					Http: &authv3.AttributeContext_HttpRequest{Method: method, Scheme: "http", Host: "wiki.example.test", Path: path, Headers: headers},
				}}})
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			if out := check("GET", "/x?a=b"); !strings.HasPrefix(location(out), "http://wiki.example.test/akprox/start?rd=") || out.GetDeniedResponse().GetStatus().GetCode() != 302 {
				t.Errorf("a stranger: %v", out)
			}
			if out := check("GET", "/old/x"); out.GetDeniedResponse().GetStatus().GetCode() != http.StatusForbidden {
				t.Errorf("nobody's path: %v", out)
			}
			if out := check("GET", "/health", "x-auth-username", "root"); out.GetOkResponse() == nil || strings.Join(out.GetOkResponse().GetHeadersToRemove(), " ") != "authorization x-auth-groups x-auth-username x-forwarded-email x-forwarded-preferred-username x-forwarded-user" {
				t.Errorf("anybody's path: %v", out)
			}
			c := w.browser()
			w.signIn(c, "http://wiki.example.test/akprox/start?rd=/", "alice")
			_, cookie, _ := strings.Cut(cookies(c, "wiki.example.test"), ": ")
			out := check("GET", "/x", "cookie", cookie)
			user := ""
			for _, o := range out.GetOkResponse().GetHeaders() {
				if o.GetHeader().GetKey() == "x-auth-username" {
					user = o.GetHeader().GetValue()
				}
			}
			if user != "alice" {
				t.Errorf("alice: %v", out)
			}
			_ = conn.Close()
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	w.logs(`"dialect":"envoy","outcome":"sign_in"`, 3)
	if n := strings.Count(w.log.String(), `"dialect":"envoy","outcome":"sign_in"`); n != 3 {
		t.Errorf("%d of 3 decisions are in the log", n)
	}
}

func location(out *authv3.CheckResponse) string {
	for _, o := range out.GetDeniedResponse().GetHeaders() {
		if o.GetHeader().GetKey() == "location" {
			return o.GetHeader().GetValue()
		}
	}
	return ""
}

// selfSigned answers a certificate for example.com as files, and who believes it.
func selfSigned(t *testing.T) (config.TLS, *x509.CertPool) {
	t.Helper()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	pair := server.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for file, block := range map[string]*pem.Block{
		files.CertFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		files.KeyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files, pool
}

func TestGRPCNeedsItsSettings(t *testing.T) {
	for server, want := range map[string]string{
		`grpc: "127.0.0.1:9001", grpc_tls: true`:             "needs grpc and tls",
		`grpc_tls: true, tls: { cert_file: a, key_file: b }`: "needs grpc and tls",
		`grpc: ":9000"`:    "is also server.http",
		`grpc: "nonsense"`: "host:port",
	} {
		file := filepath.Join(t.TempDir(), "akprox.yaml")
		text := strings.Replace(snippetDocument, `server: { http: "127.0.0.1:9123"ORIGINAL }`, fmt.Sprintf(`server: { http: ":9000", %s }`, server), 1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readDocument(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", server, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	w := newWorld(t)
	if err := w.listen(t.Context(), config.Server{HTTP: freeAddress(t), GRPC: l.Addr().String()}, func() {}); err == nil || !strings.Contains(err.Error(), "server.grpc") {
		t.Errorf("a port that is taken: %v", err)
	}
}
