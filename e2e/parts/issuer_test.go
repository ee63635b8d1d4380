package parts_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/akprox/akprox/e2e/parts"
)

const callback = "http://app.example.test:8080/callback"

type claims struct {
	Subject  string   `json:"sub"`
	Name     string   `json:"name"`
	Username string   `json:"preferred_username"`
	Email    string   `json:"email"`
	Verified bool     `json:"email_verified"`
	Groups   []string `json:"groups"`
}

// signIn does the authorization code flow with PKCE and returns the tokens
// and the verified ID token.
func signIn(t *testing.T, issuer *parts.Issuer, client *http.Client, user string) (*oauth2.Config, *oauth2.Token, *oidc.IDToken) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	provider, err := oidc.NewProvider(ctx, issuer.URL)
	if err != nil {
		t.Fatal(err)
	}
	config := &oauth2.Config{
		ClientID: issuer.ClientID, ClientSecret: issuer.ClientSecret,
		Endpoint: provider.Endpoint(), RedirectURL: callback,
		Scopes: []string{"openid", "profile", "email", "groups", "offline_access"},
	}
	verifier, state := oauth2.GenerateVerifier(), rand.Text()
	back, err := issuer.SignIn(client, config.AuthCodeURL(state,
		oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "consent")), user)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(back, callback+"?") || u.Query().Get("state") != state {
		t.Fatalf("came back to %s", back)
	}
	token, err := config.Exchange(ctx, u.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: issuer.ClientID}).Verify(ctx, raw)
	if err != nil {
		t.Fatal(err)
	}
	return config, token, id
}

func wantUser(t *testing.T, id *oidc.IDToken, name string, groups ...string) {
	t.Helper()
	var c claims
	if err := id.Claims(&c); err != nil {
		t.Fatal(err)
	}
	if c.Username != name || c.Email != name+"@example.test" || !c.Verified || !slices.Equal(c.Groups, groups) {
		t.Errorf("claims of %s: %+v", name, c)
	}
}

func TestDex(t *testing.T) {
	parts.Need(t)
	issuer := parts.Dex(t, parts.IssuerConfig{RedirectURIs: []string{callback}})
	_, token, id := signIn(t, issuer, parts.Client(t), "alice")
	wantUser(t, id, "alice", "dev", "ops")
	if token.RefreshToken == "" {
		t.Error("no refresh token")
	}
	_, _, id = signIn(t, issuer, parts.Client(t), "bob")
	wantUser(t, id, "bob", "dev")
	issuer.Restart()
	signIn(t, issuer, parts.Client(t), "alice")
}

func TestOIDCProvider(t *testing.T) {
	parts.Need(t)
	logout := make(chan string, 1)
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		logout <- r.FormValue("logout_token")
	}))
	defer app.Close()
	const bye = "http://app.example.test:8080/bye"
	issuer := parts.OIDCProvider(t, parts.IssuerConfig{
		RedirectURIs:           []string{callback},
		PostLogoutRedirectURIs: []string{bye},
		BackChannelLogoutURI:   app.URL + "/backchannel",
	})
	client := parts.Client(t)
	config, token, id := signIn(t, issuer, client, "alice")
	wantUser(t, id, "alice", "dev", "ops")
	_, _, other := signIn(t, issuer, parts.Client(t), "bob")
	wantUser(t, other, "bob", "dev")

	// Refresh tokens last over a restart and are replaced when used.
	issuer.Restart()
	fresh, err := config.TokenSource(t.Context(), &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	if err != nil {
		t.Fatal(err)
	}
	if fresh.RefreshToken == token.RefreshToken {
		t.Error("the refresh token was not replaced")
	}

	query := url.Values{
		"id_token_hint":            {token.Extra("id_token").(string)},
		"post_logout_redirect_uri": {bye}, "state": {"s"},
	}
	back, err := issuer.SignOut(client, issuer.URL+"/session/end?"+query.Encode())
	if err != nil || back != bye+"?state=s" {
		t.Errorf("signed out to %q, %v", back, err)
	}
	select {
	case got := <-logout:
		if strings.Count(got, ".") != 2 {
			t.Errorf("logout token %q", got)
		}
	case <-time.After(20 * time.Second):
		t.Error("no back-channel logout")
	}

	issuer.RotateKeys()
	_, _, id = signIn(t, issuer, parts.Client(t), "carol")
	if id.Subject != "carol" {
		t.Errorf("subject %q", id.Subject)
	}
}

func TestOIDCProviderOptions(t *testing.T) {
	parts.Need(t)
	const audience = "https://api.example.test"
	issuer := parts.OIDCProvider(t, parts.IssuerConfig{
		RedirectURIs:         []string{callback},
		IDTokenWithoutClaims: true,
		JWTAudience:          audience,
		TokenTTL:             time.Minute,
		Clients: []parts.OAuthClient{{
			ID: "robot", Secret: "secret-of-the-robot-0123456789abcdef", GrantTypes: []string{"client_credentials"},
		}},
	})
	_, token, id := signIn(t, issuer, parts.Client(t), "alice")
	var c claims
	if err := id.Claims(&c); err != nil || c.Groups != nil || c.Email != "" {
		t.Errorf("ID token has %+v, %v", c, err)
	}
	provider, err := oidc.NewProvider(t.Context(), issuer.URL)
	if err != nil {
		t.Fatal(err)
	}
	info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		t.Fatal(err)
	}
	if err := info.Claims(&c); err != nil || c.Name != "Alice Example" {
		t.Errorf("userinfo has %+v, %v", c, err)
	}
	if active := introspect(t, issuer, provider, token.AccessToken); !active {
		t.Error("introspection says not active")
	}

	robot := clientcredentials.Config{
		ClientID: "robot", ClientSecret: "secret-of-the-robot-0123456789abcdef",
		TokenURL: provider.Endpoint().TokenURL, Scopes: []string{"api:read"},
	}
	machine, err := robot.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(t.Context(), machine.AccessToken)
	if err != nil || parsed.Subject != "robot" {
		t.Errorf("access token %+v, %v", parsed, err)
	}
}

func introspect(t *testing.T, issuer *parts.Issuer, provider *oidc.Provider, token string) bool {
	t.Helper()
	var endpoints struct {
		Introspection string `json:"introspection_endpoint"`
	}
	if err := provider.Claims(&endpoints); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoints.Introspection,
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(issuer.ClientID, issuer.ClientSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Active bool }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return answer.Active
}
