package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
)

// Bounds of the issuer.
const (
	codeLife  = 60 * time.Second
	tokenLife = 10 * time.Minute
	most      = 1000      // codes, and access tokens, at any time
	maxForm   = 256 << 10 // bytes of a form
)

// issuer is the demo's OpenID issuer (OIDC Core 1.0, code flow alone).
type issuer struct {
	name   string // the issuer's identifier, slash at the end and all
	url    string // the same without that slash: where the endpoints are
	client Client
	users  []User
	signer jose.Signer
	keys   jose.JSONWebKeySet
	codes  *shelf[granted]
	tokens *shelf[User] // access tokens
	pages  *template.Template
	now    func() time.Time
}

// granted is what a code stands for.
type granted struct {
	user User
	ask  question
}

// question is what the browser brought to the authorization endpoint.
type question struct {
	ClientID, RedirectURI, State, Nonce, Challenge, Scope string
}

// NewIssuer makes an OpenID issuer that calls itself issuerURL and serves
// under that URL's path. It signs with an ES256 key made now, keeps
// everything in memory, and lives for the demo alone. The error says what is
// wrong with the URL, the client or the users.
func NewIssuer(issuerURL string, client Client, users []User) (http.Handler, error) {
	u, err := url.Parse(issuerURL)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("demo: %q is no address for an issuer", issuerURL)
	case client.ID == "" || client.Secret == "" || len(client.Redirects) == 0:
		return nil, errors.New("demo: the client needs an id, a secret and a redirect address")
	case len(users) == 0:
		return nil, errors.New("demo: there is nobody to sign in")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("demo: make a signing key: %w", err)
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: rand.Text()[:8], Algorithm: string(jose.ES256), Use: "sig"}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil)
	if err != nil {
		return nil, fmt.Errorf("demo: use the signing key: %w", err)
	}
	i := &issuer{
		name: issuerURL, url: strings.TrimSuffix(issuerURL, "/"), client: client, users: users, signer: signer,
		keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}}, pages: pages(), now: time.Now,
	}
	i.codes = newShelf[granted](codeLife, most, i.now)
	i.tokens = newShelf[User](tokenLife, most, i.now)
	return i.routes(strings.TrimSuffix(u.Path, "/")), nil
}

func (i *issuer) routes(path string) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) {
		method, at, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+path+at, h)
	}
	handle("GET /.well-known/openid-configuration", i.discovery())
	handle("GET /keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, i.keys) })
	handle("GET /authorize", i.authorize)
	handle("POST /authorize", i.signIn)
	handle("POST /token", i.token)
	handle("GET /userinfo", i.userinfo)
	handle("POST /userinfo", i.userinfo)
	handle("GET /end_session", i.endSession)
	handle("POST /end_session", i.endSession)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func (i *issuer) discovery() http.HandlerFunc {
	document := map[string]any{
		"issuer":                                         i.name,
		"authorization_endpoint":                         i.url + "/authorize",
		"token_endpoint":                                 i.url + "/token",
		"userinfo_endpoint":                              i.url + "/userinfo",
		"jwks_uri":                                       i.url + "/keys",
		"end_session_endpoint":                           i.url + "/end_session",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code"},
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{string(jose.ES256)},
		"token_endpoint_auth_methods_supported":          []string{"client_secret_basic", "client_secret_post"},
		"code_challenge_methods_supported":               []string{"S256"},
		"scopes_supported":                               []string{"openid", "profile", "email", "groups"},
		"claims_supported":                               []string{"sub", "preferred_username", "name", "email", "email_verified", "groups"},
		"authorization_response_iss_parameter_supported": true,
	}
	return func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, document) }
}

// authorize shows the sign-in page (OIDC Core 3.1.2).
func (i *issuer) authorize(w http.ResponseWriter, r *http.Request) {
	ask, ok := i.question(w, r)
	if !ok {
		return
	}
	if r.Form.Get("prompt") == "none" {
		i.refuse(w, r, ask, "login_required") // there are no sessions here
		return
	}
	i.signInPage(w, ask, http.StatusOK, "")
}

// signIn takes the page's form and sends the browser back with a code.
func (i *issuer) signIn(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() == nil && !r.PostForm.Has("username") {
		i.authorize(w, r) // a program may ask by POST as well
		return
	}
	ask, ok := i.question(w, r)
	if !ok {
		return
	}
	user, ok := i.user(r.PostForm.Get("username"), r.PostForm.Get("password"))
	if !ok {
		i.signInPage(w, ask, http.StatusUnauthorized, "That is not the password. It stands on this page.")
		return
	}
	code := i.codes.put(granted{user, ask})
	if code == "" {
		i.refuse(w, r, ask, "temporarily_unavailable")
		return
	}
	i.back(w, r, ask, url.Values{"code": {code}, "iss": {i.name}})
}

func (i *issuer) signInPage(w http.ResponseWriter, ask question, status int, problem string) {
	render(w, i.pages, "signin.html", status, map[string]any{
		"Title": "Sign in", "Ask": ask, "Users": i.users, "Action": i.url + "/authorize", "Problem": problem,
	})
}

func (i *issuer) user(name, password string) (User, bool) {
	for _, u := range i.users {
		if u.Username == name {
			return u, same(password, u.Password)
		}
	}
	return User{}, false
}

