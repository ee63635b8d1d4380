package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
)

// The rows of docs/security-tests.md in which somebody beside the client takes
// part: an issuer that says odd things, two that disagree, guesses at
// passwords. Each is put through every dialect.

// party is an OpenID issuer that asks nobody anything and says what a test
// wants. Its refresh tokens are good once.
type party struct {
	*httptest.Server
	signer jose.Signer
	keys   jose.JSONWebKeySet

	mu        sync.Mutex
	claims    map[string]any // about whoever comes
	nonce     string         // of the sign-in under way
	refresh   string         // the one token that is good
	refreshes int            // how often it was asked to renew
	hold      chan struct{}  // renewals wait until it is closed, when not nil
	opaque    map[string]any // what introspection answers; nil: the token is none
	asked     int            // questions about tokens
}

func newParty(t *testing.T) *party {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: "one", Algorithm: string(jose.ES256), Use: "sig"}
	p := &party{keys: jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}}}
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	say := func(path string, what func(r *http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			_ = r.ParseForm()
			w.Header().Set("Content-Type", "application/json")
			answer := what(r)
			if answer == nil {
				w.WriteHeader(http.StatusBadRequest)
				answer = map[string]any{"error": "invalid_grant"}
			}
			_ = json.NewEncoder(w).Encode(answer)
		})
	}
	say("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
		}
	})
	say("/keys", func(*http.Request) any { return p.keys })
	say("/token", p.token)
	say("/introspect", func(*http.Request) any {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		answer := map[string]any{"active": p.opaque != nil}
		maps.Copy(answer, p.opaque)
		return answer
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		p.set(func() { p.nonce = r.FormValue("nonce") })
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?"+url.Values{"code": {"c"}, "state": {r.FormValue("state")}}.Encode(), http.StatusSeeOther)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *party) set(change func()) { p.mu.Lock(); defer p.mu.Unlock(); change() }

// questions answers how often it was asked about a token, renewals how often to renew.
func (p *party) questions() (n int) { p.set(func() { n = p.asked }); return n }
func (p *party) renewals() (n int)  { p.set(func() { n = p.refreshes }); return n }

// token grants a code or a refresh token; nil is a refusal.
func (p *party) token(r *http.Request) any {
	renews := r.FormValue("grant_type") == "refresh_token"
	p.mu.Lock()
	hold := p.hold
	if renews {
		p.refreshes++
	}
	p.mu.Unlock()
	if renews && hold != nil {
		<-hold
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	about := maps.Clone(p.claims)
	if renews && r.FormValue("refresh_token") != p.refresh {
		return nil
	}
	if !renews {
		about["nonce"] = p.nonce
	}
	p.refresh = fmt.Sprint("refresh-", rand.Text())
	return map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 3600, "id_token": p.sign(about, "akprox"), "refresh_token": p.refresh}
}

// sign makes a token for an audience.
func (p *party) sign(claims map[string]any, audience string) string {
	all := map[string]any{"iss": p.URL, "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	text, err := jwt.Signed(p.signer).Claims(all).Serialize()
	if err != nil {
		return err.Error()
	}
	return text
}

// partiesDocument has two applications in front of a reverse proxy and two
// behind none; the first of each asks FIRST who somebody is, the second SECOND.
const partiesDocument = `
version: 1
server: { http: "127.0.0.1:0", https: "", metrics: "", nginx_original_url: true }
store: { kind: memory }
providers:
PROVIDERS
applications:
  - { name: wiki, mode: forward_single, external_url: "http://wiki.example.test", credentials: [FIRST], MORE }
  - { name: legacy, mode: proxy, external_url: "http://legacy.test", upstream: UPSTREAM, credentials: [FIRST], MORE }
  - { name: second, mode: forward_single, external_url: "http://second.example.test", credentials: [SECOND], MORE }
  - { name: other, mode: proxy, external_url: "http://other.test", upstream: UPSTREAM, credentials: [SECOND], MORE }
`

// parties is a running partiesDocument.
type parties struct{ *matrixWorld }

func newParties(t *testing.T, providers, first, second, more string, edits ...string) parties {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"X-Auth-Username", "X-Forwarded-Email"} {
			w.Header()[name] = r.Header[name]
		}
	}))
	t.Cleanup(upstream.Close)
	document := strings.NewReplacer("PROVIDERS", providers, "FIRST", first, "SECOND", second, "MORE", more).Replace(partiesDocument)
	return parties{&matrixWorld{
		world: newWorldOf(t, document, start, append(edits, "UPSTREAM", upstream.URL)...), t: t,
		credentials: map[string]func(string) []string{"nobody": func(string) []string { return nil }},
	}}
}

