package e2e_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/akprox/akprox/e2e/parts"
)

// newLogoutStage is a stage whose issuer sends logout tokens, to akprox's own
// address and not through the proxy: no host that is guarded. config is where
// the document stands.
func newLogoutStage(t *testing.T, f front, edits ...string) (s *stage, config string) {
	t.Helper()
	parts.Need(t)
	s = &stage{front: f, mode: "forward_single", port: parts.Port(t)}
	akproxPort := parts.Port(t)
	s.address = fmt.Sprintf("127.0.0.1:%d", akproxPort)
	s.program = strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	s.app, s.other = s.origin(appHost), s.origin(otherHost)
	s.issuer = parts.OIDCProvider(t, parts.IssuerConfig{
		RedirectURIs: s.callbacks(), PostLogoutRedirectURIs: []string{s.app + "/public/bye"},
		BackChannelLogoutURI: s.backchannel(),
	})
	return s, s.serve(t, akproxPort, edits...)
}

// backchannel is where the issuer posts logout tokens.
func (s *stage) backchannel() string { return "http://" + s.address + "/akprox/backchannel_logout" }

// serve starts akprox and the proxy, and answers where the document stands,
// which edits change: pairs of old and new.
func (s *stage) serve(t *testing.T, akproxPort int, edits ...string) (config string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "akprox-") // short: a socket's path has a bound
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	text := s.document(fmt.Sprintf("nginx_original_url: %v", s.front.originalURL), parts.Port(t))
	text = strings.NewReplacer(append(edits, "path: store", "path: "+filepath.Join(dir, "store"))...).Replace(text)
	config = filepath.Join(dir, "akprox.yaml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.begin(t, text, akproxPort)
	s.front.start(t, s, snippets(t, s.front.snippet, text, s.applications()))
	return config
}

// signedIn reports whether the program answers a browser, without a sign-in.
func (p *person) signedIn(address string) bool {
	p.t.Helper()
	switch r := p.get(address); {
	case r.status == http.StatusOK:
		return true
	case r.next() != "":
		return false
	default:
		p.t.Fatalf("%s: %d %s", address, r.status, r.body)
		return false
	}
}

// want holds whether the browser is signed in at each of the addresses.
func (p *person) want(signedIn bool, addresses ...string) {
	p.t.Helper()
	for _, address := range addresses {
		if p.signedIn(address) != signedIn {
			p.t.Errorf("%s: signed in is %v", address, !signedIn)
		}
	}
}

// postLogout posts a logout token and answers the status.
func (s *stage) postLogout(t *testing.T, token string) (int, string) {
	t.Helper()
	body := []byte(url.Values{"logout_token": {token}}.Encode())
	r := s.person(t).send(http.MethodPost, s.backchannel(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	return r.status, r.body
}

func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	for _, f := range []front{nginx, caddy} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s, _ := newLogoutStage(t, f)
			s.awaitSignIn(t)
			desk, phone, bob := s.person(t), s.person(t), s.person(t)
			for p, who := range map[*person]string{desk: "alice", phone: "alice", bob: "bob"} {
				p.arrive(s.app+"/", who)
				p.arrive(s.other+"/", who)
			}
			// The issuer posts the token before it answers the browser.
			if _, err := s.issuer.SignOut(desk.Client, s.issuer.URL+"/session/end"); err != nil {
				t.Fatal(err)
			}
			desk.want(false, s.app+"/", s.other+"/")
			phone.want(true, s.app+"/", s.other+"/") // another session at the issuer
			bob.want(true, s.app+"/", s.other+"/")
			if !strings.Contains(s.issuer.Output(), "backchannel.success") {
				t.Errorf("the issuer says %s", s.issuer.Output())
			}
			desk.arrive(s.app+"/", "alice")
			desk.want(true, s.app+"/")
		})
	}
}

