package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

type object = map[string]any

// keyring is the private keys that the issuers of one test run sign with:
// making RSA keys for every test would take longer than the tests.
type keyring struct {
	rsa, weakRSA       *rsa.PrivateKey
	ec, otherEC, ec384 *ecdsa.PrivateKey
	ed                 ed25519.PrivateKey
}

var keys = sync.OnceValue(func() keyring {
	newRSA := func(bits int) *rsa.PrivateKey { k, _ := rsa.GenerateKey(rand.Reader, bits); return k }
	newEC := func(c elliptic.Curve) *ecdsa.PrivateKey { k, _ := ecdsa.GenerateKey(c, rand.Reader); return k }
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	return keyring{newRSA(2048), newRSA(1024), newEC(elliptic.P256()), newEC(elliptic.P256()), newEC(elliptic.P384()), ed}
})

// clock is a clock that a test moves.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// issuer is a small OAuth issuer over real HTTP. It is honest until a test
// sets one of its fields, each of which is a way to lie.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	jwks    []jose.JSONWebKey
	control string                      // Cache-Control of the keys
	instead map[string]http.HandlerFunc // answers a path in another way
	tokens  map[string]object           // what introspection says; others are inactive
	seen    []*http.Request             // introspection requests, their forms parsed
	calls   map[string]int
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := &issuer{instead: map[string]http.HandlerFunc{}, tokens: map[string]object{}, calls: map[string]int{}}
	i.jwks = []jose.JSONWebKey{public("rsa", &keys().rsa.PublicKey), public("ec", &keys().ec.PublicKey), public("ed", keys().ed.Public())}
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func public(kid string, key crypto.PublicKey) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig"}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.calls[r.URL.Path]++
	instead := i.instead[r.URL.Path]
	i.mu.Unlock()
	if instead != nil {
		instead(w, r)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		reply(w, object{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	case "/keys":
		if i.control != "" {
			w.Header().Set("Cache-Control", i.control)
		}
		reply(w, object{"keys": i.jwks})
	case "/introspect":
		_ = r.ParseForm()
		i.seen = append(i.seen, r)
		answer := object{"active": false}
		if told, ok := i.tokens[r.PostForm.Get("token")]; ok {
			answer = object{"active": true}
			maps.Copy(answer, told)
		}
		reply(w, answer)
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// says makes a path answer in another way from now on; nil makes it honest.
func (i *issuer) says(path string, h http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.instead[path] = h
}

func (i *issuer) publishes(jwks ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.jwks = jwks
}

func (i *issuer) knows(bearer string, told object) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens[bearer] = told
}

func (i *issuer) revokes(bearer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.tokens, bearer)
}

func (i *issuer) count(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls[path]
}

func (i *issuer) question(t *testing.T) *http.Request {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.seen) == 0 {
		t.Fatal("the issuer was not asked")
	}
	return i.seen[len(i.seen)-1]
}

// hang answers nothing until the asker or the test gives up.
func hang(t testing.TB) http.HandlerFunc {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then net/http notices that the asker left
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
}

func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for n := 0; n < len(headers); n += 2 {
			w.Header().Set(headers[n], headers[n+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// claims are those of a good access token, with changes laid over; a nil
// deletes.
func (i *issuer) claims(changes object) object {
	c := object{
		"iss": i.URL, "sub": "alice", "aud": "api", "exp": time.Now().Add(10 * time.Minute).Unix(), "iat": time.Now().Unix(),
		"scope": "orders:read orders:write", "client_id": "web",
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// mint signs a good access token with changed claims.
func (i *issuer) mint(t testing.TB, changes object) string {
	t.Helper()
	return sign(t, object{"alg": "ES256", "kid": "ec", "typ": "at+jwt"}, i.claims(changes), keys().ec)
}

// sign makes a JWS by hand, so that a test can write what no library would.
// header and claims are objects, or texts that are taken as they are.
func sign(t testing.TB, header, claims any, key any) string {
	t.Helper()
	text := func(v any) string {
		if s, ok := v.(string); ok {
			return base64.RawURLEncoding.EncodeToString([]byte(s))
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	input := text(header) + "." + text(claims)
	sum := sha256.Sum256([]byte(input))
	var signature []byte
	var err error
	switch k := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, k, sum[:])
		err = e
		if e == nil {
			signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
	case ed25519.PrivateKey:
		signature = ed25519.Sign(k, []byte(input))
	case []byte:
		signature = k
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (i *issuer) jwt(t testing.TB, change func(*token.JWTOptions)) *token.JWT {
	t.Helper()
	o := token.JWTOptions{Name: "tokens", Issuer: i.URL, Audience: []string{"api"}, Leeway: token.DefaultLeeway}
	if change != nil {
		change(&o)
	}
	j, err := token.NewJWT(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func (i *issuer) introspection(t testing.TB, change func(*token.IntrospectionOptions)) *token.Introspection {
	t.Helper()
	o := token.IntrospectionOptions{
		Name: "opaque", URL: i.URL + "/introspect", ClientID: "gateway", ClientSecret: "s",
		Cache: token.DefaultCache, NegativeCache: token.DefaultNegativeCache, Timeout: 10 * time.Second,
	}
	if change != nil {
		change(&o)
	}
	k, err := token.NewIntrospection(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(authorization ...string) *outpost.Request {
	h := http.Header{}
	for _, a := range authorization {
		h.Add("Authorization", a)
	}
	return &outpost.Request{Method: "GET", Header: h}
}

// present shows a bearer token to a kind.
func present(k outpost.Credential, bearer string) (*outpost.Identity, error) {
	return k.Identify(context.Background(), request("Bearer "+bearer))
}

// verdict says which of the answers of a credential kind it was, and
// fails the test when an answer is two at once.
func verdict(t testing.TB, id *outpost.Identity, err error) string {
	t.Helper()
	if (id == nil) == (err == nil) {
		t.Errorf("answered %v and %v", id, err)
	}
	var refused *token.Error
	switch {
	case err == nil:
		return good
	case errors.Is(err, outpost.ErrUnclaimed):
		return unclaimed
	case errors.Is(err, outpost.ErrNoCredential):
		return nothing
	case errors.Is(err, outpost.ErrUnavailable):
		return unavailable
	case errors.As(err, &refused):
		return refused.Code
	}
	return "an error of no kind: " + err.Error()
}

const (
	good           = "good"
	nothing        = "nothing presented"
	unclaimed      = "presented, and not mine"
	unavailable    = "unavailable"
	invalidToken   = token.InvalidToken
	invalidRequest = token.InvalidRequest
)

// basicParts answers the two parts of a Basic header, decoded as RFC 6749,
// section 2.3.1, says.
func basicParts(t *testing.T, r *http.Request) (id, secret string) {
	t.Helper()
	user, password, ok := r.BasicAuth()
	if !ok || strings.ContainsAny(user+password, " :/@") {
		t.Fatalf("Authorization: %q", r.Header.Get("Authorization"))
	}
	id, err1 := url.QueryUnescape(user)
	secret, err2 := url.QueryUnescape(password)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return id, secret
}
