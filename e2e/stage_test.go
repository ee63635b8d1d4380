// Package e2e runs akprox with real reverse proxies, real OpenID issuers and a
// real browser. Nothing in it stands for something else except the guarded
// program, Envoy (envoySite) and the controller of ingress-nginx (startIngress).
// A stage is one set-up of all of them; the scenarios are one table
// that runs on every stage.
package e2e_test

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// TestMain lets more tests run at a time than there are cores: for most of
// their time they wait for each other's programs.
func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	if !set {
		_ = flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}

// stage is one issuer, one akprox, one reverse proxy and one guarded program.
type stage struct {
	issuer     *parts.Issuer
	akprox     *parts.Process
	port       int    // where people reach everything
	address    string // host:port of akprox
	program    string // host:port of the guarded program
	app, other string // origins of the two guarded hosts
	mode       string
	front      front
	tls        *tls.Config // what clients believe; nil for plain HTTP
	certFile   string      // certificate and key
}

// The hosts of every stage.
const (
	appHost   = "app.example.test"
	otherHost = "other.example.test"
	authHost  = "auth.example.test"
)

// issuers are the two real ones, by name.
var issuers = map[string]func(testing.TB, parts.IssuerConfig) *parts.Issuer{
	"dex": parts.Dex, "oidc-provider": parts.OIDCProvider,
}

// rules are what every application of every stage asks.
const rules = `
    rules:
      - { paths: [/public/**], allow: anyone }
      - { paths: [/admin/**], groups: [ops] }`

// newStage starts everything and waits until people can sign in.
func newStage(t *testing.T, f front, mode, issuer string) *stage {
	t.Helper()
	parts.Need(t)
	s := &stage{front: f, mode: mode, port: parts.Port(t)}
	akproxPort := parts.Port(t)
	if f.start == nil { // people reach akprox itself
		akproxPort = s.port
	}
	s.address = fmt.Sprintf("127.0.0.1:%d", akproxPort)
	s.program = strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	if f.https {
		s.certify(t)
	}
	s.app, s.other = s.origin(appHost), s.origin(otherHost)
	s.issuer = issuers[issuer](t, parts.IssuerConfig{
		RedirectURIs:           s.callbacks(),
		PostLogoutRedirectURIs: []string{s.app + "/public/bye"},
	})
	config := s.document(f.server(t), parts.Port(t))
	s.begin(t, config, akproxPort)
	if f.start != nil {
		var printed []string
		if f.snippet != "" {
			printed = snippets(t, f.snippet, config, s.applications())
		}
		f.start(t, s, printed)
	}
	s.awaitSignIn(t)
	return s
}

func port(s *stage) string { return strconv.Itoa(s.port) }

func (s *stage) origin(host string) string {
	scheme := "http"
	if s.tls != nil {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s:%d", scheme, host, s.port)
}

// signInOrigin is where the sign-in of app lives.
func (s *stage) signInOrigin() string {
	if s.mode == "forward_domain" {
		return s.origin(authHost)
	}
	return s.app
}

// callbacks are the redirect URIs that the issuer has to know.
func (s *stage) callbacks() []string {
	if s.mode == "forward_domain" {
		return []string{s.origin(authHost) + "/akprox/callback"}
	}
	return []string{s.app + "/akprox/callback", s.other + "/akprox/callback"}
}

// applications are the names in the document.
func (s *stage) applications() []string {
	if s.mode == "forward_domain" {
		return []string{"everything"}
	}
	return []string{"app", "other"}
}

// document is the akprox.yaml of the stage.
func (s *stage) document(server string, metrics int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 1
server: { http: %q, https: "", metrics: "127.0.0.1:%d", %s }
store: { kind: disk, path: store }
log: { level: trace }
providers:
  - name: company
    kind: oidc
    issuer: %s
    client_id: %s
    client_secret: { value: %s }
    scopes: [openid, profile, email, groups]
    post_logout_redirect_uri: %s/public/bye
applications:
`, s.address, metrics, server, s.issuer.URL, s.issuer.ClientID, s.issuer.ClientSecret, s.app)
	if s.mode == "forward_domain" {
		fmt.Fprintf(&b, `  - name: everything
    mode: forward_domain
    external_url: %s
    cookie_domain: example.test
    credentials: [company]%s
`, s.origin(authHost), s.rules())
		return b.String()
	}
	for name, origin := range map[string]string{"app": s.app, "other": s.other} {
		fmt.Fprintf(&b, `  - name: %s
    mode: %s
    external_url: %s
    credentials: [company]%s
`, name, s.mode, origin, s.rules())
		if s.mode == "proxy" {
			fmt.Fprintf(&b, "    upstream: http://%s\n", s.program)
		}
	}
	return b.String()
}

// rules are left out where the proxy does not tell paths.
func (s *stage) rules() string {
	if s.front.pathless {
		return ""
	}
	return rules
}

// begin starts akprox.
func (s *stage) begin(t *testing.T, config string, port int) {
	t.Helper()
	s.akprox = parts.Akprox(t, config, port, "")
	t.Cleanup(func() {
		for _, fault := range []string{"internal error", "panic"} {
			if strings.Contains(s.akprox.Output(), fault) {
				t.Errorf("akprox logged a fault:\n%s", s.akprox.Output())
			}
		}
	})
}

// awaitSignIn waits until akprox has found its issuer.
func (s *stage) awaitSignIn(t *testing.T) {
	t.Helper()
	p := s.person(t)
	eventually(t, "nobody can sign in", func() bool {
		r, err := p.try(http.MethodGet, s.app+"/", navigation, nil)
		return err == nil && r.next() != ""
	})
}

// eventually waits until ok.
func eventually(t *testing.T, otherwise string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// waitFor waits, for some seconds, until address answers at all.
func waitFor(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	var conn net.Conn
	for range 500 {
		if conn, err = net.DialTimeout("tcp", "127.0.0.1:"+u.Port(), time.Second); err == nil {
			return conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// snippets answers what `akprox snippet` prints for each of the applications.
func snippets(t *testing.T, name, config string, applications []string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "akprox.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var printed []string
	for _, app := range applications {
		var errs strings.Builder
		cmd := exec.Command(parts.AkproxPath(t), "snippet", name, "--app", app, "--config", file) // #nosec G204
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil || errs.Len() > 0 {
			t.Fatalf("akprox snippet %s: %v\n%s", name, err, errs.String())
		}
		printed = append(printed, string(out))
	}
	return printed
}
