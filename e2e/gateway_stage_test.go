package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2/clientcredentials"

	"github.com/akprox/akprox/e2e/parts"
)

// The hosts of the gateway's applications, behind each of its proxies.
const (
	apiHost   = "api.example.test"   // the rules of testdata/gateway/applications.yaml
	tokenHost = "token.example.test" // pass_token
	hydraHost = "hydra.example.test" // takes the tokens of Hydra
	openHost  = "open.example.test"  // lets everybody through
)

const (
	apiAudience   = "https://api.example.test"
	gatewaySecret = "of the gateway: a+b&c=d%20/: ~0123456789" // has to be form-encoded in Basic (RFC 6749 2.3.1)
	clientsSecret = "secret-of-the-clients-0123456789abcdef"
	unknownKey    = "api-nobody-has-this-key"
)

// edges are the proxies in front of the gateway's applications.
var edges = []front{caddy, caddyDebian, nginx, traefik}

// gateway is one akprox, three proxies in front of it, and the issuers of the
// tokens that it takes.
type gateway struct {
	akprox      *parts.Process
	address     string // host:port of akprox, which people reach for proxy mode
	program     string
	config      string
	stages      map[string]*stage // by the name of the proxy
	jwt, opaque *parts.Issuer
	hydra       *parts.OryHydra
	hydraMu     sync.Mutex // its database in memory refuses whoever comes at the same time
	keys        *relay     // in front of the key set of jwt
	asked       *relay     // in front of the introspection of opaque, which is cached for ten minutes
	brief       *relay     // the same, cached for a second
	slow        *relay     // the same, with a timeout of a second
}

// newGateway starts everything.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	parts.Need(t)
	port := parts.Port(t)
	g := &gateway{
		address: fmt.Sprintf("127.0.0.1:%d", port), stages: map[string]*stage{},
		program: strings.TrimPrefix(parts.Upstream(t).URL, "http://"),
	}
	clients := []parts.OAuthClient{{ID: "gateway", Secret: gatewaySecret, GrantTypes: []string{"client_credentials"}}}
	for _, name := range []string{"alice", "bob"} {
		clients = append(clients, parts.OAuthClient{ID: name, Secret: clientsSecret, GrantTypes: []string{"client_credentials"}})
	}
	g.jwt = parts.OIDCProvider(t, parts.IssuerConfig{JWTAudience: apiAudience, Clients: clients})
	g.opaque = parts.OIDCProvider(t, parts.IssuerConfig{Clients: clients})
	g.hydra = parts.Hydra(t, append(clients, parts.OAuthClient{
		ID: "web", Secret: clientsSecret, GrantTypes: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{hydraCallback},
	}), "openid offline_access orders:read orders:write reorders:readonly")
	g.keys = newRelay(t, g.jwt.URL)
	g.asked, g.brief, g.slow = newRelay(t, g.opaque.URL), newRelay(t, g.opaque.URL), newRelay(t, g.opaque.URL)
	for _, f := range edges {
		g.stages[f.name] = &stage{front: f, mode: "forward_single", port: parts.Port(t), address: g.address, program: g.program}
	}
	g.config = g.document(t, g.address)
	g.akprox = parts.Akprox(t, g.config, port, "")
	t.Cleanup(func() { faultless(t, g.akprox) })
	// Its keys are asked for at once, so that g3Keys has less to wait for.
	if r := g.asks(t, "direct", "/x", bearer(g.jwtToken(t, "alice"))); r.status != http.StatusOK {
		t.Fatalf("a JWT: %d %s", r.status, r.body)
	}
	for _, f := range edges {
		s := g.stages[f.name]
		s.app = s.origin(apiHost)
		s.akprox = g.akprox
		f.start(t, s, snippets(t, f.snippet, g.config, g.names(f)))
	}
	return g
}

// faultless fails the test if akprox logged a fault of its own, or a secret.
func faultless(t *testing.T, akprox *parts.Process) {
	for _, fault := range []string{"internal error", "internal_error", "panic", gatewaySecret, testKey("")} {
		if strings.Contains(akprox.Output(), fault) {
			t.Errorf("akprox logged %q:\n%s", fault, akprox.Output())
		}
	}
}

// names are the applications behind a proxy.
func (g *gateway) names(f front) []string {
	return []string{"api-" + f.name, "token-" + f.name, "hydra-" + f.name, "open-" + f.name}
}

