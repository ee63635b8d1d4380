package token_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/providers/token"
)

func TestG3AGoodTokenIsAcceptedWithoutIntrospection(t *testing.T) {
	i := newIssuer(t)
	j := i.jwt(t, nil)
	for name, bearer := range map[string]string{
		"RS256": sign(t, object{"alg": "RS256", "kid": "rsa"}, i.claims(nil), keys().rsa),
		"ES256": sign(t, object{"alg": "ES256", "kid": "ec"}, i.claims(nil), keys().ec),
		"EdDSA": sign(t, object{"alg": "EdDSA", "kid": "ed"}, i.claims(nil), keys().ed),
	} {
		id, err := present(j, bearer)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if id.Subject != "alice" || id.Username != "alice" || id.Provider != "tokens" || !reflect.DeepEqual(id.Scopes, []string{"orders:read", "orders:write"}) {
			t.Errorf("%s: %+v", name, id)
		}
		if id.Claims["exp"] != nil || id.Claims["client_id"] != "web" {
			t.Errorf("%s: claims %v", name, id.Claims)
		}
		again, err := present(j, bearer)
		if err != nil || again != id {
			t.Errorf("%s: the same token again: another identity, %v", name, err)
		}
	}
	if n := i.count("/introspect"); n != 0 {
		t.Errorf("introspection was asked %d times", n)
	}
	if n := i.count("/keys"); n != 1 {
		t.Errorf("the keys were asked for %d times", n)
	}
	if s := j.Stats(); s.Hits != 3 || s.Misses != 3 || s.Entries != 3 {
		t.Errorf("stats: %+v", s)
	}
}

// hs256 signs with a secret.
func hs256(t *testing.T, header, claims any, secret []byte) string {
	unsigned, _, _ := cutLast(sign(t, header, claims, []byte("x")))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(unsigned))
	return unsigned + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func cutLast(s string) (before, after string, ok bool) {
	n := strings.LastIndexByte(s, '.')
	return s[:n], s[n+1:], n >= 0
}