// question is one about a page of the first application, or the second, that
// a program asks for.
func question(name string, second bool, uri, client string) asked {
	hosts := map[bool]string{false: "wiki.example.test", true: "second.example.test"}
	if name == "proxy" {
		hosts = map[bool]string{false: "legacy.test", true: "other.test"}
	}
	return asked{dialect: name, method: "GET", scheme: "http", host: hosts[second], uri: uri, client: client, who: "nobody", kind: "json"}
}

// someClient is who asks where it does not matter.
const someClient = "203.0.113.50"

// holds asks the first application, or the second, with one more line, and
// fails the test unless that ends as wanted.
func (w parties) holds(what, name string, second bool, uri string, want expected, line string) *http.Response {
	w.t.Helper()
	a := question(name, second, uri, someClient)
	resp := w.ask(a, line)
	if problem := disagreement(a, want, resp); problem != "" {
		w.t.Errorf("%s, %s, %s: %d: %s", what, name, uri, resp.StatusCode, problem)
	}
	return resp
}

// addressesThatAreNobodys: an address with two @, or one that is not verified,
// makes nobody of who is known by it, in an ID token or a bearer token.
func addressesThatAreNobodys(t *testing.T, _ *matrixWorld) {
	p := newParty(t)
	w := newParties(t, `
  - { name: company, kind: oidc, issuer: "ISSUER", client_id: akprox, client_secret: { value: a-secret }, claims: { username: email } }
  - { name: tokens, kind: jwt, issuer: "ISSUER", audience: api, claims: { username: email } }`,
		"company, tokens", "company", `rules: [ { paths: [/root/**], users: [root@example.test] } ]`, "ISSUER", p.URL)
	for what, claims := range map[string]map[string]any{
		"":                       {"email": "root@example.test", "email_verified": true},
		"two @":                  {"email": "root@example.test@example.test", "email_verified": true},
		"another's before it":    {"email": "mallory@evil.test@example.test"},
		"it after another's":     {"email": "root@example.test@evil.test"},
		"not verified":           {"email": "root@example.test", "email_verified": false},
		"not verified, in words": {"email": "root@example.test", "email_verified": "false"},
		"verified by no answer":  {"email": "root@example.test", "email_verified": []string{"true"}},
	} {
		claims["sub"] = "mallory"
		p.set(func() { p.claims = claims })
		browser := w.browser()
		w.signIn(browser, "http://wiki.example.test/akprox/start?rd=/", "")
		w.signIn(browser, "http://legacy.test/akprox/start?rd=/", "")
		who, root := "mallory", expected{outcome: "forbidden"}
		if what == "" {
			who, root = "root@example.test", expected{outcome: "allow", user: "root@example.test"}
		}
		for _, name := range dialects(t) {
			for _, line := range []string{cookies(browser, question(name, false, "", "").host), "Authorization: Bearer " + p.sign(claims, "api")} {
				resp := w.holds(what, name, false, "/page", expected{outcome: "allow", user: who}, line)
				if told := resp.Header.Get("X-Forwarded-Email"); (told != "") != (what == "") {
					t.Errorf("%s, %s: the program is told the address %q", what, name, told)
				}
				w.holds(what, name, false, "/root/x", root, line)
			}
		}
	}
}