// gatewayFile reads a file of testdata/gateway.
func gatewayFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/gateway/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// document is the akprox.yaml, for an akprox at address.
func (g *gateway) document(t *testing.T, address string) string {
	t.Helper()
	introspection := "/token/introspection"
	head := strings.NewReplacer(
		"ADDRESS", address, "PROXIED", "proxied.example.test:"+strings.TrimPrefix(g.address, "127.0.0.1:"), "PROGRAM", g.program,
		"ISSUER", g.jwt.URL, "KEYS", g.keys.URL+"/jwks", "AUDIENCE", apiAudience, "SECRET", fmt.Sprintf("%q", gatewaySecret),
		"HYDRA", g.hydra.Admin+"/oauth2/introspect",
		"ASKED", g.asked.URL+introspection, "BRIEF", g.brief.URL+introspection, "SLOW", g.slow.URL+introspection,
	).Replace(gatewayFile(t, "akprox.yaml"))
	var b strings.Builder
	b.WriteString(head)
	each := gatewayFile(t, "applications.yaml")
	for _, f := range edges {
		s := g.stages[f.name]
		b.WriteString(strings.NewReplacer("EDGE", f.name,
			"API", s.origin(apiHost), "TOKEN", s.origin(tokenHost), "HYDRA", s.origin(hydraHost), "OPEN", s.origin(openHost)).Replace(each))
	}
	return b.String()
}

// token gets an access token of a client from an issuer's token endpoint.
func token(t testing.TB, endpoint, client string, scopes ...string) string {
	t.Helper()
	c := clientcredentials.Config{ClientID: client, ClientSecret: clientsSecret, TokenURL: endpoint, Scopes: scopes}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	got, err := c.Token(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return got.AccessToken
}

func (g *gateway) opaqueToken(t testing.TB, client string, scopes ...string) string {
	t.Helper()
	return token(t, g.opaque.URL+"/token", client, scopes...)
}

func (g *gateway) hydraToken(t testing.TB, client string, scopes ...string) string {
	t.Helper()
	return token(t, g.hydra.URL+"/oauth2/token", client, scopes...)
}

func (g *gateway) jwtToken(t testing.TB, client string, scopes ...string) string {
	t.Helper()
	return token(t, g.jwt.URL+"/token", client, scopes...)
}

// bearer are the headers of a program with a token.
func bearer(token string, more ...string) http.Header {
	return with(program, append([]string{"Authorization", "Bearer " + token}, more...)...)
}

// caller is a program that keeps its connections.
type caller struct {
	*person
	base string
}

// at answers a caller of a host behind a proxy.
func (g *gateway) at(t *testing.T, edge, host string) *caller {
	s := g.stages[edge]
	return &caller{s.person(t), s.origin(host)}
}

func (c *caller) get(path string, h http.Header) reply {
	c.t.Helper()
	return c.send(http.MethodGet, c.base+path, h, nil)
}

// want asks and compares the status.
func (c *caller) want(status int, path string, h http.Header) reply {
	c.t.Helper()
	r := c.get(path, h)
	if r.status != status {
		c.t.Errorf("%s with %v: %d, not %d: %.200s", path, h["Authorization"], r.status, status, r.body)
	}
	return r
}

// asks asks akprox itself, as Traefik would for an application.
func (g *gateway) asks(t *testing.T, application, path string, h http.Header) reply {
	t.Helper()
	return asTraefik(t, client(t), g.address, "http://"+application+".direct.test"+path, h)
}

// asTraefik asks an akprox what Traefik asks it about address.
func asTraefik(t *testing.T, c *http.Client, akprox, address string, h http.Header) reply {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	h = with(h, "X-Forwarded-Proto", u.Scheme, "X-Forwarded-Host", u.Host, "X-Forwarded-Uri", u.RequestURI(), "X-Forwarded-Method", "GET")
	if h["X-Forwarded-For"] == nil {
		h["X-Forwarded-For"] = []string{"198.51.100.7"}
	}
	p := &person{c, t, nil}
	return p.send(http.MethodGet, "http://"+akprox+"/akprox/auth/traefik", h, nil)
}

// client keeps its connections for a test.
func client(t *testing.T) *http.Client {
	c := parts.Client(t)
	c.Transport.(*parts.Watched).MaxIdleConnsPerHost = 64
	return c
}

// relay is a proxy in front of a real issuer that counts what is asked, and
// can keep everybody waiting.
type relay struct {
	*httptest.Server
	calls atomic.Int64
	hang  atomic.Bool
	last  atomic.Pointer[http.Request]
	body  atomic.Pointer[string]
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { panic(http.ErrAbortHandler) }, // as if nobody listened
	}
	done := make(chan struct{})
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.calls.Add(1)
		body, _ := io.ReadAll(io.LimitReader(req.Body, 1<<20))
		text := string(body)
		r.body.Store(&text)
		r.last.Store(req.Clone(context.Background()))
		req.Body = io.NopCloser(strings.NewReader(text))
		if r.hang.Load() {
			select {
			case <-req.Context().Done():
			case <-done:
			}
			return
		}
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(func() {
		close(done)
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

// calledFor answers how many questions f causes.
func (r *relay) calledFor(f func()) int64 {
	before := r.calls.Load()
	f()
	return r.calls.Load() - before
}
