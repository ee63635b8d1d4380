package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

const event = "http://schemas.openid.net/event/backchannel-logout"

// logoutClaims are those of an honest token; change may alter them.
func (i *issuer) logoutClaims(change func(object)) object {
	now := time.Now()
	c := object{
		"iss": i.URL, "aud": clientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": "j1",
		"sub": "u1", "sid": "s1", "events": object{event: object{}},
	}
	if change != nil {
		change(c)
	}
	return c
}

// logoutToken signs claims; pairs of header names and values may follow.
func logoutToken(t testing.TB, alg jose.SignatureAlgorithm, key any, claims any, header ...any) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", "one").WithType("logout+jwt")
	for n := 0; n < len(header); n += 2 {
		if header[n+1] == nil {
			delete(o.ExtraHeaders, jose.HeaderKey(header[n].(string)))
			continue
		}
		o = o.WithHeader(jose.HeaderKey(header[n].(string)), header[n+1])
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	if raw, ok := claims.(json.RawMessage); ok {
		signed, err := signer.Sign(raw)
		if err != nil {
			t.Fatal(err)
		}
		text, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	raw, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestLogoutTokensThatAreGood(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	for name, row := range map[string]struct {
		change       func(object)
		header       []any
		subject, sid string
	}{
		"sub and sid":               {nil, nil, "u1", "s1"},
		"a session alone":           {func(c object) { delete(c, "sub") }, nil, "", "s1"},
		"a subject alone":           {func(c object) { delete(c, "sid") }, nil, "u1", ""},
		"several audiences":         {func(c object) { c["aud"] = []string{"x", clientID} }, nil, "u1", "s1"},
		"typ JWT":                   {nil, []any{"typ", "JWT"}, "u1", "s1"},
		"typ in full":               {nil, []any{"typ", "application/Logout+JWT"}, "u1", "s1"},
		"no typ":                    {nil, []any{"typ", nil}, "u1", "s1"},
		"more events":               {func(c object) { c["events"] = object{event: object{"x": 1}, "https://other": object{}} }, nil, "u1", "s1"},
		"no exp, and made just now": {func(c object) { delete(c, "exp") }, nil, "u1", "s1"},
		"expired within the leeway": {func(c object) { c["exp"] = time.Now().Add(-10 * time.Second).Unix() }, nil, "u1", "s1"},
		"its clock is ahead":        {func(c object) { c["iat"] = time.Now().Add(4 * time.Minute).Unix() }, nil, "u1", "s1"},
		"exp far ahead":             {func(c object) { c["exp"] = time.Now().Add(10000 * time.Hour).Unix() }, nil, "u1", "s1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.LogoutToken(t.Context(), logoutToken(t, jose.ES256, i.key, i.logoutClaims(row.change), row.header...))
			if err != nil {
				t.Fatal(err)
			}
			if got.Subject != row.subject || got.SID != row.sid || got.ID != "j1" {
				t.Errorf("got %+v", got)
			}
			if left := time.Until(got.Expires); left <= 0 || left > 66*time.Minute {
				t.Errorf("it is refused in %s", left)
			}
		})
	}
}

// Each of these is one rule of OIDC Back-Channel Logout 1.0, section 2.6, or
// one way around it.
func TestLogoutTokensThatAreRefused(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	public, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	es := func(change func(object), header ...any) string {
		return logoutToken(t, jose.ES256, i.key, i.logoutClaims(change), header...)
	}
	set := func(name string, v any) string { return es(func(c object) { c[name] = v }) }
	without := func(name string) string { return es(func(c object) { delete(c, name) }) }
	raw := func(text string) string { return logoutToken(t, jose.ES256, i.key, json.RawMessage(text)) }
	good := es(nil)
	parts := strings.Split(good, ".")
	twice, _ := json.Marshal(i.logoutClaims(nil))
	other := newKey(t)
	for name, token := range map[string]string{
		"nothing":                       "",
		"no JWT":                        "a.b",
		"not base64":                    "$.$.$",
		"another spelling":              good + "=",
		"a line break inside":           parts[0] + ".\n" + parts[1] + "." + parts[2],
		"larger than any":               es(func(c object) { c["x"] = strings.Repeat("x", 20<<10) }),
		"encrypted":                     "a.b.c.d.e",
		"alg none":                      unsigned(i.logoutClaims(nil)),
		"alg none without a signature":  strings.TrimSuffix(unsigned(i.logoutClaims(nil)), "."),
		"HS256 with the public key":     logoutToken(t, jose.HS256, pemKey, i.logoutClaims(nil)),
		"HS256 with the client secret":  logoutToken(t, jose.HS256, []byte(clientSecret+strings.Repeat("x", 20)), i.logoutClaims(nil)),
		"an algorithm not announced":    logoutToken(t, jose.ES384, func() any { k, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader); return k }(), i.logoutClaims(nil)),
		"another's key":                 logoutToken(t, jose.ES256, other, i.logoutClaims(nil)),
		"another's key, unknown kid":    logoutToken(t, jose.ES256, other, i.logoutClaims(nil), "kid", "two"),
		"the signature of other claims": parts[0] + "." + base64.RawURLEncoding.EncodeToString(twice[:len(twice)-1]) + "." + parts[2],
		"no signature":                  parts[0] + "." + parts[1] + ".",
		"iss absent":                    without("iss"),
		"iss no text":                   set("iss", 1),
		"aud absent":                    without("aud"),
		"aud empty":                     set("aud", []string{}),
		"aud no text":                   set("aud", object{}),
		"iat absent":                    without("iat"),
		"iat no number":                 set("iat", "1"),
		"made in the future":            set("iat", time.Now().Add(10*time.Minute).Unix()),
		"expired":                       set("exp", time.Now().Add(-time.Minute).Unix()),
		"exp no number":                 set("exp", "2099"),
		"exp in milliseconds":           set("exp", time.Now().UnixMilli()),
		"old, and without exp": es(func(c object) {
			delete(c, "exp")
			c["iat"] = time.Now().Add(-3 * time.Minute).Unix()
		}),
		"too old, though not expired": set("iat", time.Now().Add(-2*time.Hour).Unix()),
		"not yet good":                set("nbf", time.Now().Add(time.Hour).Unix()),
		"events absent":               without("events"),
		"events null":                 set("events", nil),
		"events a text":               set("events", event),
		"events a list":               set("events", []string{event}),
		"another event":               set("events", object{"http://schemas.openid.net/event/other": object{}}),
		"the event is no object":      set("events", object{event: true}),
		"the event is null":           set("events", object{event: nil}),
		"nonce":                       set("nonce", "n"),
		"nonce, even null":            set("nonce", nil),
		"Nonce":                       set("Nonce", "n"),
		"neither sub nor sid":         es(func(c object) { delete(c, "sub"); delete(c, "sid") }),
		"sub empty":                   set("sub", ""),
		"sub no text":                 set("sub", 7),
		"sid null":                    set("sid", nil),
		"sid a list":                  set("sid", []string{"s1"}),
		"sid too long":                set("sid", strings.Repeat("s", 257)),
		"jti absent":                  without("jti"),
		"jti no text":                 set("jti", 1),
		"typ of an access token":      es(nil, "typ", "at+jwt"),
		"typ of an event":             es(nil, "typ", "secevent+jwt"),
		"typ empty":                   es(nil, "typ", ""),
		"typ no text":                 es(nil, "typ", 1),
		"crit":                        es(nil, "crit", []string{"x"}, "x", 1),
		"a name twice":                raw(`{"sid":"s2",` + string(twice[1:])),
		"an inner name twice":         raw(strings.Replace(string(twice), `"events":{`, `"events":{"`+event+`":{},`, 1)),
		"a twin of a name":            raw(`{"ISS":"x",` + string(twice[1:])),
		"claims that are no object":   raw(`[]`),
		"an ID token":                 signed(jose.ES256, i.key, object{"iss": i.URL, "aud": clientID, "sub": "u1", "sid": "s1", "nonce": "n", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.LogoutToken(t.Context(), token)
			if err == nil || errors.Is(err, outpost.ErrNoCredential) || errors.Is(err, outpost.ErrUnavailable) {
				t.Errorf("got %+v, %v", got, err)
			}
			if err != nil && (len(token) > 40 && strings.Contains(err.Error(), token[:40]) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "u1")) {
				t.Errorf("the error quotes the token: %v", err)
			}
		})
	}
	if _, err := p.LogoutToken(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestLogoutTokensOfOthersAreNotMine(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	for name, change := range map[string]func(object){
		"another issuer":       func(c object) { c["iss"] = "https://other.example.com" },
		"a slash more":         func(c object) { c["iss"] = i.URL + "/" },
		"another client":       func(c object) { c["aud"] = "other" },
		"other clients":        func(c object) { c["aud"] = []string{"a", "b"} },
		"a client that begins": func(c object) { c["aud"] = clientID + "2" },
	} {
		t.Run(name, func(t *testing.T) {
			got, err := p.LogoutToken(t.Context(), logoutToken(t, jose.ES256, i.key, i.logoutClaims(change)))
			if got != nil || !errors.Is(err, outpost.ErrNoCredential) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	if i.count("/.well-known/openid-configuration") != 0 {
		t.Error("the issuer was asked for what is not its own")
	}
}

func TestLogoutTokensWhenNobodyCanBeAsked(t *testing.T) {
	i := newIssuer(t)
	var keysDown atomic.Bool
	keysDown.Store(true)
	i.instead["/keys"] = func(w http.ResponseWriter, _ *http.Request) {
		if keysDown.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		write(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	}
	p := i.provider(t)
	token := logoutToken(t, jose.ES256, i.key, i.logoutClaims(nil))
	i.down.Store(true)
	if _, err := p.LogoutToken(t.Context(), token); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("no discovery: %v", err)
	}
	i.down.Store(false)
	clock := newLogoutClock()
	p = i.provider(t, func(o *oidc.Options) { o.Now = clock.now })
	for range 3 { // the second is not asked, and is no "no" either
		if _, err := p.LogoutToken(t.Context(), token); !errors.Is(err, outpost.ErrUnavailable) {
			t.Errorf("no keys: %v", err)
		}
	}
	keysDown.Store(false)
	clock.advance(11 * time.Second)
	if err := untilBelieved(t, p, token); err != nil {
		t.Errorf("healed: %v", err)
	}
}

// untilBelieved hands a token in until it is good: go-oidc may answer the next
// who asks with what the last was told, for a moment.
func untilBelieved(t *testing.T, p *oidc.Provider, token string) (err error) {
	for range 1000 {
		if _, err = p.LogoutToken(t.Context(), token); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// A flood of tokens with keys that nobody has asks the issuer once in a while,
// and a key that is new is known soon.
func TestLogoutTokensAskForKeysOnceInAWhile(t *testing.T) {
	i := newIssuer(t)
	clock := newLogoutClock()
	p := i.provider(t, func(o *oidc.Options) { o.Now = clock.now })
	forged := newKey(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 10 {
				if _, err := p.LogoutToken(context.Background(), logoutToken(t, jose.ES256, forged, i.logoutClaims(nil), "kid", "two")); err == nil {
					t.Error("a forged token is good")
				}
			}
		})
	}
	wg.Wait()
	if n := i.count("/keys"); n != 1 {
		t.Errorf("the keys were asked for %d times", n)
	}
	if _, err := p.LogoutToken(t.Context(), logoutToken(t, jose.ES256, i.key, i.logoutClaims(nil))); err != nil {
		t.Errorf("meanwhile: %v", err)
	}
	i.key = newKey(t) // the issuer has another key
	token := logoutToken(t, jose.ES256, i.key, i.logoutClaims(nil))
	clock.advance(11 * time.Second)
	if err := untilBelieved(t, p, token); err != nil {
		t.Errorf("a new key: %v", err)
	}
	if n := i.count("/keys"); n != 2 {
		t.Errorf("the keys were asked for %d times", n)
	}
}

// FuzzLogoutToken holds that nothing is a logout but what the issuer signed, and
// only when its header and claims, as any JSON reader reads them, allow it. In
// payload, ISSUER is the issuer's address; the clock stands at logoutTime.
func FuzzLogoutToken(f *testing.F) {
	i := newIssuer(f)
	p := i.provider(f, func(o *oidc.Options) { o.Now = func() time.Time { return time.Unix(logoutTime, 0) } })
	const header, payload = `{"alg":"ES256","kid":"one","typ":"logout+jwt"}`,
		`{"iss":"ISSUER","aud":"akprox","iat":1800000000,"exp":1800000120,"jti":"j","sub":"u1","sid":"s1","events":{"` + event + `":{}}}`
	valid := i.signedAsIs(f, header, payload)
	if _, err := p.LogoutToken(f.Context(), valid); err != nil {
		f.Fatal(err)
	}
	head, signature := valid[:strings.LastIndexByte(valid, '.')], valid[strings.LastIndexByte(valid, '.'):]
	f.Add(header, payload, uint16(3), byte('x'))
	f.Add(`{"alg":"ES256"}`, `{"iss":"ISSUER","aud":["x","akprox"],"iat":1799999990.5,"jti":"j","sid":"s","events":{"`+event+`":{"x":1}}}`, uint16(0), byte('.'))
	f.Fuzz(func(t *testing.T, header, payload string, at uint16, with byte) {
		signed := i.signedAsIs(t, header, payload)
		if stolen := signed[:strings.LastIndexByte(signed, '.')]; stolen != head {
			if got, err := p.LogoutToken(t.Context(), stolen+signature); err == nil || got != nil {
				t.Fatalf("believed with another token's signature: %q %q", header, payload)
			}
		}
		mutated := []byte(valid)
		mutated[len(mutated)-1-int(at)%len(mutated)] = with
		if got, err := p.LogoutToken(t.Context(), string(mutated)); err == nil && string(mutated) != valid {
			t.Fatalf("believed as %+v although a byte was changed: %s", got, mutated)
		}
		switch got, err := p.LogoutToken(t.Context(), signed); {
		case err == nil:
			i.lawfulLogout(t, header, payload, got)
		case got != nil:
			t.Fatalf("%q is no logout, and yet %+v: %v", payload, got, err)
		}
	})
}

// logoutTime is when the logout tokens of FuzzLogoutToken are handed in.
const logoutTime = 1800000000

// signedAsIs signs header and payload as they are, ISSUER in the latter being
// the issuer.
func (i *issuer) signedAsIs(t testing.TB, header, payload string) string {
	t.Helper()
	enc := base64.RawURLEncoding.EncodeToString
	head := enc([]byte(header)) + "." + enc([]byte(strings.Replace(payload, "ISSUER", i.URL, 1)))
	sum := sha256.Sum256([]byte(head))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return head + "." + enc(signature)
}

// lawfulLogout reads a token that was believed with another decoder.
func (i *issuer) lawfulLogout(t *testing.T, header, payload string, got *outpost.Logout) {
	t.Helper()
	var h, c map[string]any
	if json.Unmarshal([]byte(header), &h) != nil || json.Unmarshal([]byte(strings.Replace(payload, "ISSUER", i.URL, 1)), &c) != nil {
		t.Fatalf("believed although it is no JSON: %q %q", header, payload)
	}
	typ, typed := h["typ"].(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	if h["alg"] != "ES256" || h["crit"] != nil || h["b64"] != nil || h["typ"] != nil && (!typed || typ != "jwt" && typ != "logout+jwt") {
		t.Fatalf("believed with the header %q", header)
	}
	audience, _ := c["aud"].([]any)
	events, _ := c["events"].(map[string]any)
	_, logout := events[event].(map[string]any)
	_, nonce := c["nonce"]
	if c["iss"] != i.URL || c["aud"] != clientID && !slices.Contains(audience, any(clientID)) || !logout || nonce {
		t.Fatalf("believed: %q", payload)
	}
	for name, said := range map[string]string{"jti": got.ID, "sub": got.Subject, "sid": got.SID} {
		v, there := c[name]
		if text, _ := v.(string); text != said || there && (text == "" || len(text) > 256) {
			t.Fatalf("believed: %q as %+v", payload, got)
		}
	}
	if got.ID == "" || got.Subject+got.SID == "" {
		t.Fatalf("believed: %q as %+v", payload, got)
	}
	iat, made := c["iat"].(float64)
	exp, ends := c["exp"].(float64)
	nbf, _ := c["nbf"].(float64)
	if !made || iat > logoutTime+301 || nbf > logoutTime+301 || iat < logoutTime-3631 || ends && exp < logoutTime-31 || !ends && iat < logoutTime-151 {
		t.Fatalf("believed at the wrong time: %q", payload)
	}
	if left := got.Expires.Unix() - logoutTime; left < 0 || left > 3600+331 {
		t.Fatalf("%q is remembered for %d s", payload, left)
	}
}

// logoutClock is the time as the test says.
type logoutClock struct{ t atomic.Pointer[time.Time] }

func newLogoutClock() *logoutClock {
	c := &logoutClock{}
	now := time.Now()
	c.t.Store(&now)
	return c
}

func (c *logoutClock) now() time.Time { return *c.t.Load() }

func (c *logoutClock) advance(d time.Duration) {
	later := c.now().Add(d)
	c.t.Store(&later)
}
