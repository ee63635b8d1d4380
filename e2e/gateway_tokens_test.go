package e2e_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// g2Question: what the issuer is asked is what RFC 7662 says, with the
// credentials as RFC 6749 2.3.1 writes them, and the real issuer takes it.
func g2Question(t *testing.T, g *gateway) {
	const odd = "a+b/c==" // as far as a token may be odd
	if r := g.asks(t, "brief", "/x", bearer(odd)); r.status != http.StatusUnauthorized {
		t.Errorf("%s: %d", odd, r.status)
	}
	asked, body := g.brief.last.Load(), *g.brief.body.Load()
	form, err := url.ParseQuery(body)
	if err != nil || form.Get("token") != odd || strings.Contains(body, odd) || len(form["token"]) != 1 || form.Has("client_secret") {
		t.Errorf("the issuer was asked %q, %v", body, err)
	}
	wanted := "Basic " + base64.StdEncoding.EncodeToString([]byte("gateway:"+url.QueryEscape(gatewaySecret)))
	if asked.Method != http.MethodPost || asked.URL.RawQuery != "" || asked.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || asked.Header.Get("Authorization") != wanted {
		t.Errorf("the issuer was asked by %s %s with %v", asked.Method, asked.URL, asked.Header)
	}
	for name := range asked.Header {
		if strings.HasPrefix(name, "X-Forwarded-") && name != "X-Forwarded-For" {
			t.Errorf("the client's %s went to the issuer", name)
		}
	}
}

