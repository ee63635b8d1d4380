package e2e_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/akprox/akprox/e2e/parts"
)

// hydraCallback is where Hydra sends a person back; nobody listens there.
const hydraCallback = "http://web.example.test/callback"

// g11Hydra: the tokens of another issuer, which has scopes of any name and
// says more of a person in ext.
func g11Hydra(t *testing.T, g *gateway, edge string) {
	g.hydraMu.Lock()
	defer g.hydraMu.Unlock()
	c := g.at(t, edge, hydraHost)
	alice, bob := g.hydraToken(t, "alice", "orders:read", "orders:write"), g.hydraToken(t, "bob", "reorders:readonly")
	h := c.want(http.StatusOK, "/orders/1", bearer(alice)).echo(t).Header
	if h.Get("X-User-Id") != "alice" || h.Get("X-User-Scope") != "orders:read orders:write" || h.Get("X-User-Email") != "" || h["Authorization"] != nil {
		t.Errorf("of a program the program was told %v", h)
	}
	c.want(http.StatusOK, "/x", bearer(bob))
	r := c.want(http.StatusForbidden, "/orders/1", bearer(bob))
	if want := `Bearer realm="hydra-` + edge + `", error="insufficient_scope", scope="orders:read"`; r.header.Get("Www-Authenticate") != want {
		t.Errorf("without the scope: %q", r.header["Www-Authenticate"])
	}
	c.want(http.StatusUnauthorized, "/x", bearer(g.opaqueToken(t, "alice"))) // Hydra does not know it
	c.want(http.StatusUnauthorized, "/x", bearer(alice+"x"))

	access, refresh, id := signInAtHydra(t, g.hydra, "carol", map[string]any{"email": "carol@example.test", "name": "carol", "team": "null"})
	h = c.want(http.StatusOK, "/orders/1", bearer(access, "X-User-Team", "forged", "X-User-Email", "forged@example.test")).echo(t).Header
	if h.Get("X-User-Id") != "carol" || h.Get("X-User-Email") != "carol@example.test" || h.Get("X-User-Team") != "null" {
		t.Errorf("of a person the program was told %v", h)
	}
	access, _, _ = signInAtHydra(t, g.hydra, "dave", map[string]any{"email": nil, "team": "a\r\nX-User-Id: admin"})
	h = c.want(http.StatusOK, "/orders/1", bearer(access)).echo(t).Header
	if h.Get("X-User-Id") != "dave" || h.Get("X-User-Email") != "" || h.Get("X-User-Team") != "" {
		t.Errorf("of odd claims the program was told %v", h)
	}
	c.want(http.StatusUnauthorized, "/x", bearer(refresh)) // active, and no access token
	c.want(http.StatusUnauthorized, "/x", bearer(id))
}

// signInAtHydra signs somebody in, whose access token has the given members
// under ext, and answers the tokens.
func signInAtHydra(t *testing.T, h *parts.OryHydra, user string, ext map[string]any) (access, refresh, id string) {
	t.Helper()
	web := oauth2.Config{
		ClientID: "web", ClientSecret: clientsSecret, RedirectURL: hydraCallback, Scopes: []string{"openid", "offline_access", "orders:read"},
		Endpoint: oauth2.Endpoint{AuthURL: h.URL + "/oauth2/auth", TokenURL: h.URL + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
	browser := parts.Client(t)
	next := func(address string) *url.URL {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		to, err := resp.Location()
		if err != nil {
			t.Fatalf("%s: %s, %v", address, resp.Status, err)
		}
		return to
	}
	accept := func(kind string, at *url.URL, body map[string]any) string {
		t.Helper()
		query := url.Values{kind + "_challenge": {at.Query().Get(kind + "_challenge")}}
		to, _ := h.Ask(t, http.MethodPut, "/oauth2/auth/requests/"+kind+"/accept?"+query.Encode(), body)["redirect_to"].(string)
		return to
	}
	verifier := oauth2.GenerateVerifier()
	at := next(web.AuthCodeURL("the-state-of-the-tests", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "the-nonce")))
	at = next(accept("login", at, map[string]any{"subject": user}))
	at = next(accept("consent", at, map[string]any{"grant_scope": web.Scopes, "session": map[string]any{"access_token": ext}}))
	if !strings.HasPrefix(at.String(), hydraCallback+"?code=") {
		t.Fatalf("came back to %s", at)
	}
	tokens, err := web.Exchange(context.WithValue(t.Context(), oauth2.HTTPClient, browser), at.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	id, _ = tokens.Extra("id_token").(string)
	return tokens.AccessToken, tokens.RefreshToken, id
}
