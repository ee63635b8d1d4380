package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

const (
	clientID     = "akprox"
	clientSecret = "s3cr+t/of the:client"
	theCode      = "c0de-that-must-not-leak"
	accessToken  = "4ccess-that-must-not-leak"
	callbackURL  = "https://wiki.example.com/akprox/callback"
)

type object = map[string]any

// issuer is a small OpenID issuer over real HTTP. It is honest until a test
// sets one of its fields, each of which is a way to lie.
type issuer struct {
	*httptest.Server
	key *ecdsa.PrivateKey

	document func(object)                // changes the discovery document
	claims   func(object)                // changes the ID token's claims
	sign     func(object) string         // signs in another way
	userinfo object                      // nil: an honest one
	instead  map[string]http.HandlerFunc // answers a path in another way
	answer   func(object)                // changes the token answer

	hangs bool        // it has a path that does not answer, so nobody waits long
	down  atomic.Bool // breaks every connection
	mu    sync.Mutex
	seen  []*http.Request // token requests, their forms parsed
	now   flow
	calls map[string]int
}

// flow is what the browser brought to the authorization endpoint.
type flow struct{ nonce, challenge, redirect string }

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key, instead: map[string]http.HandlerFunc{}, calls: map[string]int{}}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.down.Load() {
		panic(http.ErrAbortHandler)
	}
	i.mu.Lock()
	i.calls[r.URL.Path]++
	i.mu.Unlock()
	if h := i.instead[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		write(w, i.discovery())
	case "/keys":
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	case "/token":
		i.token(w, r)
	case "/userinfo":
		if r.Header.Get("Authorization") != "Bearer "+accessToken {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if i.userinfo != nil {
			write(w, i.userinfo)
			return
		}
		write(w, object{"sub": "u1", "groups": []string{"staff"}})
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) discovery() object {
	d := object{
		"issuer": i.URL, "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
		"jwks_uri": i.URL + "/keys", "userinfo_endpoint": i.URL + "/userinfo", "end_session_endpoint": i.URL + "/end?x=1",
		"id_token_signing_alg_values_supported": []string{"ES256", "RS256", "HS256", "none"},
	}
	if i.document != nil {
		i.document(d)
	}
	return d
}

func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = append(i.seen, r)
	if r.PostForm.Get("code") != theCode || oauth2.S256ChallengeFromVerifier(r.PostForm.Get("code_verifier")) != i.now.challenge ||
		r.PostForm.Get("redirect_uri") != i.now.redirect {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		write(w, object{"error": "invalid_grant"})
		return
	}
	answer := object{"access_token": accessToken, "token_type": "Bearer", "expires_in": 600, "refresh_token": "r1", "id_token": i.idToken(), "scope": "openid groups"}
	if i.answer != nil {
		i.answer(answer)
	}
	write(w, answer)
}

func (i *issuer) idToken() string {
	clock := time.Now()
	claims := object{
		"iss": i.URL, "aud": clientID, "sub": "u1", "nonce": i.now.nonce, "iat": clock.Unix(), "exp": clock.Add(5 * time.Minute).Unix(),
		"preferred_username": "alice", "email": "alice@example.com", "email_verified": true, "name": "Alice", "groups": []string{"admin", "staff"},
		"sid": "s1",
	}
	if i.claims != nil {
		i.claims(claims)
	}
	if i.sign != nil {
		return i.sign(claims)
	}
	return signed(jose.ES256, i.key, claims)
}

// signed makes a token; the key id is the honest issuer's.
func signed(alg jose.SignatureAlgorithm, key any, claims object) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "one"))
	if err != nil {
		panic(err)
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	return raw
}

// unsigned makes a token with alg none.
func unsigned(claims object) string {
	b, _ := json.Marshal(claims)
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none","kid":"one"}`)) + "." + enc(b) + "."
}

func write(w http.ResponseWriter, v any) {
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	_ = json.NewEncoder(w).Encode(v)
}

// provider makes a Provider for the issuer; change may alter its options.
func (i *issuer) provider(t testing.TB, change ...func(*oidc.Options)) *oidc.Provider {
	t.Helper()
	o := oidc.Options{
		Name: "company", Issuer: i.URL, ClientID: clientID, ClientSecret: clientSecret,
		Scopes: []string{"openid", "groups"}, Timeout: 10 * time.Second,
	}
	if i.hangs {
		o.Timeout = 1500 * time.Millisecond
	}
	for _, c := range change {
		c(&o)
	}
	p, err := oidc.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func query() outpost.AuthQuery {
	return outpost.AuthQuery{RedirectURL: callbackURL, State: "the-state", Nonce: "the-nonce", Verifier: oauth2.GenerateVerifier()}
}

// authURL asks p again when the two seconds that a person waits were over: the
// machine is busy, and the issuer's answer comes yet.
func authURL(p *oidc.Provider, q outpost.AuthQuery) (u string, err error) {
	for range 10 {
		if u, err = p.AuthURL(context.Background(), q); err == nil || !strings.Contains(err.Error(), "no answer within") {
			return u, err
		}
	}
	return u, err
}

// signIn goes the whole way: the provider's URL is read as the issuer would,
// and the code is redeemed. No error may hold a secret.
func (i *issuer) signIn(t *testing.T, p *oidc.Provider) (*outpost.Grant, error) {
	t.Helper()
	q := query()
	u, err := authURL(p, q)
	if err != nil {
		return nil, err
	}
	i.visit(t, u)
	grant, err := p.Exchange(context.Background(), q, theCode)
	if err != nil {
		noSecret(t, err.Error(), q.Verifier)
	}
	return grant, err
}

func (i *issuer) visit(t *testing.T, rawURL string) url.Values {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	v := u.Query()
	i.mu.Lock()
	i.now = flow{v.Get("nonce"), v.Get("code_challenge"), v.Get("redirect_uri")}
	i.mu.Unlock()
	return v
}

func (i *issuer) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[path]
}

func noSecret(t *testing.T, text string, more ...string) {
	t.Helper()
	for _, s := range append(more, theCode, accessToken, clientSecret, url.QueryEscape(clientSecret)) {
		if strings.Contains(text, s) {
			t.Errorf("the error holds a secret: %s", text)
		}
	}
}
