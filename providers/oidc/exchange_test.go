package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

func TestAnHonestIssuerSignsSomebodyIn(t *testing.T) {
	i := newIssuer(t)
	before := time.Now()
	grant, err := i.signIn(t, i.provider(t))
	if err != nil {
		t.Fatal(err)
	}
	id := grant.Identity
	if id.Subject != "u1" || id.Username != "alice" || id.Email != "alice@example.com" || id.Name != "Alice" || id.Provider != "company" {
		t.Errorf("got %+v", id)
	}
	if want := []string{"admin", "staff"}; !reflect.DeepEqual(id.Groups, want) {
		t.Errorf("groups: got %q, want %q", id.Groups, want)
	}
	if want := []string{"openid", "groups"}; !reflect.DeepEqual(id.Scopes, want) {
		t.Errorf("scopes: got %q, want %q", id.Scopes, want)
	}
	if strings.Count(id.IDToken, ".") != 2 || grant.SID != "s1" || grant.Refresh != "r1" {
		t.Errorf("got %+v", grant)
	}
	if d := grant.Expires.Sub(before); d < 9*time.Minute || d > 11*time.Minute {
		t.Errorf("expires in %s, want about 10m", d)
	}
	if id.Claims["nonce"] != nil || id.Claims["exp"] != nil || id.Claims["name"] != "Alice" {
		t.Errorf("claims: got %v", id.Claims)
	}
	if n := i.count("/userinfo"); n != 0 {
		t.Errorf("userinfo was asked %d times, although the ID token holds every mapped claim", n)
	}
}

func TestEveryLieOfAnIssuerIsRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(name string, v any) func(*issuer) {
		return func(i *issuer) { i.claims = func(c object) { c[name] = v } }
	}
	lacks := func(name string) func(*issuer) {
		return func(i *issuer) { i.claims = func(c object) { delete(c, name) } }
	}
	tests := []struct {
		name        string
		lie         func(*issuer)
		want        string // in the error
		unavailable bool
	}{
		{"the ID token is of another issuer", claim("iss", "https://evil.example"), "different provider", false},
		{"the issuer differs by a slash", func(i *issuer) { i.claims = func(c object) { c["iss"] = i.URL + "/" } }, "different provider", false},
		{"the ID token is for another client", claim("aud", "other"), "audience", false},
		{"the ID token is for several and does not say who asked", claim("aud", []string{clientID, "other"}), "azp", false},
		{"the ID token was made for another client", claim("azp", "other"), "azp", false},
		{"azp is no text", claim("azp", []string{clientID}), "azp", false},
		{"the ID token expired 31 s ago", claim("exp", time.Now().Add(-31*time.Second).Unix()), "expired", false},
		{"the ID token never expires", lacks("exp"), "expired", false},
		{"the ID token is of tomorrow", claim("iat", time.Now().Add(24*time.Hour).Unix()), "future", false},
		{"the ID token is not good yet", claim("nbf", time.Now().Add(time.Hour).Unix()), "nbf", false},
		{"the nonce is missing", lacks("nonce"), "nonce", false},
		{"the nonce is of another sign-in", claim("nonce", "another"), "nonce", false},
		{"a claim called Nonce stands in for nonce", func(i *issuer) {
			i.claims = func(c object) { c["Nonce"] = c["nonce"]; delete(c, "nonce") }
		}, "could be taken for", false},
		{"a claim called SUB hides sub", claim("SUB", "admin"), "could be taken for", false},
		{"sub is missing", lacks("sub"), "sub", false},
		{"sub is a number", claim("sub", 7), "bad ID token", false},
		{"sub has a control character", claim("sub", "u1\n"), "subject", false},
		{"the username ends in a blank", claim("preferred_username", "alice "), "username", false},
		{"at_hash is of another access token", claim("at_hash", "AAAA"), "at_hash", false},
		{"alg is none", func(i *issuer) { i.sign = unsigned }, "bad ID token", false},
		{"HS256 with the public key as secret", func(i *issuer) {
			i.sign = func(c object) string {
				der, _ := x509.MarshalPKIXPublicKey(i.key.Public())
				return signed(jose.HS256, der, c)
			}
		}, "bad ID token", false},
		{"HS256 with the client's secret", func(i *issuer) {
			i.sign = func(c object) string { return signed(jose.HS256, []byte(strings.Repeat(clientSecret, 2)), c) }
		}, "bad ID token", false},
		{"another key signs", func(i *issuer) {
			i.sign = func(c object) string { return signed(jose.ES256, other, c) }
		}, "signature does not verify", false},
		{"the ID token is garbage", func(i *issuer) { i.sign = func(object) string { return "garbage" } }, "bad ID token", false},
		{"there is no ID token", func(i *issuer) { i.answer = func(a object) { delete(a, "id_token") } }, "no ID token", false},
		{"the ID token is a number", func(i *issuer) { i.answer = func(a object) { a["id_token"] = 7 } }, "no ID token", false},
		{"there is no access token", func(i *issuer) { i.answer = func(a object) { delete(a, "access_token") } }, "RFC 6749", false},
		{"the token answer is garbage", at("/token", 200, "application/json", "{"+theCode), "RFC 6749", false},
		{"the token answer is a broken form", at("/token", 200, "text/plain", "%zz"+accessToken), "RFC 6749", false},
		{"the token answer is huge", at("/token", 200, "application/json", strings.Repeat("x", 2<<20)), "larger than", true},
		{"the token endpoint fails", at("/token", 503, "text/html", theCode), "503", true},
		{"the token endpoint is busy", at("/token", 429, "", ""), "429", true},
		{"the token endpoint hangs", hang("/token"), "no answer in time", true},
		{"the token endpoint redirects", redirect("/token", "/elsewhere"), "redirect", true},
		{"the client is not known", at("/token", 401, "application/json", `{"error":"invalid_client"}`), "client_id or client_secret", true},
		{"the client is not known, without a word", at("/token", 401, "", ""), "client_id or client_secret", true},
		{"the code is refused", at("/token", 400, "application/json", `{"error":"invalid_grant","error_description":"no `+theCode+`\u0000"}`), "invalid_grant", false},
		{"the code is refused with 200", at("/token", 200, "application/json", `{"error":"invalid_grant"}`), "invalid_grant", false},
		{"the code is refused in free words", at("/token", 400, "application/json", `{"error":"<script>"}`), "does not know", false},
		{"the keys cannot be had", at("/keys", 500, "text/html", "oops"), "500", true},
		{"the keys hang", hang("/keys"), "no answer in time", true},
		{"the keys are garbage", at("/keys", 200, "application/json", "]"), "not JSON", true},
		{"the keys are no keys", at("/keys", 200, "application/json", `{"keys":[{"kty":"EC"}]}`), "signature does not verify", false},
		{"the keys redirect", redirect("/keys", "https://evil.example/keys"), "redirects are not followed", true},
		{"userinfo is about somebody else", also(lacks("groups"), func(i *issuer) { i.userinfo = object{"sub": "admin", "groups": []string{"admin"}} }), "somebody else", false},
		{"userinfo has no sub", also(lacks("groups"), func(i *issuer) { i.userinfo = object{"groups": []string{"admin"}} }), "somebody else", false},
		{"userinfo is about a list", also(lacks("groups"), at("/userinfo", 200, "application/json", `{"sub":["u1"]}`)), "bad userinfo", false},
		{"userinfo refuses", also(lacks("groups"), at("/userinfo", 403, "", theCode)), "403", false},
		{"userinfo fails", also(lacks("groups"), at("/userinfo", 502, "", "")), "502", true},
		{"userinfo is garbage", also(lacks("groups"), at("/userinfo", 200, "", "<html>")), "not JSON", true},
		{"userinfo is unsigned though it says so", also(lacks("groups"), at("/userinfo", 200, "application/jwt", unsigned(object{"sub": "u1"}))), "bad userinfo", false},
		{"userinfo hangs", also(lacks("groups"), hang("/userinfo")), "no answer in time", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			tt.lie(i)
			grant, err := i.signIn(t, i.provider(t))
			if err == nil || grant != nil {
				t.Fatalf("signed in as %+v", grant)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), i.URL) {
				t.Errorf("got %q, want the issuer and %q in it", err, tt.want)
			}
			if got := errors.Is(err, outpost.ErrUnavailable); got != tt.unavailable {
				t.Errorf("unavailable: got %t, want %t, of %q", got, tt.unavailable, err)
			}
		})
	}
}

