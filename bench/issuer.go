package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/akprox/akprox/cmd/akprox/demo"
)

// issuer is the demo's issuer, which people sign in to, and beside it one that
// makes tokens for programs. It always has the same name, so that sessions can
// be kept from one run to the next; the peer, which knows no back channel,
// finds the same people at an issuer that is called by its address.
type issuer struct {
	url, peer target // where it is reached, and the peer's
	open      []net.Listener
	signer    jose.Signer
	keys      jose.JSONWebKeySet
}

const (
	issuerHost = "issuer.example.test"
	issuerURL  = "http://" + issuerHost
	clientID   = "akprox"
)

const opaqueToken = "bench-opaque-token-0123456789abcdef"

func newIssuer() (*issuer, error) {
	i := &issuer{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: "bench", Algorithm: string(jose.ES256), Use: "sig"}
	i.keys = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}}
	if i.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, (&jose.SignerOptions{}).WithType("at+jwt")); err != nil {
		return nil, err
	}
	if i.url, err = i.serve(issuerURL); err != nil {
		return nil, err
	}
	i.peer, err = i.serve("")
	return i, err
}

// serve serves an issuer of that name, or one called by its address.
func (i *issuer) serve(name string) (target, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	i.open = append(i.open, listener)
	if name == "" {
		name = "http://" + listener.Addr().String()
	}
	people, err := demo.NewIssuer(name, demo.Client{ID: clientID, Secret: "bench-secret", Redirects: []string{"http://" + host}}, demo.Users())
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle("/", people)
	mux.HandleFunc("/programs/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, i.keys) })
	mux.HandleFunc("/programs/introspect", func(w http.ResponseWriter, _ *http.Request) { answer(w, program()) })
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(listener) }()
	return target(listener.Addr().String()), nil
}

func (i *issuer) close() {
	for _, l := range i.open {
		_ = l.Close()
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// program is what tokens say.
func program() map[string]any {
	now := time.Now()
	return map[string]any{
		"active": true, "iss": issuerURL + "/programs", "sub": "build-agent", "username": "build-agent", "preferred_username": "build-agent",
		"client_id": "build", "aud": "api", "scope": "orders:read orders:write", "groups": []string{"staff"}, "email": "build@example.com",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
	}
}

func (i *issuer) token() (string, error) {
	claims := program()
	delete(claims, "active")
	return jwt.Signed(i.signer).Claims(claims).Serialize()
}

var field = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

// signIn signs alice in, beginning at path, and answers the Cookie header's
// value.
func (i *issuer) signIn(at target, path string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	c := &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, host) {
				return at.dial()
			}
			if strings.HasPrefix(addr, issuerHost) {
				return i.url.dial()
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}},
	}
	next := "http://" + host + path
	for range 8 {
		resp, err := c.Get(next)
		if err != nil {
			return "", err
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		last := next
		if next = resp.Header.Get("Location"); strings.HasPrefix(last, "http://"+host) && strings.Contains(last, "/callback?") {
			break
		}
		if next != "" {
			continue
		}
		if next, err = choose(c, last, string(body)); err != nil {
			return "", err
		}
	}
	var pairs []string
	for _, k := range jar.Cookies(&url.URL{Scheme: "http", Host: host, Path: "/"}) {
		pairs = append(pairs, k.Name+"="+k.Value)
	}
	if len(pairs) == 0 {
		return "", fmt.Errorf("no session after the sign-in, last seen %s", next)
	}
	return strings.Join(pairs, "; "), nil
}

// choose takes alice's form of the demo's page at an address and answers where
// the browser is sent.
func choose(c *http.Client, at, page string) (string, error) {
	at, _, _ = strings.Cut(at, "?")
	_, form, _ := strings.Cut(page, `id="user-alice"`)
	form, _, _ = strings.Cut(form, "</form>")
	values := url.Values{}
	for _, m := range field.FindAllStringSubmatch(form, -1) {
		values.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	resp, err := c.PostForm(at, values)
	if err != nil {
		return "", err
	}
	_ = resp.Body.Close()
	return resp.Header.Get("Location"), nil
}
