package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// secretive is an akprox with every credential kind that logs all it can, and
// whose secrets are long enough to be found wherever they are told. What it
// writes is searched when the test ends, as it is in every other test.
type secretive struct {
	*stage
	dir string // of the files with the document's secrets
}

const secretiveDocument = `version: 1
server: { http: "127.0.0.1:%[1]d", metrics: "127.0.0.1:%[2]d", trusted_proxies: ["192.0.2.1/32"], compat: [knocker] }
secret: [ { file: %[3]s/first }, { file: %[3]s/second } ]
store: { kind: disk, path: store }
log: { level: trace }
providers:
  - name: company
    kind: oidc
    issuer: %[4]s
    client_id: %[5]s
    client_secret: { value: %[6]s }
    scopes: [openid, profile, email, groups, offline_access]
    prompt: consent
  - { name: services, kind: apikey, keys: [ { name: ci, hash: %[7]q } ] }
  - { name: people, kind: password, users: [ { username: john, password: %[8]q } ] }
  - { name: tokens, kind: jwt, issuer: %[4]s, audience: any }
  - { name: opaque, kind: introspection, url: %[4]s/token/introspection, client_id: %[5]s, client_secret: { value: %[6]s }, timeout: 20s }
  - { name: door, kind: knock, keys: [ { name: phone, key: { value: %[9]s }, ttl: 60 } ] }
applications:
  - { name: app, mode: proxy, external_url: "http://app.example.test:%[1]d", upstream: %[10]q, credentials: [company, services, opaque] }
  - { name: jwt, mode: proxy, external_url: "http://jwt.example.test:%[1]d", upstream: %[10]q, credentials: [tokens] }
  - { name: home, mode: proxy, external_url: "http://home.example.test:%[1]d", upstream: %[10]q, credentials: [people] }
  - { name: gated, mode: proxy, external_url: "http://gated.example.test:%[1]d", upstream: %[10]q, gate: [door], credentials: [people] }
`

const (
	ownPassword   = "the password of john, of 2026 0123456789"
	wrongPassword = "not the password of john, of 2026 9876543210"
	knockKey      = "the-key-of-the-phone-at-the-door-0123456789"
	wrongKey      = "api-of-nobody-9876543210-zyxwvutsrqponmlkji"
	inQuery       = "what-a-client-writes-into-its-query-0123456789"
)

// TestSecretsStayInside goes every way on which akprox gets or makes a secret,
// with good ones and bad ones, and with an issuer that is not there.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, metrics := parts.Port(t), parts.Port(t)
	s := &secretive{&stage{port: port, address: fmt.Sprintf("127.0.0.1:%d", port)}, t.TempDir()}
	s.app = s.origin(appHost)
	s.issuer = parts.OIDCProvider(t, parts.IssuerConfig{RedirectURIs: []string{s.app + "/akprox/callback"}})
	key, hash := generatedKey(t)
	s.keep(t, "first", "the-first-secret-of-the-document-0123456789")
	s.keep(t, "second", "another-secret-of-the-document-9876543210")
	config := fmt.Sprintf(secretiveDocument, port, metrics, s.dir, s.issuer.URL, s.issuer.ClientID, s.issuer.ClientSecret, hash,
		strings.TrimSpace(tell(t, ownPassword, "hash", "password")), knockKey, parts.Upstream(t).URL)
	s.begin(t, config, port)
	s.awaitSignIn(t)
	t.Cleanup(func() { // before the search
		if strings.Contains(s.akprox.Output(), inQuery) {
			t.Errorf("akprox logged a query:\n%s", s.akprox.Output())
		}
	})

	signedIn := s.person(t)
	signedIn.arrive(s.app+"/page?q="+inQuery, "alice")
	s.badCallbacks(t)
	s.badCredentials(t, key)
	s.badLogouts(t, signedIn)
	s.withoutIssuer(t)
	s.rotated(t)

	for _, kind := range []string{"the cookie of a session", "the cookie of a flow", "a code", "a state", "a nonce", "a password", "a key", "the credential of an Authorization header"} {
		if parts.Secrets()[kind] == 0 {
			t.Errorf("nobody takes note of %s, so that nobody can find it: %v", kind, parts.Secrets())
		}
	}
}

