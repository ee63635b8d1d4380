package token_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

func TestKeysWrongKidsAskTheIssuerOnceIn30s(t *testing.T) {
	i := newIssuer(t)
	var c clock
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
	flood := func() {
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				bearer := sign(t, object{"alg": "ES256", "kid": rand.Text()}, i.claims(nil), keys().ec)
				id, err := present(j, bearer)
				if got := verdict(t, id, err); got != invalidToken {
					t.Errorf("got %s (%v)", got, err)
				}
			})
		}
		all.Wait()
	}
	flood()
	if n := i.count("/keys"); n != 1 {
		t.Errorf("1000 random kids: %d questions, want 1", n)
	}
	c.move(31 * time.Second)
	flood()
	if n := i.count("/keys"); n != 2 {
		t.Errorf("1000 random kids 31 s later: %d questions, want 2", n)
	}
}

func TestKeysRotatedNewKidIsAcceptedAndTheOldOneRefused(t *testing.T) {
	i := newIssuer(t)
	var c clock
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
	old := i.mint(t, nil)
	if _, err := present(j, old); err != nil {
		t.Fatal(err)
	}
	i.publishes(public("new", &keys().otherEC.PublicKey))
	rotated := sign(t, object{"alg": "ES256", "kid": "new"}, i.claims(nil), keys().otherEC)
	id, err := present(j, rotated)
	if got := verdict(t, id, err); got != invalidToken {
		t.Errorf("at once: %s, want a refusal: the issuer was asked less than 30 s ago", got)
	}
	c.move(31 * time.Second)
	if _, err := present(j, rotated); err != nil {
		t.Errorf("31 s later: %v", err)
	}
	id, err = present(j, old)
	if got := verdict(t, id, err); got != invalidToken {
		t.Errorf("the old key, whose token was remembered: %s, want a refusal", got)
	}
}

func TestKeysRemovedFromTheSetStopsVerifyingAtTheNextRefresh(t *testing.T) {
	i := newIssuer(t)
	i.control = "public, max-age=60" // below the least, which is 5 min
	var c clock
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
	bearer := i.mint(t, object{"exp": time.Now().Add(24 * time.Hour).Unix()})
	if _, err := present(j, bearer); err != nil {
		t.Fatal(err)
	}
	i.publishes(public("rsa", &keys().rsa.PublicKey))
	c.move(4 * time.Minute)
	if _, err := present(j, bearer); err != nil || i.count("/keys") != 1 {
		t.Errorf("within 5 minutes: %v, %d questions", err, i.count("/keys"))
	}
	c.move(time.Hour) // nobody came for an hour: the answer waits for the keys
	id, err := present(j, bearer)
	if got := verdict(t, id, err); got != invalidToken || i.count("/keys") != 2 {
		t.Errorf("an hour later: %s (%v), %d questions", got, err, i.count("/keys"))
	}
}

func TestKeysAreRefreshedBehindTheRequests(t *testing.T) {
	i := newIssuer(t)
	i.control = "max-age=600"
	var c clock
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now, o.Timeout = c.now, time.Minute })
	bearer := i.mint(t, nil)
	if _, err := present(j, bearer); err != nil {
		t.Fatal(err)
	}
	first, _ := present(j, bearer)
	i.says("/keys", hang(t))
	c.move(10*time.Minute + time.Second)
	began := time.Now()
	again, err := present(j, i.mint(t, object{"exp": c.now().Add(time.Hour).Unix()}))
	if err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("while the refresh hangs: %v after %s", err, time.Since(began))
	}
	if again == first {
		t.Error("two tokens, one identity")
	}
	eventually(t, func() bool { return i.count("/keys") == 2 }, "no refresh was begun")
}

func TestKeysCacheControl(t *testing.T) {
	for header, life := range map[string]time.Duration{
		"": time.Hour, "no-store": 5 * time.Minute, "no-cache, max-age=9000": 5 * time.Minute, "max-age=1": 5 * time.Minute,
		"public, Max-Age=7200": 2 * time.Hour, "max-age=99999999": 24 * time.Hour, "max-age=-5": time.Hour,
		`max-age="600"`: 10 * time.Minute, "max-age=junk, private": time.Hour,
	} {
		t.Run(header, func(t *testing.T) {
			i := newIssuer(t)
			i.control = header
			var c clock
			j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
			ask := func() {
				if _, err := present(j, i.mint(t, object{"exp": c.now().Add(time.Hour).Unix()})); err != nil {
					t.Error(err)
				}
			}
			ask()
			c.move(life - 5*time.Second)
			ask()
			if n := i.count("/keys"); n != 1 {
				t.Errorf("before its time: %d questions", n)
			}
			c.move(10 * time.Second)
			ask()
			eventually(t, func() bool { return i.count("/keys") == 2 }, "not asked again in time")
		})
	}
}

func eventually(t *testing.T, ok func() bool, complaint string) {
	t.Helper()
	for range 500 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error(complaint)
}