func at(path string, status int, media, body string) func(*issuer) {
	return func(i *issuer) {
		i.instead[path] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
}

func hang(path string) func(*issuer) {
	return func(i *issuer) {
		i.hangs = true
		i.instead[path] = func(_ http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm() // only then is the end of the connection seen
			select {
			case <-r.Context().Done():
			case <-time.After(30 * time.Second):
			}
		}
	}
}

func redirect(path, to string) func(*issuer) {
	return func(i *issuer) {
		i.instead[path] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
}

func also(lies ...func(*issuer)) func(*issuer) {
	return func(i *issuer) {
		for _, lie := range lies {
			lie(i)
		}
	}
}

func TestWhatAnIssuerMayDo(t *testing.T) {
	sum := sha256.Sum256([]byte(accessToken))
	tests := []struct {
		name string
		does func(*issuer)
		want func(*outpost.Grant) bool
	}{
		{"expire a token 25 s ago by its own clock", func(i *issuer) {
			i.claims = func(c object) { c["exp"] = time.Now().Add(-25 * time.Second).Unix() }
		}, nil},
		{"name several audiences with azp", func(i *issuer) {
			i.claims = func(c object) { c["aud"], c["azp"] = []string{"other", clientID}, clientID }
		}, nil},
		{"hash the access token", func(i *issuer) {
			i.claims = func(c object) { c["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:16]) }
		}, nil},
		{"tell groups by userinfo alone", func(i *issuer) {
			i.claims = func(c object) { delete(c, "groups") }
		}, func(g *outpost.Grant) bool { return reflect.DeepEqual(g.Identity.Groups, []string{"staff"}) }},
		{"not outvote the ID token by userinfo", func(i *issuer) {
			i.claims = func(c object) { delete(c, "groups") }
			i.userinfo = object{"sub": "u1", "preferred_username": "root"}
		}, func(g *outpost.Grant) bool { return g.Identity.Username == "alice" }},
		{"sign userinfo", func(i *issuer) {
			i.claims = func(c object) { delete(c, "groups") }
			at("/userinfo", 200, "application/jwt", signed(jose.ES256, i.key, object{"sub": "u1", "groups": "one"}))(i)
		}, func(g *outpost.Grant) bool { return reflect.DeepEqual(g.Identity.Groups, []string{"one"}) }},
		{"have no userinfo endpoint", func(i *issuer) {
			i.claims = func(c object) { delete(c, "groups") }
			i.document = func(d object) { delete(d, "userinfo_endpoint") }
		}, func(g *outpost.Grant) bool { return g.Identity.Groups == nil }},
		{"not tell the scopes again", func(i *issuer) {
			i.answer = func(a object) { delete(a, "scope") }
		}, func(g *outpost.Grant) bool {
			return reflect.DeepEqual(g.Identity.Scopes, []string{"openid", "groups"})
		}},
		{"send an ID token that is too long to keep", func(i *issuer) {
			i.claims = func(c object) { c["photo"] = strings.Repeat("x", 40<<10) }
		}, func(g *outpost.Grant) bool { return g.Identity.IDToken == "" && g.Identity.Claims["photo"] == nil }},
		{"not say when the access token expires", func(i *issuer) {
			i.answer = func(a object) { delete(a, "expires_in"); delete(a, "refresh_token") }
		}, func(g *outpost.Grant) bool { return g.Expires.IsZero() && g.Refresh == "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			tt.does(i)
			grant, err := i.signIn(t, i.provider(t))
			if err != nil {
				t.Fatal(err)
			}
			if tt.want != nil && !tt.want(grant) {
				t.Errorf("got %+v", grant.Identity)
			}
		})
	}
}

func TestTheClientAuthenticatesAsTheIssuerAnnounces(t *testing.T) {
	tests := []struct {
		name    string
		methods any
		secret  string
		basic   bool
		form    string // client_secret in the form
	}{
		{"nothing announced means basic", nil, clientSecret, true, ""},
		{"both announced means basic", []string{"client_secret_post", "client_secret_basic"}, clientSecret, true, ""},
		{"only post", []string{"client_secret_post"}, clientSecret, false, clientSecret},
		{"a public client has only its id", []string{"client_secret_basic"}, "", false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer(t)
			i.document = func(d object) { d["token_endpoint_auth_methods_supported"] = tt.methods }
			if _, err := i.signIn(t, i.provider(t, func(o *oidc.Options) { o.ClientSecret = tt.secret })); err != nil {
				t.Fatal(err)
			}
			r := i.seen[0]
			if _, _, basic := r.BasicAuth(); basic != tt.basic || r.PostForm.Get("client_secret") != tt.form {
				t.Errorf("basic %t, form %q", basic, r.PostForm.Get("client_secret"))
			}
			if !tt.basic && r.PostForm.Get("client_id") != clientID {
				t.Errorf("client_id: got %q", r.PostForm.Get("client_id"))
			}
		})
	}
}

func TestARefusalTellsItsCodeAndNoSecret(t *testing.T) {
	i := newIssuer(t)
	at("/token", 400, "application/json", `{"error":"invalid_grant","error_description":"gone: `+theCode+`\n`+strings.Repeat("x", 1000)+`"}`)(i)
	_, err := i.signIn(t, i.provider(t))
	var refusal *oidc.ResponseError
	if !errors.As(err, &refusal) || refusal.Code != "invalid_grant" || refusal.Status != 400 {
		t.Fatalf("got %v", err)
	}
	noSecret(t, refusal.Description)
	if len(refusal.Description) > 210 || strings.Contains(refusal.Description, "\n") {
		t.Errorf("got %q", refusal.Description)
	}
}

func TestASignInThatIsNotBoundIsRefusedBeforeAnyCall(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	for name, spoil := range map[string]func(*outpost.AuthQuery){
		"no redirect URL":  func(q *outpost.AuthQuery) { q.RedirectURL = "" },
		"no state":         func(q *outpost.AuthQuery) { q.State = "" },
		"no nonce":         func(q *outpost.AuthQuery) { q.Nonce = "" },
		"a short verifier": func(q *outpost.AuthQuery) { q.Verifier = "short" },
	} {
		q := query()
		spoil(&q)
		if _, err := p.AuthURL(context.Background(), q); err == nil {
			t.Errorf("AuthURL with %s: no error", name)
		}
		if _, err := p.Exchange(context.Background(), q, theCode); err == nil {
			t.Errorf("Exchange with %s: no error", name)
		}
	}
	if _, err := p.Exchange(context.Background(), query(), ""); err == nil {
		t.Error("Exchange without a code: no error")
	}
	if len(i.calls) != 0 {
		t.Errorf("the issuer was asked: %v", i.calls)
	}
}

func TestAPersonWhoGoesAwayIsNoRefusal(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	q := query()
	u, err := p.AuthURL(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	i.visit(t, u)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Exchange(ctx, q, theCode); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if err := p.Ready(); err != nil {
		t.Errorf("the issuer was blamed: %v", err)
	}
}

func TestAnIssuerMayRollItsKeysOver(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	if _, err := i.signIn(t, p); err != nil {
		t.Fatal(err)
	}
	next, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i.mu.Lock()
	i.key = next
	i.mu.Unlock()
	if _, err := i.signIn(t, p); err != nil {
		t.Error(err)
	}
}

func TestTheOutpostSaysWhoItIsAndIsObserved(t *testing.T) {
	i := newIssuer(t)
	agents := make(chan string, 10)
	real := i.Config.Handler
	i.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents <- r.UserAgent()
		real.ServeHTTP(w, r)
	})
	var calls []string
	p := i.provider(t, func(o *oidc.Options) {
		o.UserAgent = "akprox/1.2"
		o.Observe = func(call string, took time.Duration, err error) {
			if took < 0 || err != nil {
				t.Errorf("%s: %s, %v", call, took, err)
			}
			calls = append(calls, call)
		}
	})
	i.claims = func(c object) { delete(c, "name") }
	if _, err := i.signIn(t, p); err != nil {
		t.Fatal(err)
	}
	if want := []string{"discovery", "token", "jwks", "userinfo"}; !reflect.DeepEqual(calls, want) {
		t.Errorf("got %q, want %q", calls, want)
	}
	for range calls {
		if got := <-agents; got != "akprox/1.2" {
			t.Errorf("user agent: got %q", got)
		}
	}
}
