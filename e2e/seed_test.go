package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// The files in testdata/seed are configurations that people have, to the
// letter. What has to be changed to run one here stands in the list of its
// front: names, ports, and what its own comments ask for.

const (
	theirHost    = "*external host that you configured in authentik*"
	theirOutpost = "authentik-outpost-example-outpost:9000"
)

// seeds are the four configurations, in all their forms.
var seeds = []struct {
	front
	mode   string
	groups bool // the program is told the groups
}{
	{front{name: "nginx", start: seedNginx(false), pathless: true, sendsPrograms: true, https: true}, "forward_single", false},
	{front{name: "nginx at domain level", start: seedNginx(true), pathless: true, sendsPrograms: true, https: true}, "forward_domain", false},
	{front{name: "ingress-nginx", start: seedIngress, originalURL: true, sendsPrograms: true}, "forward_single", true},
	{front{name: "Traefik file", start: seedTraefikFile}, "forward_single", true},
	{front{name: "Traefik labels", start: seedTraefikLabels}, "forward_single", true},
	{front{name: "Traefik IngressRoute", start: seedTraefikRoute}, "forward_single", true},
	{front{name: "Traefik file at domain level", start: seedTraefikFile}, "forward_domain", true},
}

// TestSeeds lets people sign in through each of the configurations.
func TestSeeds(t *testing.T) {
	t.Parallel()
	for _, seed := range seeds {
		t.Run(seed.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, seed.front, seed.mode, "oidc-provider")
			p := s.person(t)
			if e := p.arrive(s.app+"/app?a=1&b=2", "alice"); e.Query != "a=1&b=2" {
				t.Errorf("the program was asked for %q", e.RequestURI)
			}
			seedHeaders(t, p, seed.groups)
			seedPrograms(t, s)
			body := bytes.Repeat([]byte("x"), 1<<10)
			if e := p.send(http.MethodPost, s.app+"/upload", program, body).echo(t); e.BodyLength != 1<<10 {
				t.Errorf("of the body there came %d bytes", e.BodyLength)
			}
			t.Run("forged control headers", func(t *testing.T) { forgedControlHeaders(t, s) })
			t.Run("sign out", func(t *testing.T) { signOut(t, s) })
			if seed.mode == "forward_domain" {
				t.Run("second host", func(t *testing.T) { secondHost(t, s) })
			}
		})
	}
}

func seedHeaders(t *testing.T, p *person, groups bool) {
	t.Helper()
	want := map[string]string{"X-Auth-Username": "alice", "X-Forwarded-Email": "alice@example.test"}
	if groups {
		want["X-Auth-Groups"] = "dev|ops"
	}
	forged := navigation.Clone()
	for name := range want {
		forged.Set(name, "forged")
	}
	told := p.send(http.MethodGet, p.s.app+"/x", forged, nil).echo(t).Header
	for name, value := range want {
		if got := strings.Join(told[name], "\n"); got != value {
			t.Errorf("the program was told %s: %q", name, got)
		}
	}
}

// seedPrograms: a program gets its 401, if not at once, because nginx sends
// every 401 to the sign-in, then there.
func seedPrograms(t *testing.T, s *stage) {
	t.Helper()
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		p := s.person(t)
		r := p.send(method, s.app+"/api", program, nil)
		if next := r.next(); next != "" && s.front.sendsPrograms {
			r = p.send(http.MethodGet, next, program, nil)
		}
		if r.status != http.StatusUnauthorized || r.header.Get("Location") != "" {
			t.Errorf("%s by a program: %d %v", method, r.status, r.header)
		}
	}
}

func seedFile(t *testing.T, name string, changes ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "seed", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(text), changes[i]) {
			t.Fatalf("%s has no %q", name, changes[i])
		}
	}
	return strings.NewReplacer(changes...).Replace(string(text))
}

func seedNginx(domain bool) func(*testing.T, *stage, []string) {
	return func(t *testing.T, s *stage, _ []string) {
		changes := []string{
			"listen                  443 ssl http2;", "listen 127.0.0.1:" + port(s) + " ssl http2;",
			"/etc/ssl/certs/ssl-cert-snakeoil.pem", s.certFile,
			"/etc/ssl/private/ssl-cert-snakeoil.key", s.certFile,
			"# proxy_pass          http://localhost:5000;", "proxy_pass http://" + s.program + ";", // "Put your proxy_pass … here"
			"*ip or hostname of the authentik OUTPOST*:9000", s.address,
		}
		if domain { // "For domain level, use the below error_page"
			changes = append(changes,
				"error_page          401 = @akprox_signin;", "",
				"# error_page          401 =302 https://authentik.company", "error_page 401 =302 "+s.origin(authHost))
		}
		parts.Nginx(t, s.port, seedFile(t, "nginx.conf", changes...))
	}
}