// aTokenOfAnotherIssuer: each issuer is asked about a token itself, whatever
// another one has said about it.
func aTokenOfAnotherIssuer(t *testing.T, _ *matrixWorld) {
	left, right := newParty(t), newParty(t)
	w := newParties(t, `
  - { name: left, kind: introspection, url: "LEFT/introspect", client_id: akprox, client_secret: { value: a-secret } }
  - { name: right, kind: introspection, url: "RIGHT/introspect", client_id: akprox, client_secret: { value: a-secret }, negative_cache: 0s }`,
		"left", "right", "", "LEFT", left.URL, "RIGHT", right.URL)
	left.set(func() { left.opaque = map[string]any{"username": "alice", "sub": "a"} })
	const line = "Authorization: Bearer the-same-token"
	for _, name := range dialects(t) {
		w.holds("whom the first knows", name, false, "/page", expected{outcome: "allow", user: "alice"}, line)
		w.holds("whom the second does not", name, true, "/page", expected{outcome: "unauthorized"}, line)
	}
	if l, r := left.questions(), right.questions(); l != 1 || r != len(dialects(t)) {
		t.Errorf("the issuers were asked %d and %d times: one knows the token and is believed for a while, the other is to be asked each time", l, r)
	}
	right.set(func() { right.opaque = map[string]any{"username": "bob", "sub": "b"} })
	for _, name := range dialects(t) {
		w.holds("whom the second knows", name, true, "/page", expected{outcome: "allow", user: "bob"}, line)
		w.holds("whom the first still knows", name, false, "/page", expected{outcome: "allow", user: "alice"}, line)
	}
}

// guarded has john and mary by their passwords.
func guarded(t *testing.T) parties {
	t.Helper()
	hash := func(password string) string {
		text, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	return newParties(t, fmt.Sprintf(`
  - name: people
    kind: password
    users:
      - { username: john, email: john@example.test, password: %q }
      - { username: mary, email: mary@example.test, password: %q }`, hash("johns own"), hash("marys own")), "people", "people", "")
}

// oneUserInManySpellings: failures count for the person, whatever the name
// looked like, the address it came from and the dialect.
func oneUserInManySpellings(t *testing.T, _ *matrixWorld) {
	names := dialects(t)
	w := guarded(t)
	for i, login := range []string{"john", "JOHN", "john@example.test", "John@EXAMPLE.test", " john "} {
		a := question(names[i%len(names)], i%2 == 0, "/page", fmt.Sprint("203.0.113.", i+1))
		if problem := disagreement(a, expected{outcome: "unauthorized"}, w.ask(a, basicAuth(login, "a guess"))); problem != "" {
			t.Errorf("%s, %s: %s", login, a.dialect, problem)
		}
	}
	for i, name := range names {
		for _, login := range []string{"john", "JOHN@example.test"} {
			resp := w.ask(question(name, false, "/page", fmt.Sprint("198.51.100.", i+1)), basicAuth(login, "johns own"))
			if resp.StatusCode < 400 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("%s, %s: %d %v after five failures", name, login, resp.StatusCode, resp.Header)
			}
		}
		w.holds("mary", name, false, "/page", expected{outcome: "allow", user: "mary"}, basicAuth("mary", "marys own"))
	}
}

// guessesAtNobody: 256 bad sign-ins with made-up names, from one address and
// from as many, lock nobody else out.
func guessesAtNobody(t *testing.T, _ *matrixWorld) {
	names := dialects(t)
	w := guarded(t)
	for i := range 256 {
		for _, client := range []string{"203.0.113.7", fmt.Sprint("10.0.0.", i)} {
			a := question(names[i%len(names)], false, "/page", client)
			if resp := w.ask(a, basicAuth(fmt.Sprint("made-up-", i, client), "a guess")); resp.StatusCode < 400 {
				t.Fatalf("%s: a guess passes: %d", a.dialect, resp.StatusCode)
			}
		}
	}
	for _, name := range names {
		for _, user := range []string{"john", "mary"} {
			w.holds("afterwards", name, true, "/page", expected{outcome: "allow", user: user}, basicAuth(user, user+"s own"))
		}
	}
}