// TestG3EveryBadTokenIsRefused has the vectors of the reference, section 3.2,
// and more of their kind.
func TestG3EveryBadTokenIsRefused(t *testing.T) {
	i := newIssuer(t)
	now := time.Now()
	der, err := x509.MarshalPKIXPublicKey(&keys().rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pub := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	attacker := keys().otherEC
	own, err := json.Marshal(public("ec", &attacker.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	es := func(header object) string { // a good signature under a changed header
		h := object{"alg": "ES256", "kid": "ec", "typ": "at+jwt"}
		for k, v := range header {
			if h[k] = v; v == nil {
				delete(h, k)
			}
		}
		return sign(t, h, i.claims(nil), keys().ec)
	}
	claim := func(name string, v any) string { return i.mint(t, object{name: v}) }
	raw := func(claims string) string {
		return sign(t, object{"alg": "ES256", "kid": "ec"}, strings.ReplaceAll(claims, "ISS", i.URL), keys().ec)
	}
	const rest = `"aud":"api","exp":9999999999`
	valid := i.mint(t, nil)
	head, signature, _ := cutLast(valid)
	tests := []struct{ name, bearer, want, reason string }{
		{"alg none", sign(t, object{"alg": "none", "typ": "at+jwt"}, i.claims(nil), []byte{}), invalidToken, "base64url"},
		{"alg none with a signature", es(object{"alg": "none"}), invalidToken, "alg"},
		{"alg NONE", es(object{"alg": "nOnE"}), invalidToken, "alg"},
		{"no alg", es(object{"alg": nil}), invalidToken, "alg"},
		{"alg is a list", es(object{"alg": []string{"ES256"}}), invalidToken, "alg"},
		{"HS256 signed with the RSA public key PEM", hs256(t, object{"alg": "HS256", "kid": "rsa"}, i.claims(nil), pub), invalidToken, "alg"},
		{"HS256 signed with the RSA public key DER", hs256(t, object{"alg": "HS256", "kid": "rsa"}, i.claims(nil), der), invalidToken, "alg"},
		{"HS256 named RS256", hs256(t, object{"alg": "RS256", "kid": "rsa"}, i.claims(nil), pub), invalidToken, "signature"},
		{"an algorithm that is not allowed here", es(object{"alg": "ES384"}), invalidToken, "alg"},
		{"alg of another key type", es(object{"alg": "RS256"}), invalidToken, "signature"},
		{"the kid of another key", es(object{"kid": "rsa"}), invalidToken, "signature"},
		{"another key under a known kid", sign(t, object{"alg": "ES256", "kid": "ec"}, i.claims(nil), attacker), invalidToken, "signature"},
		{"wrong kid", es(object{"kid": "other"}), invalidToken, "no such key"},
		{"kid with a path", es(object{"kid": "../../etc/passwd"}), invalidToken, "no such key"},
		{"kid is a number", es(object{"kid": 1}), invalidToken, "kid"},
		{"no kid, and three keys", es(object{"kid": nil}), invalidToken, "no such key"},
		{"jwk: brings its own key", sign(t, object{"alg": "ES256", "jwk": json.RawMessage(own)}, i.claims(nil), attacker), invalidToken, "no such key"},
		{"jwk: brings its own key under a known kid", sign(t, object{"alg": "ES256", "kid": "ec", "jwk": json.RawMessage(own)}, i.claims(nil), attacker), invalidToken, "signature"},
		{"jku: names its own keys", sign(t, object{"alg": "ES256", "kid": "ec", "jku": "http://127.0.0.1:1/"}, i.claims(nil), attacker), invalidToken, "signature"},
		{"x5u: names its own certificate", sign(t, object{"alg": "ES256", "kid": "ec", "x5u": "http://127.0.0.1:1/"}, i.claims(nil), attacker), invalidToken, "signature"},
		{"crit unknown", es(object{"crit": []string{"exp"}, "exp": 1}), invalidToken, "crit"},
		{"crit empty", es(object{"crit": []string{}}), invalidToken, "crit"},
		{"b64 false", es(object{"b64": false}), invalidToken, "b64"},
		{"typ of a logout token", es(object{"typ": "logout+jwt"}), invalidToken, "typ"},
		{"typ of a DPoP proof", es(object{"typ": "dpop+jwt"}), invalidToken, "typ"},
		{"typ ID", es(object{"typ": "ID"}), invalidToken, "typ"},
		{"typ empty", es(object{"typ": ""}), invalidToken, "typ"},
		{"typ is a number", es(object{"typ": 1}), invalidToken, "typ"},
		{"header with alg twice", sign(t, `{"alg":"ES256","kid":"ec","alg":"ES256"}`, i.claims(nil), keys().ec), invalidToken, "twice"},
		{"header that is a list", sign(t, `["ES256"]`, i.claims(nil), keys().ec), invalidToken, "object"},

		{"ID token: nonce", claim("nonce", "n"), invalidToken, "ID token"},
		{"ID token: at_hash", claim("at_hash", "h"), invalidToken, "ID token"},
		{"ID token: c_hash", claim("c_hash", "h"), invalidToken, "ID token"},
		{"ID token: token_use id", claim("token_use", "id"), invalidToken, "token_use"},
		{"ID token: the claim typ", claim("typ", "ID"), invalidToken, "typ"},
		{"refresh token: token_use", claim("token_use", "refresh"), invalidToken, "token_use"},
		{"refresh token: the claim typ", claim("typ", "Refresh"), invalidToken, "typ"},
		{"logout token without a typ: events", claim("events", object{"http://schemas.openid.net/event/backchannel-logout": object{}}), invalidToken, "events"},
		{"bound to a key: cnf", claim("cnf", object{"jkt": "x"}), invalidToken, "cnf"},

		{"another iss is another kind's", claim("iss", "https://other.example"), unclaimed, ""},
		{"iss with trailing slash", claim("iss", i.URL+"/"), unclaimed, ""},
		{"iss in other letters", claim("iss", strings.ToUpper(i.URL)), unclaimed, ""},
		{"another iss and a bad signature", sign(t, object{"alg": "none"}, object{"iss": "https://other.example"}, []byte("x")), unclaimed, ""},
		{"no iss", claim("iss", nil), invalidToken, "iss"},
		{"iss is a list", claim("iss", []string{i.URL}), invalidToken, "iss"},
		{"aud of another", claim("aud", "web"), invalidToken, "aud"},
		{"aud with a longer name: api2", claim("aud", "api2"), invalidToken, "aud"},
		{"aud with a shorter name: ap", claim("aud", "ap"), invalidToken, "aud"},
		{"aud in other letters", claim("aud", "API"), invalidToken, "aud"},
		{"no aud", claim("aud", nil), invalidToken, "aud"},
		{"aud with a number in it", claim("aud", []any{"api", 1}), invalidToken, "aud"},
		{"aud an object", claim("aud", object{"api": 1}), invalidToken, "aud"},

		{"exp −31 s", claim("exp", now.Add(-31*time.Second).Unix()), invalidToken, "expired"},
		{"no exp", claim("exp", nil), invalidToken, "no exp"},
		{"exp null", raw(`{"iss":"ISS","sub":"a","aud":"api","exp":null}`), invalidToken, "no exp"},
		{"exp a text", claim("exp", "9999999999"), invalidToken, "exp"},
		{"exp in milliseconds", claim("exp", now.Add(time.Hour).UnixMilli()), invalidToken, "exp"},
		{"exp negative", claim("exp", -1), invalidToken, "exp"},
		{"exp huge", raw(`{"iss":"ISS","sub":"a","aud":"api","exp":1e300}`), invalidToken, "exp"},
		{"exp beyond every number", raw(`{"iss":"ISS","sub":"a","aud":"api","exp":1e999}`), invalidToken, ""},
		{"nbf +31 s", claim("nbf", now.Add(32*time.Second).Unix()), invalidToken, "nbf"},
		{"nbf a text", claim("nbf", "now"), invalidToken, "nbf"},
		{"iat of tomorrow", claim("iat", now.Add(24*time.Hour).Unix()), invalidToken, "future"},

		{"no sub", claim("sub", nil), invalidToken, "sub"},
		{"sub empty", claim("sub", ""), invalidToken, "sub"},
		{"sub a number", claim("sub", 7), invalidToken, "sub"},
		{"sub with a header in it", claim("sub", "a\r\nX-Admin: 1"), invalidToken, "subject"},
		{"sub with a NUL", claim("sub", "a\x00"), invalidToken, "subject"},
		{"sub with a blank at its end", claim("sub", "a "), invalidToken, "subject"},
		{"sub of 2 KiB", claim("sub", strings.Repeat("a", 2<<10)), invalidToken, "subject"},
		{"username with a header in it", claim("preferred_username", "a\r\nX-Admin: 1"), invalidToken, "username"},
		{"duplicated sub", raw(`{"iss":"ISS","sub":"a","sub":"admin",` + rest + `}`), invalidToken, "twice"},
		{"duplicated iss, the other first", raw(`{"iss":"https://other.example","iss":"ISS","sub":"a",` + rest + `}`), invalidToken, "twice"},
		{"duplicated claim further in", raw(`{"iss":"ISS","sub":"a","x":{"y":1,"y":2},` + rest + `}`), invalidToken, "twice"},
		{"claims in other letters do not count", raw(`{"iss":"ISS","SUB":"a",` + rest + `}`), invalidToken, "sub"},
		{"something behind the claims", raw(`{"iss":"ISS","sub":"a",` + rest + `} {}`), invalidToken, "JSON"},
		{"claims that are not UTF-8", raw("{\"iss\":\"ISS\",\"sub\":\"a\xff\"," + rest + `}`), invalidToken, "UTF-8"},
		{"claims that are a list", raw(`["ISS"]`), invalidToken, "object"},
		{"claims nested 5,000 deep", raw(strings.Repeat("[", 5000)), invalidToken, "JSON"},

		{"no signature", head + ".", invalidToken, "base64url"},
		{"half a signature", valid[:len(valid)-20], invalidToken, ""},
		{"a signature of zeros", head + "." + strings.Repeat("A", len(signature)), invalidToken, "signature"},
		{"padded", valid + "=", invalidToken, "base64url"},
		{"another spelling of the signature", head + "." + respelt(signature), invalidToken, "base64url"},
		{"the standard alphabet", strings.ReplaceAll(valid, "-", "+") + "/+", invalidToken, "base64url"},
		{"three parts of nothing", "..", invalidToken, "base64url"},
		{"three parts of garbage", "a.b.c", invalidToken, "base64url"},
		{"five parts: encrypted", "a.b.c.d.e", unclaimed, ""},
	}
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now = func() time.Time { return now } })
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the second time from whatever the first left behind
				id, err := present(j, test.bearer)
				if got := verdict(t, id, err); got != test.want || err == nil || !strings.Contains(err.Error(), test.reason) {
					t.Errorf("got %s (%v), want %s with %q", got, err, test.want, test.reason)
				}
				if err != nil && strings.ContainsAny(err.Error(), "\r\n\x00") {
					t.Errorf("the log could be forged: %q", err)
				}
			}
		})
	}
	if n := i.count("/keys"); n != 1 {
		t.Errorf("the keys were asked for %d times", n)
	}
	if _, err := present(j, valid); err != nil {
		t.Errorf("after all that, a good token: %v", err)
	}
}