// seedIngress renders the annotations as the controller does, over plain HTTP.
// auth-url leads through the controller itself.
func seedIngress(t *testing.T, s *stage, _ []string) {
	host := strings.TrimPrefix(s.app, "http://")
	annotations := readYAML(t, seedFile(t, "ingress-annotations.yaml", "https://"+theirHost, "http://"+host))
	outpost := readYAML(t, seedFile(t, "ingress-outpost.yaml", "*external host that you configured in authentik*", appHost))
	rule := outpost["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)
	path := rule["http"].(map[string]any)["paths"].([]any)[0].(map[string]any)["path"].(string)
	a := annotations["metadata"].(map[string]any)["annotations"].(map[string]any)
	// The name has to be an address: this nginx has no resolver.
	a[annotation+"auth-url"] = strings.Replace(a[annotation+"auth-url"].(string), host, "127.0.0.1:"+port(s), 1)
	parts.Nginx(t, s.port, s.render(rule["host"].(string), path, a, nil, host), parts.SetMisc)
}

// seedTraefikFile mends what no Traefik reads: the keys of the second router,
// the form of the middleware's name, and the services, which were left out.
func seedTraefikFile(t *testing.T, s *stage, _ []string) {
	text := seedFile(t, "traefik-file.yaml",
		"http://"+theirOutpost, "http://"+s.address,
		"Host(`"+theirHost+"`)", s.hostRule(),
		"- name: authentik", "- authentik",
		"services: # Unchanged", "service: program",
		"default-router-auth\n", "default-router-auth:\n",
		"match:", "rule:",
		"services: http://*ip of your outpost*:9000/akprox", "service: outpost",
	)
	s.withServices(t, readYAML(t, text))
}

func (s *stage) hostRule() string {
	if s.mode == "forward_domain" {
		return "HostRegexp(`.+`)"
	}
	return "Host(`" + appHost + "`)"
}

// withServices starts Traefik with the services that every installation has.
func (s *stage) withServices(t *testing.T, dynamic map[string]any) {
	server := func(at string) map[string]any {
		return map[string]any{"loadBalancer": map[string]any{"servers": []any{map[string]any{"url": "http://" + at}}}}
	}
	put(dynamic, []string{"http", "services"}, map[string]any{"program": server(s.program), "outpost": server(s.address)})
	runTraefik(t, s, dynamic)
}

// seedTraefikLabels reads the labels as the docker provider does, which gives
// each router the service of its container. The entry point has another name
// and no TLS; Traefik's own dashboard is left out.
func seedTraefikLabels(t *testing.T, s *stage, _ []string) {
	compose := readYAML(t, seedFile(t, "traefik-compose.yaml", theirHost, appHost, "entrypoints: https", "entrypoints: web"))
	dynamic := map[string]any{}
	for container, service := range map[string]string{"authentik_proxy": "outpost", "whoami": "program"} {
		labels := compose["services"].(map[string]any)[container].(map[string]any)["labels"].(map[string]any)
		tree := fromLabels(labels, "")
		for _, router := range tree["http"].(map[string]any)["routers"].(map[string]any) {
			router.(map[string]any)["service"] = service
			delete(router.(map[string]any), "tls")
		}
		merge(dynamic, tree)
	}
	setAddress(dynamic, "http://authentik_proxy:", s.address)
	s.withServices(t, dynamic)
}

// seedTraefikRoute makes of the Middleware and the IngressRoute what the
// Kubernetes provider makes of them.
func seedTraefikRoute(t *testing.T, s *stage, _ []string) {
	middleware := readYAML(t, seedFile(t, "traefik-middleware.yaml", theirOutpost, s.address))
	dynamic := map[string]any{}
	put(dynamic, []string{"http", "middlewares", "authentik"}, middleware["spec"])
	routes := readYAML(t, seedFile(t, "traefik-ingressroute.yaml", theirHost, appHost))["spec"].(map[string]any)["routes"].([]any)
	for i, service := range []string{"program", "outpost"} {
		route := routes[i].(map[string]any)
		router := map[string]any{"rule": route["match"], "priority": route["priority"], "service": service}
		if used, ok := route["middlewares"].([]any); ok {
			router["middlewares"] = []any{used[0].(map[string]any)["name"]}
		}
		put(dynamic, []string{"http", "routers", service}, router)
	}
	s.withServices(t, dynamic)
}

// certify makes a certificate for the hosts of the stage.
func (s *stage) certify(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.example.test"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	s.certFile = filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(s.certFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	s.tls = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}