// question reads and checks what is asked of the authorization endpoint. Who
// asks for another client or another redirect address gets a page, never a
// redirect (RFC 6749, section 4.1.2.1); whatever else is wrong is sent back.
func (i *issuer) question(w http.ResponseWriter, r *http.Request) (question, bool) {
	if err := r.ParseForm(); err != nil {
		i.problem(w, "The form could not be read.")
		return question{}, false
	}
	f := r.Form
	ask := question{
		ClientID: f.Get("client_id"), RedirectURI: f.Get("redirect_uri"), State: f.Get("state"),
		Nonce: f.Get("nonce"), Challenge: f.Get("code_challenge"), Scope: f.Get("scope"),
	}
	switch {
	case ask.ClientID != i.client.ID:
		i.problem(w, "The program that sent you here is not known (client_id).")
	case !i.client.mayReturn(ask.RedirectURI):
		i.problem(w, "The address to go back to is not registered (redirect_uri).")
	case f.Get("response_type") != "code":
		i.refuse(w, r, ask, "unsupported_response_type")
	case f.Get("code_challenge_method") != "S256" || len(ask.Challenge) != 43 || !hasOpenID(ask.Scope):
		i.refuse(w, r, ask, "invalid_request")
	default:
		return ask, true
	}
	return question{}, false
}

func hasOpenID(scope string) bool { return strings.Contains(" "+scope+" ", " openid ") }

func (i *issuer) problem(w http.ResponseWriter, text string) {
	render(w, i.pages, "problem.html", http.StatusBadRequest, map[string]any{"Title": "This did not work", "Problem": text})
}

// refuse sends the browser back without a code, with who we are (RFC 9207).
func (i *issuer) refuse(w http.ResponseWriter, r *http.Request, ask question, code string) {
	i.back(w, r, ask, url.Values{"error": {code}, "iss": {i.name}})
}

// back sends the browser back, or on.
func (i *issuer) back(w http.ResponseWriter, r *http.Request, ask question, say url.Values) {
	u, err := url.Parse(ask.RedirectURI)
	if err != nil {
		i.problem(w, "The address to go back to is no address.")
		return
	}
	query := u.Query()
	for name := range say {
		query.Set(name, say.Get(name))
	}
	if ask.State != "" {
		query.Set("state", ask.State)
	}
	u.RawQuery = query.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

// token redeems a code (RFC 6749, section 4.1.3; RFC 7636, section 4.6).
func (i *issuer) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		return
	}
	f := r.PostForm
	if !i.client.is(credentials(r)) {
		w.Header().Set("WWW-Authenticate", `Basic realm="akprox demo"`)
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	if f.Get("grant_type") != "authorization_code" {
		answer(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	g, ok := i.codes.take(f.Get("code"))
	if !ok || f.Get("redirect_uri") != g.ask.RedirectURI ||
		!same(oauth2.S256ChallengeFromVerifier(f.Get("code_verifier")), g.ask.Challenge) {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	i.grant(w, g)
}

func (i *issuer) grant(w http.ResponseWriter, g granted) {
	raw, err := jwt.Signed(i.signer).Claims(i.idToken(g)).Serialize()
	access := i.tokens.put(g.user)
	if err != nil || access == "" {
		answer(w, http.StatusServiceUnavailable, map[string]any{"error": "temporarily_unavailable"})
		return
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": access, "token_type": "Bearer", "expires_in": int(tokenLife.Seconds()),
		"id_token": raw, "scope": g.ask.Scope,
	})
}

func (i *issuer) idToken(g granted) map[string]any {
	now := i.now()
	claims := about(g.user)
	claims["iss"], claims["aud"] = i.name, i.client.ID
	claims["iat"], claims["exp"] = now.Unix(), now.Add(tokenLife).Unix()
	if g.ask.Nonce != "" {
		claims["nonce"] = g.ask.Nonce
	}
	return claims
}

// about answers the claims of a user.
func about(u User) map[string]any {
	return map[string]any{
		"sub": "demo-" + u.Username, "preferred_username": u.Username, "name": u.Name,
		"email": u.Email, "email_verified": true, "groups": u.Groups,
	}
}

// credentials reads the client's id and secret, from the header (where they
// are form-encoded: RFC 6749, section 2.3.1) or from the form.
func credentials(r *http.Request) (id, secret string) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	plainID, err := url.QueryUnescape(id)
	plainSecret, err2 := url.QueryUnescape(secret)
	if err != nil || err2 != nil {
		return "", ""
	}
	return plainID, plainSecret
}

// userinfo tells about the user of an access token (OIDC Core 5.3).
func (i *issuer) userinfo(w http.ResponseWriter, r *http.Request) {
	access, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	user, ok := i.tokens.get(access)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer(w, http.StatusOK, about(user))
}

// endSession sends the browser on (OIDC RP-Initiated Logout 1.0). There is no
// session to end: the page asks for the password every time.
func (i *issuer) endSession(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		i.problem(w, "The form could not be read.")
		return
	}
	target := r.Form.Get("post_logout_redirect_uri")
	switch {
	case target == "":
		render(w, i.pages, "problem.html", http.StatusOK, map[string]any{"Title": "You are signed out", "Problem": "You may close this page."})
	case !i.client.mayReturn(target):
		i.problem(w, "The address to go to after signing out is not registered (post_logout_redirect_uri).")
	default:
		ask := question{RedirectURI: target, State: r.Form.Get("state")}
		i.back(w, r, ask, nil)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