func TestKeysTheLastGoodSetServesWhileTheIssuerIsDown(t *testing.T) {
	lies := map[string]http.HandlerFunc{
		"it fails": answers(500, ""), "it lies": answers(200, "<html>"), "its set is empty": answers(200, `{"keys":[]}`),
		"it redirects": answers(302, "", "Location", "/elsewhere"), "it floods": flood,
		"it forgets": answers(404, ""), "it is overloaded": answers(429, ""),
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			var c clock
			j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
			fresh := func() string { return i.mint(t, object{"exp": c.now().Add(time.Hour).Unix()}) }
			if _, err := present(j, fresh()); err != nil || j.Ready() != nil {
				t.Fatal(err, j.Ready())
			}
			i.says("/keys", lie)
			c.move(2 * time.Hour)
			if _, err := present(j, fresh()); err != nil {
				t.Errorf("2 h later: %v", err)
			}
			if j.Ready() == nil {
				t.Error("it is said to be ready")
			}
			unknown := sign(t, object{"alg": "ES256", "kid": "unknown"}, i.claims(object{"exp": c.now().Add(time.Hour).Unix()}), keys().ec)
			id, err := present(j, unknown)
			if got := verdict(t, id, err); got != unavailable {
				t.Errorf("a key that nobody can ask about: %s (%v)", got, err)
			}
			c.move(48 * time.Hour)
			id, err = present(j, fresh())
			if got := verdict(t, id, err); got != unavailable {
				t.Errorf("two days later: %s (%v), want unavailable", got, err)
			}
			i.says("/keys", nil)
			c.move(31 * time.Second)
			if _, err := present(j, fresh()); err != nil || j.Ready() != nil {
				t.Errorf("when it is back: %v, %v", err, j.Ready())
			}
		})
	}
}

// flood answers without end.
func flood(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

func TestKeysNobodyCouldBeAskedYet(t *testing.T) {
	t.Parallel() // one row waits
	tests := map[string]struct {
		path string
		lie  func(*issuer) http.HandlerFunc
		want string
	}{
		"discovery fails":      {discovery, func(*issuer) http.HandlerFunc { return answers(503, "") }, "503"},
		"discovery is no JSON": {discovery, func(*issuer) http.HandlerFunc { return answers(200, "<html>") }, "no JSON"},
		"discovery floods":     {discovery, func(*issuer) http.HandlerFunc { return flood }, "larger"},
		"discovery redirects":  {discovery, func(*issuer) http.HandlerFunc { return answers(301, "", "Location", "/keys") }, "redirects are not followed"},
		"discovery is of another issuer": {discovery, func(i *issuer) http.HandlerFunc {
			return answers(200, `{"issuer":"https://other.example","jwks_uri":"`+i.URL+`/keys"}`)
		}, "other.example"},
		"discovery differs by a slash": {discovery, func(i *issuer) http.HandlerFunc {
			return answers(200, `{"issuer":"`+i.URL+`/","jwks_uri":"`+i.URL+`/keys"}`)
		}, "exactly"},
		"discovery tells no keys": {discovery, func(i *issuer) http.HandlerFunc { return answers(200, `{"issuer":"`+i.URL+`"}`) }, "jwks_uri"},
		"discovery tells a file": {discovery, func(i *issuer) http.HandlerFunc {
			return answers(200, `{"issuer":"`+i.URL+`","jwks_uri":"file:///etc/passwd"}`)
		}, "jwks_uri"},
		"keys hang": {"/keys", nil, "no answer in time"},
		"keys are secret ones": {"/keys", func(*issuer) http.HandlerFunc {
			return answers(200, `{"keys":[{"kty":"oct","kid":"ec","k":"c2VjcmV0"}]}`)
		}, "no key for"},
		"keys are for encryption": {"/keys", func(*issuer) http.HandlerFunc {
			return jwksOf(jose.JSONWebKey{Key: &keys().ec.PublicKey, KeyID: "ec", Use: "enc"})
		}, "no key for"},
		"keys are for another algorithm": {"/keys", func(*issuer) http.HandlerFunc {
			return jwksOf(jose.JSONWebKey{Key: &keys().ec.PublicKey, KeyID: "ec", Algorithm: "ES512"})
		}, "no key for"},
		"keys are private": {"/keys", func(*issuer) http.HandlerFunc { return jwksOf(jose.JSONWebKey{Key: keys().ec, KeyID: "ec"}) }, "no key for"},
		"keys are weak":    {"/keys", func(*issuer) http.HandlerFunc { return jwksOf(public("ec", &keys().weakRSA.PublicKey)) }, "no key for"},
		"keys may not verify": {"/keys", func(*issuer) http.HandlerFunc {
			return answers(200, strings.Replace(ecJWK("ec"), `"kty"`, `"key_ops":["deriveKey"],"kty"`, 1))
		}, "no key for"},
		"keys are on no curve": {"/keys", func(*issuer) http.HandlerFunc {
			return answers(200, `{"keys":[{"kty":"EC","crv":"P-256","kid":"ec","x":"AAAA","y":"AAAA"}]}`)
		}, "no key for"},
		"keys are something else entirely": {"/keys", func(*issuer) http.HandlerFunc { return answers(200, `[1,2,3]`) }, "no JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			lie, timeout := hang(t), 5*time.Second
			if test.lie != nil {
				lie, timeout = test.lie(i), 20*time.Second
			}
			i.says(test.path, lie)
			var c clock
			j := i.jwt(t, func(o *token.JWTOptions) { o.Now, o.Timeout = c.now, timeout })
			began := time.Now()
			id, err := present(j, i.mint(t, nil))
			if got := verdict(t, id, err); got != unavailable || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s (%v), want unavailable with %q", got, err, test.want)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			// What needs no keys is answered all the same.
			id, err = present(j, i.mint(t, object{"iss": "https://other.example"}))
			if got := verdict(t, id, err); got != unclaimed {
				t.Errorf("another issuer's token: %s (%v)", got, err)
			}
			id, err = present(j, i.mint(t, object{"exp": 1}))
			if got := verdict(t, id, err); got != invalidToken {
				t.Errorf("an expired token: %s (%v)", got, err)
			}
			i.says(test.path, nil)
			c.move(1100 * time.Millisecond)
			if _, err := present(j, i.mint(t, nil)); err != nil {
				t.Errorf("when it is mended: %v", err)
			}
		})
	}
}

