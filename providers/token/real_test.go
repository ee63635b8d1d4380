package token_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

const (
	realAudience = "https://api.example.test"
	realCallback = "http://app.example.test:8080/callback"
)

// form posts to an endpoint of a real issuer as its client.
func form(t *testing.T, issuer *parts.Issuer, path string, values url.Values) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer.URL+path, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(issuer.ClientID), url.QueryEscape(issuer.ClientSecret))
	resp, err := parts.Client(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s", path, resp.Status)
	}
	var answer map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&answer) // revocation answers nothing
	return answer
}

// machine gets an access token by client_credentials.
func machine(t *testing.T, issuer *parts.Issuer, more url.Values) string {
	t.Helper()
	more.Set("grant_type", "client_credentials")
	bearer, _ := form(t, issuer, "/token", more)["access_token"].(string)
	return bearer
}

// person signs alice in and answers her tokens.
func person(t *testing.T, issuer *parts.Issuer, more url.Values) map[string]any {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	query := url.Values{
		"client_id": {issuer.ClientID}, "response_type": {"code"}, "redirect_uri": {realCallback}, "state": {"s"}, "nonce": {"n"},
		"scope": {"openid offline_access email"}, "prompt": {"consent"}, "code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	for name, values := range more {
		query[name] = values
	}
	back, err := issuer.SignIn(parts.Client(t), issuer.URL+"/auth?"+query.Encode(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	redeem := url.Values{"grant_type": {"authorization_code"}, "code": {u.Query().Get("code")}, "redirect_uri": {realCallback}, "code_verifier": {verifier}}
	for name, values := range more {
		redeem[name] = values
	}
	return form(t, issuer, "/token", redeem)
}

func realJWT(t *testing.T, issuer *parts.Issuer, change func(*token.JWTOptions)) *token.JWT {
	t.Helper()
	o := token.JWTOptions{Name: "tokens", Issuer: issuer.URL, Audience: []string{realAudience}, StrictTyp: true, Leeway: token.DefaultLeeway}
	if change != nil {
		change(&o)
	}
	j, err := token.NewJWT(o)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func realIntrospection(t *testing.T, issuer *parts.Issuer, change func(*token.IntrospectionOptions)) *token.Introspection {
	t.Helper()
	o := token.IntrospectionOptions{
		Name: "opaque", URL: issuer.URL + "/token/introspection", ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret,
		Cache: token.DefaultCache, NegativeCache: token.DefaultNegativeCache, Timeout: 5 * time.Second,
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

func TestRealG3JWTsOfOIDCProvider(t *testing.T) {
	parts.Need(t)
	issuer := parts.OIDCProvider(t, parts.IssuerConfig{JWTAudience: realAudience, RedirectURIs: []string{realCallback}})
	var c clock
	j := realJWT(t, issuer, func(o *token.JWTOptions) { o.Now = c.now })
	bearer := machine(t, issuer, url.Values{"scope": {"api:read"}})
	if !token.ThreeParts(bearer) {
		t.Fatalf("%q is no JWT", bearer)
	}
	id, err := present(j, bearer)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != issuer.ClientID || !reflect.DeepEqual(id.Scopes, []string{"api:read"}) {
		t.Errorf("%+v", id)
	}
	tokens := person(t, issuer, url.Values{"resource": {realAudience}, "scope": {"openid offline_access api:read api:write"}})
	id, err = present(j, tokens["access_token"].(string))
	if err != nil || id.Subject != "alice" || !reflect.DeepEqual(id.Scopes, []string{"api:read", "api:write"}) {
		t.Errorf("alice: %+v, %v", id, err)
	}
	lax := func(o *token.JWTOptions) { o.StrictTyp, o.Audience, o.AnyAudience = false, nil, true }
	idToken, _ := tokens["id_token"].(string)
	got, err := present(realJWT(t, issuer, lax), idToken)
	if verdict(t, got, err) != invalidToken || !strings.Contains(err.Error(), "ID token") {
		t.Errorf("her ID token: %v", err)
	}
	got, err = present(realJWT(t, issuer, func(o *token.JWTOptions) { o.Audience = []string{realAudience + "2"} }), bearer)
	if verdict(t, got, err) != invalidToken {
		t.Errorf("for another audience: %v", err)
	}

	// The issuer goes away: its last keys serve. It comes back with others.
	issuer.Stop()
	c.move(2 * time.Hour)
	fresh := realJWT(t, issuer, nil)
	got, err = present(fresh, bearer)
	if verdict(t, got, err) != unavailable {
		t.Errorf("an outpost that never knew the keys: %v", err)
	}
	c.move(-2 * time.Hour)
	if _, err := present(j, bearer); err != nil {
		t.Errorf("while the issuer is down: %v", err)
	}
	issuer.RotateKeys()
	c.move(31 * time.Second)
	if _, err := present(j, machine(t, issuer, url.Values{})); err != nil {
		t.Errorf("signed by a new key: %v", err)
	}
	got, err = present(j, bearer)
	if verdict(t, got, err) != invalidToken {
		t.Errorf("signed by the old key: %v", err)
	}
	bearer = machine(t, issuer, url.Values{})
	eventually(t, func() bool { _, err := present(fresh, bearer); return err == nil }, "no recovery without a restart")
}

func TestRealG2G4IntrospectionAtOIDCProvider(t *testing.T) {
	parts.Need(t)
	issuer := parts.OIDCProvider(t, parts.IssuerConfig{RedirectURIs: []string{realCallback}})
	var c clock
	calls := 0
	k := realIntrospection(t, issuer, func(o *token.IntrospectionOptions) {
		o.Now, o.Observe = c.now, func(string, time.Duration, error) { calls++ }
	})
	bearer := machine(t, issuer, url.Values{})
	if token.ThreeParts(bearer) {
		t.Fatalf("%q is a JWT", bearer)
	}
	id, err := present(k, bearer)
	if err != nil || id.Subject != issuer.ClientID { // there is no sub in that answer
		t.Fatalf("%+v, %v", id, err)
	}
	alice, _ := person(t, issuer, nil)["access_token"].(string)
	id, err = present(k, alice)
	if err != nil || id.Subject != "alice" || !strings.Contains(strings.Join(id.Scopes, " "), "email") {
		t.Fatalf("%+v, %v", id, err)
	}
	for range 20 {
		if again, _ := present(k, alice); again != id {
			t.Fatal("another identity")
		}
	}
	if calls != 2 {
		t.Errorf("%d questions, want 2", calls)
	}
	form(t, issuer, "/token/revocation", url.Values{"token": {alice}})
	c.move(61 * time.Second)
	got, err := present(k, alice)
	if verdict(t, got, err) != invalidToken {
		t.Errorf("revoked a minute ago: %v", err)
	}
	got, err = present(k, "made-up")
	if verdict(t, got, err) != invalidToken {
		t.Errorf("made up: %v", err)
	}
	// oidc-provider answers 400 about a JWT: that is about the token.
	got, err = present(k, sign(t, object{"alg": "ES256"}, object{"iss": "x"}, keys().ec))
	if verdict(t, got, err) != invalidToken {
		t.Errorf("a JWT: %v", err)
	}

	for _, auth := range []string{token.AuthBasic, token.AuthPost} {
		if _, err := present(realIntrospection(t, issuer, func(o *token.IntrospectionOptions) { o.Auth = auth }), bearer); err != nil {
			t.Errorf("%s: %v", auth, err)
		}
	}
	loud := ""
	wrong := realIntrospection(t, issuer, func(o *token.IntrospectionOptions) {
		o.ClientSecret, o.Loud = "wrong", func(msg string) { loud = msg }
	})
	got, err = present(wrong, bearer)
	if verdict(t, got, err) != unavailable || !strings.Contains(loud, "client_secret") {
		t.Errorf("with a wrong secret: %v, loud %q", err, loud)
	}

	bearer = machine(t, issuer, url.Values{})
	if _, err := present(k, bearer); err != nil {
		t.Fatal(err)
	}
	issuer.Stop()
	if _, err := present(k, bearer); err != nil {
		t.Errorf("a known token while the issuer is down: %v", err)
	}
	if _, err := present(k, "new"); !errors.Is(err, outpost.ErrUnavailable) || k.Ready() == nil {
		t.Errorf("an unknown one: %v", err)
	}
	issuer.Restart()
	if _, err := present(k, machine(t, issuer, url.Values{})); err != nil || k.Ready() != nil {
		t.Errorf("when it is back: %v", err)
	}
}