// generatedKey answers a key and its hash.
func generatedKey(t *testing.T) (key, hash string) {
	t.Helper()
	for _, word := range strings.Fields(tell(t, "", "generate", "key")) {
		switch {
		case strings.HasPrefix(word, "api-"):
			key = word
		case strings.HasPrefix(word, "sha256:"):
			hash = word
		}
	}
	return key, hash
}

// keep writes a secret's file.
func (s *secretive) keep(t *testing.T, name, secret string) {
	t.Helper()
	parts.Secret("planted", secret)
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
}

// begun answers a callback of somebody who is about to sign in.
func (s *secretive) begun(t *testing.T, p *person) string {
	t.Helper()
	r := p.get(s.app + "/")
	for range 3 {
		if strings.HasPrefix(r.next(), s.issuer.URL) {
			callback, err := s.issuer.SignIn(p.Client, r.next(), "alice")
			if err != nil {
				t.Fatal(err)
			}
			return callback
		}
		r = p.get(r.next())
	}
	t.Fatalf("no way to the issuer, but %d %s", r.status, r.url)
	return ""
}

// badCallbacks: a code and a state that are good are used by another browser,
// twice, and with something else in the place of one of them.
func (s *secretive) badCallbacks(t *testing.T) {
	t.Helper()
	p := s.person(t)
	callback := s.begun(t, p)
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	other := func(name string) string {
		q := u.Query()
		q.Set(name, q.Get(name)+"x")
		return s.app + u.Path + "?" + q.Encode()
	}
	for _, address := range []string{callback, other("state"), other("iss"), s.app + u.Path + "?error=access_denied&error_description=" + inQuery + "&state=" + u.Query().Get("state")} {
		s.person(t).get(address)
	}
	p.get(other("code"))
	callback = s.begun(t, p)
	for range 2 {
		p.get(callback)
	}
}

// badCredentials presents each kind's secret, good and bad.
func (s *secretive) badCredentials(t *testing.T, key string) {
	t.Helper()
	p := s.person(t)
	ask := func(want int, address string, h ...string) {
		t.Helper()
		if r := s.person(t).send(http.MethodGet, address, with(program, h...), nil); r.status != want {
			t.Errorf("%s with %v: %d, not %d", address, h, r.status, want)
		}
	}
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("john:"+password))
	}
	token := s.clientToken(t)
	forged := "eyJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","iss":"`+s.issuer.URL+`"}`)) + ".c2lnbmF0dXJl"
	home, door := s.origin("home.example.test"), s.origin("gated.example.test")
	ask(http.StatusOK, s.app+"/x", "X-Api-Key", key)
	ask(http.StatusOK, s.app+"/x", "Authorization", "Bearer "+token)
	ask(http.StatusUnauthorized, s.app+"/x", "Authorization", "Bearer "+token+"x")
	ask(http.StatusUnauthorized, s.app+"/x", "Authorization", "Bearer "+wrongKey)
	ask(http.StatusUnauthorized, s.app+"/x", "X-Api-Key", wrongKey)
	ask(http.StatusUnauthorized, s.app+"/x", "X-Api-Key", key, "Authorization", "Bearer "+token)
	ask(http.StatusUnauthorized, s.app+"/x?access_token="+token, "Cookie", "token="+token)
	ask(http.StatusUnauthorized, s.origin("jwt.example.test")+"/x", "Authorization", "Bearer "+forged)
	ask(http.StatusOK, home+"/x", "Authorization", basic(ownPassword))
	ask(http.StatusUnauthorized, home+"/x", "Authorization", basic(wrongPassword))
	ask(http.StatusUnauthorized, door+"/x", "Authorization", basic(ownPassword))
	ask(http.StatusUnauthorized, door+"/knock", "X-Api-Key", wrongKey)
	ask(http.StatusOK, door+"/knock", "X-Api-Key", knockKey)
	p.send(http.MethodPost, door+"/knock", with(program, "X-Api-Key", knockKey, "Content-Type", "application/json"), []byte(`{"ttl":-5,"x":"`+wrongKey+`"}`))
	for _, password := range []string{wrongPassword, ownPassword} {
		form := url.Values{"username": {"john"}, "password": {password}, "rd": {home + "/x?q=" + inQuery}}
		resp, err := p.PostForm(home+"/akprox/sign_in", form)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	p.send(http.MethodGet, home+"/akprox/sign_in?rd=/&password="+wrongPassword[:10], navigation, nil)
}

func (s *secretive) clientToken(t *testing.T) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {s.issuer.ClientID}, "client_secret": {s.issuer.ClientSecret}}
	resp, err := http.PostForm(s.issuer.URL+"/token", form)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("no token: %s, %v", resp.Status, err)
	}
	parts.Secret("a token", answer.Token)
	return answer.Token
}

// badLogouts: logout tokens that are none, and cookies that are none any more.
func (s *secretive) badLogouts(t *testing.T, p *person) {
	t.Helper()
	logout := "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+s.issuer.URL+`","aud":"akprox","sub":"alice"}`)) + ".c2lnbmF0dXJl"
	for _, token := range []string{logout, "of nobody 0123456789 abcdef"} {
		resp, err := s.person(t).PostForm(s.app+"/akprox/backchannel_logout", url.Values{"logout_token": {token}})
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("a bad logout token: %d", resp.StatusCode)
		}
	}
	cookies := p.cookies(s.app)
	p.get(s.app + "/akprox/userinfo")
	p.get(s.app + "/akprox/sign_out")
	p.send(http.MethodPost, s.app+"/akprox/sign_out", with(navigation, "Origin", s.app), nil)
	for _, c := range cookies {
		for _, value := range []string{c.Value, c.Value + "x", c.Value[:len(c.Value)/2]} {
			if r := s.person(t).send(http.MethodGet, s.app+"/x", with(program, "Cookie", c.Name+"="+value), nil); r.status != http.StatusUnauthorized {
				t.Errorf("a cookie that is none any more: %d", r.status)
			}
		}
	}
}