// g3Local: a JWT is nobody else's business, good or bad.
func g3Local(t *testing.T, g *gateway) {
	alice := g.jwtToken(t, "alice", "api:read")
	wrong := alice[:len(alice)-8] + "AAAAAAAA"
	calls := g.asked.calledFor(func() {
		for range 20 {
			r := g.asks(t, "direct", "/x", bearer(alice))
			if r.status != http.StatusOK || r.header.Get("X-User-Id") != "alice" || r.header.Get("X-User-Scope") != "api:read" {
				t.Errorf("a JWT: %d %v", r.status, r.header)
			}
			if r := g.asks(t, "direct", "/x", bearer(wrong)); r.status != http.StatusUnauthorized || !strings.Contains(r.header.Get("Www-Authenticate"), `error="invalid_token"`) {
				t.Errorf("with another signature: %d %v", r.status, r.header)
			}
		}
	})
	if calls != 0 {
		t.Errorf("%d introspections of a JWT of our own issuer", calls)
	}
	parts := strings.Split(alice, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`))
	for _, forged := range []string{none + "." + parts[1] + ".", none + "." + parts[1] + "." + parts[2], parts[0] + "." + parts[1] + ".AA"} {
		if r := g.asks(t, "direct", "/x", bearer(forged)); r.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", forged, r.status)
		}
	}
}

// g4Inactive: a revoked token opens for as long as the cache believes it, and
// not longer.
func g4Inactive(t *testing.T, g *gateway) {
	alice := g.opaqueToken(t, "alice")
	if r := g.asks(t, "brief", "/x", bearer(alice)); r.status != http.StatusOK {
		t.Fatalf("before: %d", r.status)
	}
	revoke(t, g.opaque, alice)
	revoked := time.Now()
	eventually(t, "a revoked token goes on for ever", func() bool { return g.asks(t, "brief", "/x", bearer(alice)).status != http.StatusOK })
	r := g.asks(t, "brief", "/x", bearer(alice))
	if r.status != http.StatusUnauthorized || r.header.Get("Www-Authenticate") != `Bearer realm="brief", error="invalid_token"` {
		t.Errorf("revoked: %d %v", r.status, r.header)
	}
	if took := time.Since(revoked); took > 20*time.Second {
		t.Errorf("it was good for %v more, with a cache of 1s", took)
	}
	began := time.Now()
	calls := g.asked.calledFor(func() {
		for range 20 {
			g.asks(t, "direct", "/x", bearer(alice))
		}
	})
	if most := int64(time.Since(began)/(5*time.Second)) + 1; calls < 1 || calls > most { // the negative cache is 5 s
		t.Errorf("%d questions about twenty requests with a bad token", calls)
	}
}

func revoke(t *testing.T, issuer *parts.Issuer, token string) {
	t.Helper()
	form := url.Values{"token": {token}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer.URL+"/token/revocation", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("alice", clientsSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revocation: %s", resp.Status)
	}
}

// g8Cache: through a proxy, as a client would.
func g8Cache(t *testing.T, g *gateway) {
	alice := g.opaqueToken(t, "alice")
	c := g.at(t, caddy.name, apiHost)
	calls := g.asked.calledFor(func() {
		for range 100 {
			c.want(http.StatusOK, "/x", bearer(alice))
		}
	})
	if calls != 1 {
		t.Errorf("%d questions about one token", calls)
	}
	calls = g.brief.calledFor(func() {
		g.asks(t, "brief", "/x", bearer(alice))
		time.Sleep(1100 * time.Millisecond)
		g.asks(t, "brief", "/x", bearer(alice))
	})
	if calls != 2 {
		t.Errorf("%d questions in two lives of the cache", calls)
	}
}

func g8SingleFlight(t *testing.T, g *gateway) {
	shared := client(t)
	calls := g.asked.calledFor(func() {
		alice := g.opaqueToken(t, "alice")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if r := asTraefik(t, shared, g.address, "http://direct.direct.test/x", bearer(alice)); r.status != http.StatusOK {
					t.Errorf("one of fifty: %d", r.status)
				}
			})
		}
		wg.Wait()
	})
	if calls != 1 {
		t.Errorf("%d questions about one new token of fifty requests", calls)
	}
}

// g8Hang: an issuer that never answers costs five seconds, which is its timeout;
// whoever needs no answer does not wait, and nothing of it is remembered.
func g8Hang(t *testing.T, g *gateway) {
	alice, bob := g.opaqueToken(t, "alice"), g.opaqueToken(t, "bob")
	if r := g.asks(t, "slow", "/x", bearer(alice)); r.status != http.StatusOK {
		t.Fatalf("before: %d", r.status)
	}
	g.slow.hang.Store(true)
	shared := client(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			start := time.Now()
			r := asTraefik(t, shared, g.address, "http://slow.direct.test/x", bearer(bob))
			if r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
				t.Errorf("while the issuer hangs: %d %v", r.status, r.header)
			}
			if took := time.Since(start); took > 15*time.Second { // whoever comes late waits for the next answer
				t.Errorf("an issuer that hangs took %v, its timeout is 5s", took)
			}
		})
	}
	for name, known := range map[string]http.Header{"a cached token": bearer(alice), "a key": bearer("gateway-test-key-of-ci")} {
		if r := asTraefik(t, shared, g.address, "http://slow.direct.test/x", known); r.status != http.StatusOK {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	wg.Wait()
	g.slow.hang.Store(false)
	if r := g.asks(t, "slow", "/x", bearer(bob)); r.status != http.StatusOK {
		t.Errorf("afterwards: %d", r.status)
	}
}

// g14Proxy: akprox itself is the gateway.
func g14Proxy(t *testing.T, g *gateway) {
	alice := g.opaqueToken(t, "alice", "profile")
	origin := "http://proxied.example.test:" + strings.TrimPrefix(g.address, "127.0.0.1:")
	p := &person{client(t), t, nil}
	body := make([]byte, 1<<20)
	_, _ = rand.Read(body)
	sum := sha256.Sum256(body)
	const uri = "/x?y=1&z=%2F;b&empty=&=&y=2&%C3%A9=+"
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
		e := p.send(method, origin+uri, bearer(alice, "X-User-Id", "admin", "Content-Type", "application/octet-stream", "X-Kept", "kept"), body).echo(t)
		if e.Method != method || e.RequestURI != uri || e.BodySHA256 != hex.EncodeToString(sum[:]) || e.BodyLength != int64(len(body)) {
			t.Errorf("%s: arrived as %s %s, %d bytes", method, e.Method, e.RequestURI, e.BodyLength)
		}
		if h := e.Header; h["Authorization"] != nil || !slices.Equal(h["X-User-Id"], []string{"alice"}) || h.Get("X-Kept") != "kept" || h.Get("X-User-Scope") != "profile" {
			t.Errorf("%s: the program was told %v", method, h)
		}
		if r := p.send(method, origin+uri, program, body); r.status != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", method, r.status)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, origin+uri, io.MultiReader(bytes.NewReader(body))) // of a length that nobody tells
	if err != nil {
		t.Fatal(err)
	}
	req.Header = bearer(alice)
	resp, err := p.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var e parts.Echoed
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.BodySHA256 != hex.EncodeToString(sum[:]) || e.RequestURI != uri {
		t.Errorf("in chunks: %s, %+v, %v", resp.Status, e, err)
	}
}

// g10SecondInstance: another akprox with the same document needs nothing of
// the first. Each asks the issuer for itself: a cache that instances share
// would need a store that they share.
func g10SecondInstance(t *testing.T, g *gateway) {
	port := parts.Port(t)
	address := fmt.Sprintf("127.0.0.1:%d", port)
	second := parts.Akprox(t, g.document(t, address), port, "")
	t.Cleanup(func() { faultless(t, second) })
	alice := g.opaqueToken(t, "alice")
	calls := g.asked.calledFor(func() {
		for range 10 {
			for _, at := range []string{g.address, address} {
				if r := asTraefik(t, client(t), at, "http://direct.direct.test/x", bearer(alice)); r.status != http.StatusOK || r.header.Get("X-User-Id") != "alice" {
					t.Errorf("%d %v", r.status, r.header)
				}
			}
		}
	})
	if calls > 2 {
		t.Errorf("%d questions about one token of two instances", calls)
	}
}

// g3Keys: a thousand tokens with key ids that nobody knows cause no thousand
// questions, new keys are found nevertheless, and then the old ones are dead.
func g3Keys(t *testing.T, g *gateway) {
	old := g.jwtToken(t, "alice")
	if r := g.asks(t, "direct", "/x", bearer(old)); r.status != http.StatusOK {
		t.Fatalf("before: %d", r.status)
	}
	shared := client(t)
	start := time.Now()
	split := strings.Split(old, ".")
	calls := g.keys.calledFor(func() {
		for i := range 1000 {
			header := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":"RS256","typ":"at+jwt","kid":"made-up-%d-%d"}`, i, mathrand.Uint64()))
			if r := asTraefik(t, shared, g.address, "http://direct.direct.test/x", bearer(header+"."+split[1]+"."+split[2])); r.status != http.StatusUnauthorized {
				t.Fatalf("a made-up key id: %d", r.status)
			}
		}
	})
	if most := int64(time.Since(start)/(30*time.Second)) + 1; calls > most {
		t.Errorf("%d questions for the keys within %v", calls, time.Since(start))
	}
	g.jwt.RotateKeys()
	alice := g.jwtToken(t, "alice")
	deadline := time.Now().Add(100 * time.Second)
	for asTraefik(t, shared, g.address, "http://direct.direct.test/x", bearer(alice)).status != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("a new key is not accepted")
		}
		time.Sleep(200 * time.Millisecond)
	}
	if r := g.asks(t, "direct", "/x", bearer(old)); r.status != http.StatusUnauthorized {
		t.Errorf("a token of the old keys: %d", r.status)
	}
}