// Each token breaks one rule, and is signed by the issuer's own key where the
// rule is not about the signature.
func TestForgedLogoutTokens(t *testing.T) {
	t.Parallel()
	s, _ := newLogoutStage(t, nginx)
	s.awaitSignIn(t)
	alice := s.person(t)
	alice.arrive(s.app+"/", "alice")
	key := s.issuer.SigningKey(t)
	sign := func(alg jose.SignatureAlgorithm, key any, typ string, change func(map[string]any)) string {
		t.Helper()
		now := time.Now()
		c := map[string]any{
			"iss": s.issuer.URL, "aud": s.issuer.ClientID, "sub": "alice", "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(),
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		}
		if change != nil {
			change(c)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(signer).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	issuers := func(change func(map[string]any)) string { return sign(jose.RS256, key.Key, "logout+jwt", change) }
	public, err := x509.MarshalPKIXPublicKey(key.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := issuers(nil)
	split := strings.Split(good, ".")
	for name, token := range map[string]string{
		"another key":               sign(jose.ES256, other, "logout+jwt", nil),
		"alg none":                  "eyJhbGciOiJub25lIn0." + split[1] + ".",
		"HS256 with the public key": sign(jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "logout+jwt", nil),
		"HS256 with the secret":     sign(jose.HS256, []byte(s.issuer.ClientSecret), "logout+jwt", nil),
		"other claims":              split[0] + "." + strings.Split(issuers(nil), ".")[1] + "." + split[2],
		"expired":                   issuers(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() }),
		"made long ago":             issuers(func(c map[string]any) { c["iat"] = time.Now().Add(-24 * time.Hour).Unix() }),
		"from the future":           issuers(func(c map[string]any) { c["iat"] = time.Now().Add(time.Hour).Unix() }),
		"for another client":        issuers(func(c map[string]any) { c["aud"] = "another" }),
		"of another issuer":         issuers(func(c map[string]any) { c["iss"] = "https://id.example.test" }),
		"with a nonce":              issuers(func(c map[string]any) { c["nonce"] = "n" }),
		"without events":            issuers(func(c map[string]any) { delete(c, "events") }),
		"without jti":               issuers(func(c map[string]any) { delete(c, "jti") }),
		"of nobody":                 issuers(func(c map[string]any) { delete(c, "sub") }),
		"typ of an access token":    sign(jose.RS256, key.Key, "at+jwt", nil),
		"no token":                  "x",
	} {
		if status, body := s.postLogout(t, token); status != http.StatusBadRequest || !strings.Contains(body, `"error":"invalid_request"`) {
			t.Errorf("%s: %d %s", name, status, body)
		}
		alice.want(true, s.app+"/")
	}
	if status, body := s.postLogout(t, good); status != http.StatusOK {
		t.Errorf("the good one: %d %s", status, body)
	}
	alice.want(false, s.app+"/")
	alice.arrive(s.app+"/", "alice")
	if status, _ := s.postLogout(t, good); status != http.StatusBadRequest {
		t.Errorf("a replay: %d", status)
	}
	alice.want(true, s.app+"/")
	s.akprox.Restart()
	if status, _ := s.postLogout(t, good); status != http.StatusBadRequest {
		t.Errorf("a replay after a restart: %d", status)
	}
	alice.want(true, s.app+"/")
	if log := s.akprox.Output(); strings.Contains(log, split[2]) {
		t.Error("the log holds a token")
	}
}

// Hydra sends a session without a subject, and no exp.
func TestBackChannelLogoutOfHydra(t *testing.T) {
	t.Parallel()
	s := &stage{front: caddy, mode: "forward_single", port: parts.Port(t)}
	akproxPort := parts.Port(t)
	s.address = fmt.Sprintf("127.0.0.1:%d", akproxPort)
	s.program = strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	s.app, s.other = s.origin(appHost), s.origin(otherHost)
	hydra := parts.Hydra(t, nil, "")
	s.issuer = &parts.Issuer{URL: hydra.URL, ClientID: "akprox", ClientSecret: clientsSecret, Process: hydra.Process}
	hydra.Ask(t, http.MethodPost, "/clients", map[string]any{
		"client_id": "akprox", "client_secret": clientsSecret, "grant_types": []string{"authorization_code"}, "response_types": []string{"code"},
		"scope": "openid profile email groups", "redirect_uris": s.callbacks(), "token_endpoint_auth_method": "client_secret_basic",
		"backchannel_logout_uri": s.backchannel(), "backchannel_logout_session_required": true,
	})
	s.serve(t, akproxPort)
	s.awaitSignIn(t)

	desk, phone := s.person(t), s.person(t)
	sid := desk.arriveThroughHydra(hydra, s.app+"/", "alice")
	phone.arriveThroughHydra(hydra, s.app+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, hydra.Admin+"/oauth2/auth/sessions/login?sid="+url.QueryEscape(sid), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("hydra: %s", resp.Status)
	}
	eventually(t, "the session that Hydra ended goes on", func() bool { return !desk.signedIn(s.app + "/") })
	phone.want(true, s.app+"/")
}

// arriveThroughHydra goes to an address, signs in as user, and answers the
// session at Hydra.
func (p *person) arriveThroughHydra(h *parts.OryHydra, address, user string) (sid string) {
	p.t.Helper()
	accept := func(kind, at string, body map[string]any) string {
		p.t.Helper()
		u, err := url.Parse(at)
		if err != nil {
			p.t.Fatal(err)
		}
		query := url.Values{kind + "_challenge": {u.Query().Get(kind + "_challenge")}}
		if kind == "consent" {
			sid, _ = h.Ask(p.t, http.MethodGet, "/oauth2/auth/requests/consent?"+query.Encode(), nil)["login_session_id"].(string)
		}
		to, _ := h.Ask(p.t, http.MethodPut, "/oauth2/auth/requests/"+kind+"/accept?"+query.Encode(), body)["redirect_to"].(string)
		return to
	}
	r := p.get(address)
	for range 12 {
		next := r.next()
		switch {
		case next == "":
			if r.status != http.StatusOK || r.url != address || sid == "" {
				p.t.Fatalf("ended at %s: %d %s", r.url, r.status, r.body)
			}
			return sid
		case strings.Contains(next, "login_challenge="):
			next = accept("login", next, map[string]any{"subject": user, "remember": true})
		case strings.Contains(next, "consent_challenge="):
			next = accept("consent", next, map[string]any{"grant_scope": []string{"openid", "profile", "email", "groups"}})
		}
		r = p.get(next)
	}
	p.t.Fatalf("%s: no end of redirects, the last to %s", address, r.url)
	return ""
}

// Sign-out everywhere, over two browsers and two applications, and what an
// operator sees and does with the command while akprox runs.
func TestSignOutEverywhereAndSessionsCommand(t *testing.T) {
	t.Parallel()
	s, config := newLogoutStage(t, nginx)
	s.awaitSignIn(t)
	desk, phone, bob := s.person(t), s.person(t), s.person(t)
	desk.arrive(s.app+"/", "alice")
	desk.arrive(s.other+"/", "alice")
	phone.arrive(s.other+"/", "alice")
	bob.arrive(s.app+"/", "bob")
	command := func(want int, args ...string) string {
		t.Helper()
		return sessionsCommand(t, config, want, args...)
	}
	if got := command(0, "list"); strings.Count(got, "\n") != 5 || !strings.HasPrefix(got, "SUBJECT") || strings.Count(got, "alice") < 3 {
		t.Errorf("akprox sessions list:\n%s", got)
	}
	var listed []map[string]any
	if err := json.Unmarshal([]byte(command(0, "list", "--subject", "bob", "--json")), &listed); err != nil || len(listed) != 1 || listed[0]["application"] != "app" {
		t.Errorf("akprox sessions list --json: %v, %v", listed, err)
	}

	signOut := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"navigate"}, "Accept": {"text/html"}}
	cross := signOut.Clone()
	cross.Set("Sec-Fetch-Site", "cross-site")
	if r := desk.send(http.MethodPost, s.app+"/akprox/sign_out", cross, []byte("everywhere=1")); r.status != http.StatusForbidden {
		t.Errorf("from another site: %d", r.status)
	}
	phone.want(true, s.other+"/")
	r := desk.send(http.MethodPost, s.app+"/akprox/sign_out", signOut, []byte("everywhere=1"))
	if !strings.HasPrefix(r.next(), s.issuer.URL) {
		t.Errorf("%d %v", r.status, r.header)
	}
	desk.want(false, s.app+"/", s.other+"/")
	phone.want(false, s.other+"/")
	bob.want(true, s.app+"/")

	phone.arrive(s.other+"/", "alice")
	if got := command(0, "end", "--subject", "alice", "--provider", "company"); got != "1 session ended\n" {
		t.Errorf("akprox sessions end: %s", got)
	}
	phone.want(false, s.other+"/")
	if got := command(0, "end", "--subject", "alice"); !strings.Contains(got, "nobody with the subject") {
		t.Errorf("again: %s", got)
	}
	if got := command(1, "end", "--subject", "alice", "--provider", "x"); !strings.Contains(got, "the document has company") {
		t.Errorf("another provider: %s", got)
	}
	if got := command(2, "end"); !strings.Contains(got, "--subject is missing") {
		t.Errorf("nobody named: %s", got)
	}

	// A process that was killed leaves its socket; then the store itself is
	// opened, and the next process takes the socket's place.
	s.akprox.Kill()
	if got := command(0, "list"); strings.Count(got, "\n") != 2 || !strings.Contains(got, "bob") {
		t.Errorf("after a kill: %s", got)
	}
	s.akprox.Restart()
	bob.want(true, s.app+"/")
	if got := command(0, "end", "--subject", "bob"); got != "1 session ended\n" {
		t.Errorf("after a restart: %s", got)
	}
	bob.want(false, s.app+"/")
	s.akprox.Stop()
	if got := command(0, "list", "--json"); got != "[]\n" {
		t.Errorf("stopped: %s", got)
	}
}