// withoutIssuer: a code and a token come while nobody can be asked about them.
func (s *secretive) withoutIssuer(t *testing.T) {
	t.Helper()
	p := s.person(t)
	callback := s.begun(t, p)
	token := s.clientToken(t)
	s.issuer.Stop()
	if r := p.get(callback); r.status < 400 {
		t.Errorf("a callback without an issuer: %d", r.status)
	}
	for range 2 {
		if r := s.person(t).send(http.MethodGet, s.app+"/x", bearer(token), nil); r.status != http.StatusServiceUnavailable {
			t.Errorf("a token without an issuer: %d", r.status)
		}
	}
	s.issuer.Restart()
	s.awaitSignIn(t)
}

// rotated changes the secrets: what one of the list has signed is known, with
// the first is signed, and a secret that is too short is not served.
func (s *secretive) rotated(t *testing.T) {
	t.Helper()
	state := func(p *person) int { return p.send(http.MethodGet, s.app+"/x", program, nil).status }
	reload := func(loaded string) {
		t.Helper()
		before := strings.Count(s.akprox.Output(), loaded)
		s.akprox.Signal(syscall.SIGHUP)
		eventually(t, "no new document", func() bool { return strings.Count(s.akprox.Output(), loaded) > before })
	}
	first := s.person(t)
	first.arrive(s.app+"/", "alice")
	s.keep(t, "second", "the-first-secret-of-the-document-0123456789")
	s.keep(t, "first", "a-third-secret-of-the-document-5647382910")
	reload("document loaded")
	third := s.person(t)
	third.arrive(s.app+"/", "alice")
	if got := [2]int{state(first), state(third)}; got != [2]int{http.StatusOK, http.StatusOK} {
		t.Errorf("while both secrets are listed: %v", got)
	}
	s.keep(t, "second", "a-fourth-secret-of-the-document-1029384756")
	reload("document loaded")
	if got := [2]int{state(first), state(third)}; got != [2]int{http.StatusUnauthorized, http.StatusOK} {
		t.Errorf("when the older is listed no more: %v", got)
	}
	s.keep(t, "first", "a-short-secret-0123456789")
	reload("the new document is not served")
	if got := state(third); got != http.StatusOK {
		t.Errorf("with a document that is not served: %d", got)
	}
}