const discovery = "/.well-known/openid-configuration"

func jwksOf(all ...jose.JSONWebKey) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, jose.JSONWebKeySet{Keys: all}) }
}

// ecJWK writes the EC key's set by hand.
func ecJWK(kid string) string {
	point, err := keys().ec.PublicKey.Bytes()
	if err != nil {
		return err.Error()
	}
	text := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":%q,"x":%q,"y":%q}]}`, kid, text(point[1:33]), text(point[33:]))
}

func TestKeysThatCannotBeReadDoNotHideTheOthers(t *testing.T) {
	i := newIssuer(t)
	i.says("/keys", answers(200, strings.Replace(ecJWK("ec"), `[{`, `[7,{"kty":"OKP","crv":"X448","x":"AA"},{"kty":"AKP","alg":"ML-DSA-44"},{"kty":"oct","k":"AA","kid":"ec"},{`, 1)))
	if _, err := present(i.jwt(t, nil), i.mint(t, nil)); err != nil {
		t.Error(err)
	}
}

func TestKeysWithoutAKidOneKeyAlone(t *testing.T) {
	i := newIssuer(t)
	var c clock
	i.publishes(jose.JSONWebKey{Key: &keys().ec.PublicKey})
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now = c.now })
	nameless := func(key any) string { return sign(t, object{"alg": "ES256"}, i.claims(nil), key) }
	if _, err := present(j, nameless(keys().ec)); err != nil {
		t.Error(err)
	}
	i.publishes(jose.JSONWebKey{Key: &keys().otherEC.PublicKey})
	c.move(31 * time.Second)
	if _, err := present(j, nameless(keys().otherEC)); err != nil {
		t.Errorf("rotated: %v", err)
	}
}

func TestKeysTwoOfOneKid(t *testing.T) {
	i := newIssuer(t)
	i.publishes(public("k", &keys().otherEC.PublicKey), public("k", &keys().rsa.PublicKey), public("k", &keys().ec.PublicKey))
	if _, err := present(i.jwt(t, nil), sign(t, object{"alg": "ES256", "kid": "k"}, i.claims(nil), keys().ec)); err != nil {
		t.Error(err)
	}
}

func TestKeysByAddressNeedNoDiscovery(t *testing.T) {
	i := newIssuer(t)
	i.says(discovery, answers(500, ""))
	var mu sync.Mutex
	var calls []string
	j := i.jwt(t, func(o *token.JWTOptions) {
		o.Issuer, o.JWKSURL = "urn:our-tokens", i.URL+"/keys"
		o.Observe = func(call string, took time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, fmt.Sprintln(call, took > 0, err))
		}
	})
	if _, err := present(j, i.mint(t, object{"iss": "urn:our-tokens"})); err != nil {
		t.Error(err)
	}
	wantList(t, calls, "jwks true <nil>\n")
}

func TestKeysManyAskAtOnceAndTheFirstLeaves(t *testing.T) {
	i := newIssuer(t)
	release := make(chan struct{})
	i.says("/keys", func(w http.ResponseWriter, r *http.Request) {
		<-release
		i.says("/keys", nil)
		jwksOf(public("ec", &keys().ec.PublicKey))(w, r)
	})
	j := i.jwt(t, nil)
	bearer := i.mint(t, nil)
	leaving, leave := context.WithCancel(context.Background())
	left := make(chan error, 1)
	go func() {
		_, err := j.Identify(leaving, request("Bearer "+bearer))
		left <- err
	}()
	eventually(t, func() bool { return i.count("/keys") == 1 }, "not asked")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := present(j, bearer); err != nil {
				t.Error(err)
			}
		})
	}
	leave()
	if err := <-left; !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	all.Wait()
	if n := i.count("/keys"); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
}