// sessionsCommand runs akprox sessions, which has to end with the status want.
func sessionsCommand(t *testing.T, config string, want int, args ...string) string {
	t.Helper()
	cmd := exec.Command(parts.AkproxPath(t), append([]string{"sessions", "--config", config}, args...)...) // #nosec G204
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != want {
		t.Fatalf("akprox sessions %v: exit %d: %s", args, got, out)
	}
	return string(out)
}

// With Redis the command asks the store, and the running process notices.
func TestSessionsCommandWithRedis(t *testing.T) {
	t.Parallel()
	redis := parts.Redis(t)
	s, config := newLogoutStage(t, nginx,
		"store: { kind: disk, path: store }", fmt.Sprintf("secret: { value: %q }\nstore: { kind: redis, url: %q }", strings.Repeat("s3cret", 8), "redis://"+redis.Addr()))
	s.awaitSignIn(t)
	alice, bob := s.person(t), s.person(t)
	alice.arrive(s.app+"/", "alice")
	bob.arrive(s.app+"/", "bob")
	if got := sessionsCommand(t, config, 0, "list"); strings.Count(got, "\n") != 3 {
		t.Errorf("akprox sessions list:\n%s", got)
	}
	alice.want(true, s.app+"/") // and is held in memory
	if got := sessionsCommand(t, config, 0, "end", "--subject", "alice"); got != "1 session ended\n" {
		t.Errorf("akprox sessions end: %s", got)
	}
	eventually(t, "the session goes on", func() bool { return !alice.signedIn(s.app + "/") })
	bob.want(true, s.app+"/")

	// A logout token of the issuer, too.
	if _, err := s.issuer.SignOut(bob.Client, s.issuer.URL+"/session/end"); err != nil {
		t.Fatal(err)
	}
	bob.want(false, s.app+"/")
	redis.Stop()
	if got := sessionsCommand(t, config, 1, "list"); strings.Contains(got, "nobody") || !strings.Contains(got, redis.Addr()) {
		t.Errorf("without Redis: %s", got)
	}
}

