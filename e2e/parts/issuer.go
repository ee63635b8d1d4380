package parts

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Issuer is a running OpenID provider with the users alice, of the groups dev
// and ops, and bob, of dev only.
type Issuer struct {
	// URL is the issuer as in its tokens.
	URL string
	// ClientID and ClientSecret are of the client that IssuerConfig describes.
	ClientID, ClientSecret string
	// Process is the provider itself, to stop and restart.
	*Process
	logins map[string]string // what a user types as the name
}

// IssuerConfig describes an issuer. Most tests set RedirectURIs only.
type IssuerConfig struct {
	// Port is where it listens; a free one if zero.
	Port int
	// RedirectURIs, PostLogoutRedirectURIs and BackChannelLogoutURI are of the
	// client akprox. Dex knows the first only.
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
	BackChannelLogoutURI   string
	// Clients are further clients.
	Clients []OAuthClient
	// TokenTTL is the lifetime of access and ID tokens, RefreshTTL that of
	// refresh tokens; 10 minutes and a day if zero.
	TokenTTL, RefreshTTL time.Duration

	// The rest is for OIDCProvider only.

	// IDTokenWithoutClaims leaves name, email and groups out of the ID token,
	// so that they have to be asked for at userinfo.
	IDTokenWithoutClaims bool
	// JWTAudience, a URI, makes the access tokens of the client_credentials
	// grant JWTs for that audience, and those of people who sign in with it as
	// the parameter resource.
	JWTAudience string
	// FixedRefreshTokens keeps a refresh token valid when it is used.
	FixedRefreshTokens bool
	// Features is laid over the features that scripts/parts/oidc-provider
	// switches on, by the names of oidc-provider's own configuration.
	Features map[string]any
}

// OAuthClient is a client of an issuer.
type OAuthClient struct {
	ID string
	// Secret is empty for a public client.
	Secret       string
	RedirectURIs []string
	// GrantTypes are for OIDCProvider; authorization_code and refresh_token
	// if there are none.
	GrantTypes []string
}

const (
	keysFile     = "keys.json"
	clientID     = "akprox"
	clientSecret = "akprox-secret-of-the-tests-0123456789" // #nosec G101 -- for tests only
	userPassword = "password"                              // #nosec G101 -- for tests only
)

// users are the claims of the people that every issuer knows.
var users = map[string]map[string]any{
	"alice": {
		"name": "Alice Example", "preferred_username": "alice",
		"email": "alice@example.test", "email_verified": true,
		"groups": []string{"dev", "ops"},
	},
	"bob": {
		"name": "Bob Example", "preferred_username": "bob",
		"email": "bob@example.test", "email_verified": true,
		"groups": []string{"dev"},
	},
}

func (c IssuerConfig) withDefaults(t testing.TB) IssuerConfig {
	if c.Port == 0 {
		c.Port = Port(t)
	}
	if c.TokenTTL == 0 {
		c.TokenTTL = 10 * time.Minute
	}
	if c.RefreshTTL == 0 {
		c.RefreshTTL = 24 * time.Hour
	}
	return c
}