// g8Down: the issuers are gone. What is known goes on, until it has to be
// asked again; what is new gets 503, through each proxy.
func g8Down(t *testing.T, g *gateway) {
	known, alice, local, fresh := g.opaqueToken(t, "alice"), g.opaqueToken(t, "alice"), g.jwtToken(t, "alice"), g.jwtToken(t, "bob")
	g.asks(t, "direct", "/x", bearer(known))
	g.asks(t, "direct", "/x", bearer(local))
	g.asks(t, "brief", "/x", bearer(known))
	g.opaque.Stop()
	g.jwt.Stop()
	time.Sleep(1100 * time.Millisecond) // brief's cache
	for _, f := range edges {
		c := g.at(t, f.name, apiHost)
		c.want(http.StatusOK, "/x", bearer(known))
		c.want(http.StatusOK, "/x", bearer(local))
		c.want(http.StatusOK, "/x", bearer(fresh))
		c.want(http.StatusOK, "/x", bearer("gateway-test-key-of-ci"))
		c.want(http.StatusUnauthorized, "/x", program)
		r := c.want(http.StatusServiceUnavailable, "/x", bearer(alice))
		if after := r.header.Get("Retry-After"); after == "" || after == "0" {
			t.Errorf("%s: Retry-After %q", f.name, after)
		}
		c.want(http.StatusOK, "/health", bearer(alice))
	}
	if r := g.asks(t, "brief", "/x", bearer(known)); r.status != http.StatusServiceUnavailable {
		t.Errorf("when the cached life has ended: %d", r.status)
	}
	g.opaque.Restart()
	for _, f := range edges {
		g.at(t, f.name, apiHost).want(http.StatusOK, "/x", bearer(alice))
	}
	if r := g.asks(t, "brief", "/x", bearer(known)); r.status != http.StatusOK {
		t.Errorf("when the issuer is back: %d", r.status)
	}
}