// The page that asks, with a real browser: what it looks like, and that its
// second button ends the session of another browser.
func TestSignOutEverywhereInChromium(t *testing.T) {
	t.Parallel()
	s, _ := newLogoutStage(t, nginx)
	s.awaitSignIn(t)
	phone := s.person(t)
	phone.arrive(s.other+"/", "alice")
	ctx, _ := parts.Browser(t)
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatal(err)
		}
	}
	type css = chromedp.CSS
	do(
		chromedp.Navigate(s.app+"/"),
		chromedp.SendKeys(css("[name=login]"), "alice"), chromedp.SendKeys(css("[name=password]"), "x"),
		chromedp.Submit(css("form")),
		chromedp.WaitReady(css("input[name=prompt][value=consent]")),
		chromedp.Submit(css("form")),
		chromedp.WaitReady(css("pre")), // how Chromium shows JSON
		chromedp.Navigate(s.app+"/akprox/sign_out?everywhere=1"),
		chromedp.WaitReady(css("[name=everywhere]")),
	)
	parts.Screenshot(t, ctx, "sign-out-everywhere-light")
	do(parts.ColorScheme("dark"))
	parts.Screenshot(t, ctx, "sign-out-everywhere-dark")
	do(chromedp.EmulateViewport(390, 844))
	parts.Screenshot(t, ctx, "sign-out-everywhere-dark-phone")
	do(parts.ColorScheme("light"))
	parts.Screenshot(t, ctx, "sign-out-everywhere-light-phone")
	phone.want(true, s.other+"/")
	do(
		chromedp.Click(css("[name=everywhere]")),
		chromedp.WaitReady(css("[name=logout]")), // the issuer asks as well
	)
	phone.want(false, s.other+"/")
}