// respelt answers another base64url text of the same bytes: it changes bits
// that a lax decoder drops.
func respelt(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last^1])
}

func TestG3EveryGoodTokenIsAccepted(t *testing.T) {
	i := newIssuer(t)
	now := time.Now()
	with := func(header object) string {
		header["alg"], header["kid"] = "ES256", "ec"
		return sign(t, header, i.claims(nil), keys().ec)
	}
	strict := func(o *token.JWTOptions) { o.StrictTyp = true }
	tests := []struct {
		name, bearer string
		options      func(*token.JWTOptions)
		want         string
	}{
		{"exp −29 s", i.mint(t, object{"exp": now.Add(-28 * time.Second).Unix()}), nil, good},
		{"nbf +29 s", i.mint(t, object{"nbf": now.Add(28 * time.Second).Unix()}), nil, good},
		{"without leeway exp −2 s", i.mint(t, object{"exp": now.Add(-2 * time.Second).Unix()}), func(o *token.JWTOptions) { o.Leeway = 0 }, invalidToken},
		{"exp with a fraction", i.mint(t, object{"exp": float64(now.UnixMilli())/1000 + 60}), nil, good},
		{"iat a little ahead", i.mint(t, object{"iat": now.Add(time.Minute).Unix()}), nil, good},
		{"aud array", i.mint(t, object{"aud": []string{"web", "api"}}), nil, good},
		{"audience any and no aud", i.mint(t, object{"aud": nil}), func(o *token.JWTOptions) { o.Audience, o.AnyAudience = nil, true }, good},
		{"token_use access", i.mint(t, object{"token_use": "access"}), nil, good},
		{"the claim typ Bearer", i.mint(t, object{"typ": "Bearer"}), nil, good},
		{"typ JWT", with(object{"typ": "JWT"}), nil, good},
		{"typ absent", with(object{}), nil, good},
		{"typ AT+JWT", with(object{"typ": "AT+JWT"}), nil, good},
		{"jku, x5u are not used", with(object{"jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"}), nil, good},
		{"strict: at+jwt", with(object{"typ": "at+jwt"}), strict, good},
		{"strict: application/at+jwt", with(object{"typ": "application/at+JWT"}), strict, good},
		{"strict: typ JWT in strict mode", with(object{"typ": "JWT"}), strict, invalidToken},
		{"strict: typ absent", with(object{}), strict, invalidToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := present(i.jwt(t, func(o *token.JWTOptions) {
				o.Now = func() time.Time { return now }
				if test.options != nil {
					test.options(o)
				}
			}), test.bearer)
			if got := verdict(t, id, err); got != test.want {
				t.Errorf("got %s (%v), want %s", got, err, test.want)
			}
		})
	}
}