// Dex starts Dex. It keeps nothing over a restart, rotates refresh tokens and
// has neither revocation nor logout.
func Dex(t testing.TB, config IssuerConfig) *Issuer {
	t.Helper()
	Need(t)
	config = config.withDefaults(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/dex", config.Port)
	hash, err := bcrypt.GenerateFromPassword([]byte(userPassword), 10) // Dex takes no less
	if err != nil {
		t.Fatal(err)
	}
	clients := []map[string]any{{
		"id": clientID, "secret": clientSecret, "name": clientID,
		"redirectURIs": config.RedirectURIs,
	}}
	for _, c := range config.Clients {
		clients = append(clients, map[string]any{
			"id": c.ID, "secret": c.Secret, "name": c.ID, "public": c.Secret == "",
			"redirectURIs": c.RedirectURIs,
		})
	}
	logins := map[string]string{}
	var passwords []map[string]any
	for name, claims := range users {
		logins[name] = claims["email"].(string)
		passwords = append(passwords, map[string]any{
			"userID": "id-of-" + name, "hash": string(hash),
			"email": claims["email"], "emailVerified": true,
			"username": name, "name": claims["name"],
			"preferredUsername": name, "groups": claims["groups"],
		})
	}
	doc, err := json.Marshal(map[string]any{ // JSON is YAML
		"issuer":           url,
		"storage":          map[string]any{"type": "memory"},
		"web":              map[string]any{"http": fmt.Sprintf("127.0.0.1:%d", config.Port)},
		"enablePasswordDB": true,
		"staticPasswords":  passwords,
		"staticClients":    clients,
		"oauth2":           map[string]any{"skipApprovalScreen": true, "passwordConnector": "local"},
		"expiry": map[string]any{
			"idTokens": config.TokenTTL.String(),
			"refreshTokens": map[string]any{
				"reuseInterval": "0s", "absoluteLifetime": config.RefreshTTL.String(),
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Issuer{
		URL: url, ClientID: clientID, ClientSecret: clientSecret, logins: logins,
		Process: Start(t, Cmd{
			Name:     "dex",
			Path:     Path(t, "dex"),
			Args:     []string{"serve", write(t, t.TempDir(), "dex.yaml", string(doc))},
			Port:     config.Port,
			ReadyURL: url + "/healthz",
		}),
	}
}

// OIDCProvider starts oidc-provider, with everything that its server script
// lists. Sessions, tokens and signing keys last over a restart, except that
// RotateKeys replaces the keys. Besides alice and bob anybody else may sign
// in, with no claims but sub.
func OIDCProvider(t testing.TB, config IssuerConfig) *Issuer {
	t.Helper()
	Need(t)
	config = config.withDefaults(t)
	url := fmt.Sprintf("http://127.0.0.1:%d", config.Port)
	akprox := OAuthClient{
		ID: clientID, Secret: clientSecret, RedirectURIs: config.RedirectURIs,
		GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"},
	}.metadata()
	akprox["post_logout_redirect_uris"] = orEmpty(config.PostLogoutRedirectURIs)
	if config.BackChannelLogoutURI != "" {
		akprox["backchannel_logout_uri"] = config.BackChannelLogoutURI
		akprox["backchannel_logout_session_required"] = true
	}
	clients := []map[string]any{akprox}
	for _, c := range config.Clients {
		clients = append(clients, c.metadata())
	}
	seconds := int(config.TokenTTL.Seconds())
	dir := t.TempDir()
	settings, err := json.Marshal(map[string]any{
		"port":    config.Port,
		"clients": clients,
		"users":   users,
		"ttl": map[string]int{
			"AccessToken": seconds, "IdToken": seconds, "ClientCredentials": seconds,
			"RefreshToken": int(config.RefreshTTL.Seconds()),
		},
		"idTokenWithoutClaims": config.IDTokenWithoutClaims,
		"jwtAudience":          config.JWTAudience,
		"fixedRefreshTokens":   config.FixedRefreshTokens,
		"features":             config.Features,
		"store":                filepath.Join(dir, "store.json"),
		"keys":                 filepath.Join(dir, keysFile),
	})
	if err != nil {
		t.Fatal(err)
	}
	logins := map[string]string{}
	for name := range users {
		logins[name] = name
	}
	return &Issuer{
		URL: url, ClientID: clientID, ClientSecret: clientSecret, logins: logins,
		Process: Start(t, Cmd{
			Name: "oidc-provider",
			Path: Path(t, "node"),
			Args: []string{filepath.Join(root(t), "scripts", "parts", "oidc-provider", "server.mjs")},
			Env: []string{
				"OIDC_PROVIDER_DIR=" + Path(t, "oidc-provider"),
				"OIDC_PROVIDER=" + string(settings),
			},
			Dir:      dir,
			Port:     config.Port,
			ReadyURL: url + "/.well-known/openid-configuration",
			Hangs:    true, // Node has been seen to, on a busy machine
			Timeout:  2 * time.Minute,
		}),
	}
}

// EndsSessions reports whether the issuer has RP-initiated logout.
func (i *Issuer) EndsSessions() bool { return i.cmd.Name != "dex" }

// metadata is the client as oidc-provider takes it.
func (c OAuthClient) metadata() map[string]any {
	m := map[string]any{
		"client_id":      c.ID,
		"redirect_uris":  orEmpty(c.RedirectURIs),
		"grant_types":    c.GrantTypes,
		"response_types": []string{},
	}
	if len(c.GrantTypes) == 0 {
		m["grant_types"] = []string{"authorization_code", "refresh_token"}
	}
	if len(c.RedirectURIs) > 0 {
		m["response_types"] = []string{"code"}
	}
	if c.Secret == "" {
		m["token_endpoint_auth_method"] = "none"
	} else {
		m["client_secret"] = c.Secret
	}
	return m
}

// orEmpty makes a missing list an empty one, which JSON tells apart.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// RotateKeys restarts an oidc-provider with new signing keys in place of the
// old ones. Dex has new keys after every Restart.
func (i *Issuer) RotateKeys() {
	i.t.Helper()
	if err := os.Remove(filepath.Join(i.cmd.Dir, keysFile)); err != nil {
		i.t.Fatal(err)
	}
	i.Restart()
}

// Regroup restarts an oidc-provider in which user has these groups.
func (i *Issuer) Regroup(user string, groups ...string) {
	i.t.Helper()
	const name = "OIDC_PROVIDER="
	settings := map[string]any{}
	for _, v := range i.cmd.Env { // the last of a name counts
		if text, ok := strings.CutPrefix(v, name); ok {
			if err := json.Unmarshal([]byte(text), &settings); err != nil {
				i.t.Fatal(err)
			}
		}
	}
	settings["users"].(map[string]any)[user].(map[string]any)["groups"] = groups
	text, err := json.Marshal(settings)
	if err != nil {
		i.t.Fatal(err)
	}
	i.Restart(name + string(text))
}