// renewing is an issuer, and applications that ask it each second whether what
// it has said still holds. alice of the group admin is signed in at the first.
func renewing(t *testing.T) (w parties, p *party, signIn func() string) {
	t.Helper()
	p = newParty(t)
	w = newParties(t, `
  - { name: company, kind: oidc, issuer: "ISSUER", client_id: akprox, client_secret: { value: a-secret } }`,
		"company", "company", `session: { refresh: 1s }, rules: [ { paths: [/admin/**], groups: [admin] } ]`, "ISSUER", p.URL)
	p.set(func() {
		p.claims = map[string]any{"sub": "alice", "preferred_username": "alice", "groups": []string{"admin"}}
	})
	signIn = func() string {
		b := w.browser()
		w.signIn(b, "http://wiki.example.test/akprox/start?rd=/", "")
		return cookies(b, "wiki.example.test")
	}
	return w, p, signIn
}

// forwards are the dialects that ask about the first application.
func forwards(t *testing.T) (names []string) {
	for _, name := range dialects(t) {
		if name != "proxy" {
			names = append(names, name)
		}
	}
	return names
}

// claimsThatChanged: what the issuer says now counts at the next sign-in at
// once, and reaches a session that there is in bounded time.
func claimsThatChanged(t *testing.T, _ *matrixWorld) {
	w, p, signIn := renewing(t)
	before := signIn()
	for _, name := range forwards(t) {
		w.holds("before", name, false, "/admin/x", expected{outcome: "allow", user: "alice"}, before)
	}
	p.set(func() { p.claims["groups"] = []string{"staff"} })
	after := signIn()
	for _, name := range forwards(t) {
		w.holds("after", name, false, "/admin/x", expected{outcome: "forbidden"}, after)
	}
	p.set(func() { p.claims["groups"] = []string{"admin"} })
	session := signIn()
	p.set(func() { p.claims["groups"] = []string{"staff"} })
	for end := time.Now().Add(30 * time.Second); w.traefik("http://wiki.example.test/admin/x", session).StatusCode != http.StatusForbidden; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the groups do not reach the session")
		}
	}
	for _, name := range forwards(t) {
		w.holds("in between", name, false, "/admin/x", expected{outcome: "forbidden"}, session)
		w.holds("in between", name, false, "/page", expected{outcome: "allow", user: "alice"}, session)
	}
}

// tenAtTheMomentOfARenewal: the issuer is asked once, the session serves on
// meanwhile, and the answer is kept: its refresh token is the one used next.
func tenAtTheMomentOfARenewal(t *testing.T, _ *matrixWorld) {
	w, p, signIn := renewing(t)
	session := signIn()
	hold := make(chan struct{})
	p.set(func() { p.hold = hold; p.claims["groups"] = []string{"staff"} })
	time.Sleep(1100 * time.Millisecond) // it is due
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if resp := w.traefik("http://wiki.example.test/admin/x", session); resp.StatusCode != http.StatusOK || resp.Header.Get("X-Auth-Username") != "alice" {
				t.Errorf("during the renewal: %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	for end := time.Now().Add(20 * time.Second); p.renewals() == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is not renewed")
		}
	}
	for _, name := range forwards(t) {
		w.holds("while the issuer thinks", name, false, "/admin/x", expected{outcome: "allow", user: "alice"}, session)
	}
	if n := p.renewals(); n != 1 {
		t.Errorf("the issuer was asked %d times at once", n)
	}
	p.set(func() { p.hold = nil })
	close(hold)
	for end := time.Now().Add(30 * time.Second); p.renewals() < 3; time.Sleep(50 * time.Millisecond) {
		resp := w.traefik("http://wiki.example.test/page", session)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("the answer was not kept: %d after %d renewals", resp.StatusCode, p.renewals())
		}
		if time.Now().After(end) {
			t.Fatal("it is not renewed again")
		}
	}
	w.holds("afterwards", "traefik", false, "/admin/x", expected{outcome: "forbidden"}, session)
}