func TestOtherAlgorithmsByName(t *testing.T) {
	i := newIssuer(t)
	i.publishes(public("rsa", &keys().rsa.PublicKey), public("384", &keys().ec384.PublicKey), public("ec", &keys().ec.PublicKey))
	for alg, key := range map[jose.SignatureAlgorithm]any{
		jose.PS256: jose.JSONWebKey{Key: keys().rsa, KeyID: "rsa"}, jose.RS512: jose.JSONWebKey{Key: keys().rsa, KeyID: "rsa"},
		jose.ES384: jose.JSONWebKey{Key: keys().ec384, KeyID: "384"},
	} {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := json.Marshal(i.claims(nil))
		jws, err := signer.Sign(b)
		if err != nil {
			t.Fatal(err)
		}
		bearer, _ := jws.CompactSerialize()
		id, err := present(i.jwt(t, nil), bearer)
		if got := verdict(t, id, err); got != invalidToken {
			t.Errorf("%s by default: %s", alg, got)
		}
		id, err = present(i.jwt(t, func(o *token.JWTOptions) { o.Algorithms = []string{string(alg)} }), bearer)
		if got := verdict(t, id, err); got != good {
			t.Errorf("%s by name: %s (%v)", alg, got, err)
		}
	}
	// A P-256 key must not verify what says ES384 (RFC 7518, section 3.4).
	sum := sha512.Sum384([]byte("x"))
	lie := sign(t, object{"alg": "ES384", "kid": "ec"}, i.claims(nil), append(sum[:], sum[:]...))
	id, err := present(i.jwt(t, func(o *token.JWTOptions) { o.Algorithms = []string{"ES256", "ES384"} }), lie)
	if got := verdict(t, id, err); got != invalidToken {
		t.Errorf("ES384 with a P-256 key: %s (%v)", got, err)
	}
}

func TestG6G11WhatATokenTells(t *testing.T) {
	i := newIssuer(t)
	tests := []struct {
		name   string
		claims object
		want   func(*testing.T, *identity)
	}{
		{"scope and scp are one list", object{"scope": "a b a", "scp": []string{"b", "c d"}}, func(t *testing.T, id *identity) { wantList(t, id.Scopes, "a", "b", "c", "d") }},
		{"scp a text", object{"scope": nil, "scp": "x y"}, func(t *testing.T, id *identity) { wantList(t, id.Scopes, "x", "y") }},
		{"a scope that is none is left out", object{"scope": "a\tb \"c\" d"}, func(t *testing.T, id *identity) { wantList(t, id.Scopes, "d") }},
		{"scopes keep their letters", object{"scope": "Orders:Read"}, func(t *testing.T, id *identity) { wantList(t, id.Scopes, "Orders:Read") }},
		{"no scope", object{"scope": nil}, func(t *testing.T, id *identity) { wantList(t, id.Scopes) }},
		{"groups", object{"groups": []any{"a", "b", 7, nil, "bad\n"}}, func(t *testing.T, id *identity) { wantList(t, id.Groups, "a", "b", "7") }},
		{"one group", object{"groups": "a b"}, func(t *testing.T, id *identity) { wantList(t, id.Groups, "a b") }},
		{"name, e-mail", object{"name": "Alice", "email": "a@example.com"}, func(t *testing.T, id *identity) { wantList(t, []string{id.Name, id.Email}, "Alice", "a@example.com") }},
		{"an e-mail address nobody verified", object{"email": "a@example.com", "email_verified": false}, func(t *testing.T, id *identity) {
			wantList(t, []string{id.Email}, "")
			if id.Claims["email"] != nil {
				t.Error("it is still among the claims")
			}
		}},
		{"two @ (CVE-2026-40574)", object{"email": "a@evil.com@company.com"}, func(t *testing.T, id *identity) { wantList(t, []string{id.Email}, "") }},
		{"a name that is not clean", object{"name": "A\x00"}, func(t *testing.T, id *identity) { wantList(t, []string{id.Name}, "") }},
		{"null is nothing", object{"email": json.RawMessage("null"), "preferred_username": json.RawMessage("null")}, func(t *testing.T, id *identity) {
			wantList(t, []string{id.Email, id.Username}, "", "alice")
			if _, there := id.Claims["email"]; there {
				t.Error("a null is among the claims")
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := present(i.jwt(t, nil), i.mint(t, test.claims))
			if err != nil {
				t.Fatal(err)
			}
			test.want(t, id)
		})
	}
}

func TestJWTOptionsAreChecked(t *testing.T) {
	sound := token.JWTOptions{Issuer: "https://id.example.com", Audience: []string{"api"}}
	if _, err := token.NewJWT(sound); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*token.JWTOptions){
		"issuer: it is empty":      func(o *token.JWTOptions) { o.Issuer = "" },
		"issuer: \"x\"":            func(o *token.JWTOptions) { o.Issuer = "x" },
		"issuer: it holds a user":  func(o *token.JWTOptions) { o.Issuer = "https://a:b@id.example.com" },
		"jwks_url: \"ftp":          func(o *token.JWTOptions) { o.JWKSURL = "ftp://x/" },
		"issuer: it is empty; wri": func(o *token.JWTOptions) { o.Issuer, o.JWKSURL = "", "https://x/keys" },
		"audience: it is empty":    func(o *token.JWTOptions) { o.Audience = nil },
		"audience: any and":        func(o *token.JWTOptions) { o.AnyAudience = true },
		"audience: one of":         func(o *token.JWTOptions) { o.Audience = []string{"api", ""} },
		`algorithms: "HS256"`:      func(o *token.JWTOptions) { o.Algorithms = []string{"RS256", "HS256"} },
		`algorithms: "none"`:       func(o *token.JWTOptions) { o.Algorithms = []string{"none"} },
		"leeway: 1m1s":             func(o *token.JWTOptions) { o.Leeway = 61 * time.Second },
		"leeway: -1s":              func(o *token.JWTOptions) { o.Leeway = -time.Second },
		"timeout: 2m0s":            func(o *token.JWTOptions) { o.Timeout = 2 * time.Minute },
		"max_entries: -1":          func(o *token.JWTOptions) { o.MaxEntries = -1 },
	} {
		o := sound
		change(&o)
		if _, err := token.NewJWT(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// The cache never makes a token live longer.
func TestG8ARememberedTokenEndsWithItsExp(t *testing.T) {
	i := newIssuer(t)
	var c clock
	j := i.jwt(t, func(o *token.JWTOptions) { o.Now, o.Leeway = c.now, 0 })
	bearer := i.mint(t, object{"exp": time.Now().Add(60 * time.Second).Unix()})
	if _, err := present(j, bearer); err != nil {
		t.Fatal(err)
	}
	c.move(50 * time.Second)
	if _, err := present(j, bearer); err != nil {
		t.Error("10 s before its exp:", err)
	}
	c.move(11 * time.Second)
	id, err := present(j, bearer)
	if got := verdict(t, id, err); got != invalidToken {
		t.Errorf("after its exp: %s (%v)", got, err)
	}
	if s := j.Stats(); s.Entries != 0 || s.Hits != 1 {
		t.Errorf("stats: %+v", s)
	}
}
