package e2e_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// atEdges are the checks that run behind every proxy, at once.
var atEdges = []struct {
	name string
	run  func(t *testing.T, g *gateway, edge string)
}{
	{"G1 a bearer token opens and nothing else does", g1Bearer},
	{"G1 odd Authorization", g1Odd},
	{"API keys", apiKeys},
	{"G5 Authorization stays at the edge", g5Stripped},
	{"G6 identity headers", g6Identity},
	{"G7 forged identity", g7Forged},
	{"G6 G11 opaque tokens of Hydra", g11Hydra},
	{"G11 scopes", g11Scopes},
	{"G12 public paths", g12Public},
	{"G15 webhooks", g15Webhooks},
	{"G16 one application at a time", g16PassThrough},
}

// onOpaque are the checks of introspection, and of what needs no proxy.
var onOpaque = []struct {
	name string
	run  func(t *testing.T, g *gateway)
}{
	{"G2 the question", g2Question},
	{"G4 inactive tokens", g4Inactive},
	{"G8 one question for a hundred requests", g8Cache},
	{"G8 one question for fifty at once", g8SingleFlight},
	{"G8 a question never waits longer than its timeout", g8Hang},
	{"G14 proxy mode", g14Proxy},
	{"G10 a second instance", g10SecondInstance},
}

// TestGateway runs the checks of the gateway, by their ids in the seed's
// table; the last ones turn the issuers off.
func TestGateway(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	t.Run("edges", func(t *testing.T) {
		for _, f := range edges {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				for _, c := range atEdges {
					t.Run(c.name, func(t *testing.T) { c.run(t, g, f.name) })
				}
			})
		}
	})
	t.Run("G3 JWTs are checked here", func(t *testing.T) { g3Local(t, g) })
	t.Run("once", func(t *testing.T) {
		t.Run("G3 keys and key ids", func(t *testing.T) { // waits for most of its time
			t.Parallel()
			g3Keys(t, g)
		})
		t.Run("opaque", func(t *testing.T) {
			t.Parallel()
			for _, c := range onOpaque {
				t.Run(c.name, func(t *testing.T) { c.run(t, g) })
			}
		})
	})
	t.Run("G8 the issuer is down", func(t *testing.T) { g8Down(t, g) })
}

func g1Bearer(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	alice := g.opaqueToken(t, "alice")
	if got := c.want(http.StatusOK, "/x", bearer(alice)).echo(t).Header["X-User-Id"]; !slices.Equal(got, []string{"alice"}) {
		t.Errorf("the program was told %q", got)
	}
	c.want(http.StatusOK, "/x", with(program, "Authorization", "bEARER "+alice))
	realm := fmt.Sprintf(`Bearer realm="api-%s"`, edge)
	for name, h := range map[string]http.Header{
		"a program": program, "a browser": navigation, "nothing at all": {}, "an empty cookie": with(program, "Cookie", "akprox_x="),
	} {
		r := c.want(http.StatusUnauthorized, "/x", h)
		if got := r.header["Www-Authenticate"]; !slices.Equal(got, []string{realm}) || r.header.Get("Location") != "" {
			t.Errorf("%s without a token: WWW-Authenticate %q, Location %q", name, got, r.header.Get("Location"))
		}
	}
	c.want(http.StatusUnauthorized, "/x", with(program, "Authorization", "Basic abc"+alice))
	c.want(http.StatusUnauthorized, "/x?access_token="+alice+"&token="+alice, program)
	r := c.want(http.StatusUnauthorized, "/x", bearer("made-up-"+alice))
	if got := r.header["Www-Authenticate"]; !slices.Equal(got, []string{realm + `, error="invalid_token"`}) {
		t.Errorf("a bad token: %q", got)
	}
}

// g1Odd: whatever is not exactly one good bearer token is refused, by the
// proxy or by akprox.
func g1Odd(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	alice, bob := g.opaqueToken(t, "alice"), g.opaqueToken(t, "bob")
	for _, value := range []string{
		"Bearer", "Bearer ", alice, "Token " + alice, "Bearer" + alice, "Bearer " + alice + " " + alice, "Bearer " + alice + ", Bearer " + alice,
		"Bearer \"" + alice + "\"", "Bearer " + alice[:len(alice)-1], "Bearer " + alice + "=", "Bearer t\xc3\xb6ken", "Bearer\t" + alice, "Basic Basic " + alice,
		"Bearer " + strings.Repeat("a", 20<<10), "Basic OmNp", "Negotiate " + alice, "Bearer ..", "Bearer a.b.c", "Bearer " + alice + ".x.y",
	} {
		if r := c.get("/x", with(program, "Authorization", value)); r.status < 400 || r.status >= 500 || r.header.Get("Location") != "" {
			t.Errorf("Authorization: %.80q: %d %.200s", value, r.status, r.body)
		}
	}
	for name, h := range map[string]http.Header{
		"two tokens":          {"Authorization": {"Bearer " + alice, "Bearer " + bob}},
		"one token twice":     {"Authorization": {"Bearer " + alice, "Bearer " + alice}},
		"a token and Basic":   {"Authorization": {"Bearer " + alice, "Basic YTpi"}},
		"Basic and a token":   {"Authorization": {"Basic YTpi", "Bearer " + alice}},
		"a token and a key":   {"Authorization": {"Bearer " + alice}, "X-Api-Key": {unknownKey}},
		"a token and an old":  {"Authorization": {"Bearer " + alice}, "X-Api-Key": {"gateway-test-key-of-yesterday"}},
		"a key and another":   {"X-Api-Key": {"gateway-test-key-of-ci", unknownKey}},
		"a key and the wrong": {"X-Api-Key": {"gateway-test-key-of-ci"}, "Authorization": {"Bearer " + unknownKey}},
	} {
		if r := c.get("/x", h); r.status < 400 || r.status >= 500 {
			t.Errorf("%s: %d %.200s", name, r.status, r.body)
		}
	}
}

func apiKeys(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	const key, old = "gateway-test-key-of-ci", "gateway-test-key-of-yesterday"
	for _, h := range []http.Header{
		bearer(key), with(program, "X-Api-Key", key), with(navigation, "X-Api-Key", key), bearer(key, "X-Api-Key", key), with(program, "Authorization", "bearer "+key),
	} {
		e := c.want(http.StatusOK, "/machines/x", h).echo(t)
		if e.Header.Get("X-User-Id") != "ci" || e.Header.Get("X-User-Scope") != "orders:read" || e.Header["Authorization"] != nil {
			t.Errorf("the program was told %v", e.Header)
		}
	}
	c.want(http.StatusOK, "/orders/1", bearer(key))
	invalid := fmt.Sprintf(`Bearer realm="api-%s", error="invalid_token"`, edge)
	for name, h := range map[string]http.Header{
		"expired": bearer(old), "expired, X-Api-Key": with(program, "X-Api-Key", old),
		"unknown": bearer(unknownKey), "unknown, X-Api-Key": with(program, "X-Api-Key", unknownKey),
		"unknown, by a browser": with(navigation, "Authorization", "Bearer "+unknownKey), "unknown, by a browser, X-Api-Key": with(navigation, "X-Api-Key", unknownKey),
		"empty": with(program, "X-Api-Key", ""), "its hash": bearer("sha256:76a1"), "longer": bearer(key + "x"), "in capitals": bearer(strings.ToUpper(key)),
	} {
		r := c.want(http.StatusUnauthorized, "/x", h)
		if got := r.header.Get("Www-Authenticate"); got != invalid || r.header.Get("Location") != "" {
			t.Errorf("%s: WWW-Authenticate %q, Location %q", name, got, r.header.Get("Location"))
		}
	}
	c.want(http.StatusUnauthorized, "/x?api_key="+key+"&X-Api-Key="+key, program)
	if r := c.get("/machines/x", bearer(g.opaqueToken(t, "alice"))); r.status != http.StatusForbidden || strings.Contains(r.header.Get("Www-Authenticate"), "error") {
		t.Errorf("where keys alone count, a good token got %d %q", r.status, r.header["Www-Authenticate"])
	}
}

func g5Stripped(t *testing.T, g *gateway, edge string) {
	api, kept := g.at(t, edge, apiHost), g.at(t, edge, tokenHost)
	for name, alice := range map[string]string{"opaque": g.opaqueToken(t, "alice"), "jwt": g.jwtToken(t, "alice"), "key": "gateway-test-key-of-ci"} {
		if got := api.want(http.StatusOK, "/x", bearer(alice)).echo(t).Header["Authorization"]; got != nil {
			t.Errorf("%s: the program was told %q", name, got)
		}
		if got := kept.want(http.StatusOK, "/x", bearer(alice)).echo(t).Header["Authorization"]; !slices.Equal(got, []string{"Bearer " + alice}) {
			t.Errorf("%s: with pass_token the program was told %q", name, got)
		}
	}
	if got := api.want(http.StatusOK, "/health", with(program, "Authorization", "Basic YTpi")).echo(t).Header["Authorization"]; got != nil {
		t.Errorf("on a public path the program was told %q", got)
	}
}

func g6Identity(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	for name, want := range map[string]struct{ token, id, scope string }{
		"opaque":            {g.opaqueToken(t, "alice", "profile", "email"), "alice", "profile email"},
		"opaque, no scopes": {g.opaqueToken(t, "bob"), "bob", ""},
		"jwt":               {g.jwtToken(t, "alice", "api:read", "api:write"), "alice", "api:read api:write"},
	} {
		h := c.want(http.StatusOK, "/x", bearer(want.token)).echo(t).Header
		if h.Get("X-User-Id") != want.id || h.Get("X-User-Scope") != want.scope || h.Get("X-User-Email") != "" {
			t.Errorf("%s: the program was told %q %q %q", name, h["X-User-Id"], h["X-User-Scope"], h["X-User-Email"])
		}
	}
}

// g7Forged: what a client says about itself never reaches the program, with a
// token and without one.
func g7Forged(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	forged := []string{
		"X-User-Id", "admin", "X-User-Scope", "orders:write everything", "X-User-Email", "admin@example.test",
		"X_User_Id", "admin", "X.User.Id", "admin", "x-user_id", "admin",
	}
	want := func(name string, e parts.Echoed, id []string) {
		t.Helper()
		for header, values := range e.Header {
			folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(header))
			if !strings.HasPrefix(folded, "x-user-") || folded == "x-user-agent" {
				continue
			}
			if header == "X-User-Id" && slices.Equal(values, id) || strings.Join(values, "") == "" {
				continue
			}
			t.Errorf("%s: the program was told %s: %q", name, header, values)
		}
	}
	want("alice", c.want(http.StatusOK, "/x", bearer(g.opaqueToken(t, "alice"), forged...)).echo(t), []string{"alice"})
	twice := bearer(g.opaqueToken(t, "alice"))
	twice["X-User-Id"] = []string{"admin", "root"}
	want("alice, twice", c.want(http.StatusOK, "/x", twice).echo(t), []string{"alice"})
	for name, h := range map[string]http.Header{
		"nobody": with(program, forged...), "a bad token": bearer("made-up", forged...), "Connection": with(program, append(forged, "Connection", "X-User-Id")...),
	} {
		if r := c.get("/health", h); r.status == http.StatusOK {
			want(name+" on a public path", r.echo(t), nil)
		} else if r.status >= 500 {
			t.Errorf("%s on a public path: %d", name, r.status)
		}
	}
	want("a public path with a token", c.want(http.StatusOK, "/health", bearer(g.opaqueToken(t, "bob"), forged...)).echo(t), []string{"bob"})
}

func g11Scopes(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	const reader, writer, other = "gateway-test-key-of-reader", "gateway-test-key-of-writer", "gateway-test-key-of-other"
	for _, path := range []string{"/orders", "/orders/", "/orders/1/lines?all=1"} {
		c.want(http.StatusOK, path, bearer(reader))
		r := c.want(http.StatusForbidden, path, bearer(other))
		want := fmt.Sprintf(`Bearer realm="api-%s", error="insufficient_scope", scope="orders:read"`, edge)
		if got := r.header["Www-Authenticate"]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s: WWW-Authenticate %q", path, got)
		}
		if r := c.want(http.StatusUnauthorized, path, program); strings.Contains(r.header.Get("Www-Authenticate"), "error") {
			t.Errorf("%s without a token: %q", path, r.header["Www-Authenticate"])
		}
	}
	for _, path := range []string{"//orders/1", "/x/../orders/1", "/%6frders/1", "/x/%2e%2e/orders/1", "/orders%2f1"} {
		if r := c.get(path, bearer(other)); r.status == http.StatusOK {
			t.Errorf("%s: %s", path, r.body)
		}
	}
	for name, want := range map[string]int{reader: http.StatusForbidden, writer: http.StatusOK} {
		for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodPatch} {
			if r := c.send(method, c.base+"/orders/1", bearer(name, "X-Http-Method-Override", "GET", "X-Forwarded-Method", "GET", "X-Original-Method", "GET"), []byte("{}")); r.status != want {
				t.Errorf("%s: %d, not %d", method, r.status, want)
			}
		}
	}
	if r := c.send(http.MethodHead, c.base+"/orders/1", bearer(reader), nil); r.status != http.StatusOK {
		t.Errorf("HEAD: %d", r.status)
	}
	c.want(http.StatusOK, "/jwt/x", bearer(g.jwtToken(t, "alice", "api:read")))
	r := c.want(http.StatusForbidden, "/jwt/x", bearer(g.jwtToken(t, "alice", "api:write")))
	if got := r.header.Get("Www-Authenticate"); !strings.Contains(got, `scope="api:read"`) {
		t.Errorf("a JWT without the scope: %q", got)
	}
}

func g12Public(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, apiHost)
	for _, path := range []string{"/health", "/docs", "/docs/x", "/docs/a/b.html?q=1", "/health?x=/api"} {
		e := c.want(http.StatusOK, path, program).echo(t)
		if e.Header.Get("X-User-Id") != "" {
			t.Errorf("%s: the program was told %q", path, e.Header["X-User-Id"])
		}
		c.want(http.StatusOK, path, bearer("made-up"))
	}
	for _, path := range []string{
		"/docsecret", "/docs/../api", "/docs/%2e%2e/api", "/docs%2f..%2fapi", "/docs/..%2fapi", "/docs/..;/api", "/docs/%252e%252e/api", "/health/x", "/Health",
		"/healthz", "/docs/..\\api", "/docs/..%5capi", "/api?/health", "/api;/health", "//api/health", "/api%3f/docs/x", "/", "/health/../api",
	} {
		if r := c.get(path, program); r.status == http.StatusOK || r.status >= 500 {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
	}
}

// g15Webhooks: a webhook's signature is its program's business. It arrives as
// it was sent; what stands in Authorization does so with pass_token.
func g15Webhooks(t *testing.T, g *gateway, edge string) {
	signatures := []string{
		"X-Hub-Signature-256", "sha256=00ff", "Stripe-Signature", "t=1,v1=ab,v0=cd", "Signature", `sig1=:YWJj:`, "Signature-Input", `sig1=("@method");created=1`,
		"Digest", "SHA-256=YWJj", "X-Slack-Signature", "v0=ab", "Webhook-Id", "msg_1", "X-Signature", "a b  c",
	}
	for host, authorization := range map[string]bool{apiHost: false, tokenHost: true} {
		c := g.at(t, edge, host)
		for _, credential := range []string{"", `Signature keyId="k",algorithm="hs2019",signature="YWJj"`, "Bearer of-somebody-else", "Basic YTpi"} {
			h := with(program, signatures...)
			if credential != "" {
				h["Authorization"] = []string{credential}
			}
			e := c.send(http.MethodPost, c.base+"/webhooks/github?x=1", h, []byte(`{"a": 1}`)).echo(t)
			for i := 0; i < len(signatures); i += 2 {
				if got := e.Header[signatures[i]]; !slices.Equal(got, signatures[i+1:i+2]) {
					t.Errorf("%s: %s arrived as %q", host, signatures[i], got)
				}
			}
			if got := e.Header.Get("Authorization"); authorization && got != credential || !authorization && got != "" {
				t.Errorf("%s: Authorization %q arrived as %q", host, credential, got)
			}
			if e.BodyLength != 8 || e.RequestURI != "/webhooks/github?x=1" {
				t.Errorf("%s: arrived: %+v", host, e)
			}
		}
	}
	if r := g.at(t, edge, apiHost).get("/webhooks/github", program); r.status != http.StatusUnauthorized {
		t.Errorf("GET, which the rule does not name: %d", r.status)
	}
}

// g16PassThrough: of two applications behind one akprox, one is guarded and
// the other still lets everything through, for its program to look at.
func g16PassThrough(t *testing.T, g *gateway, edge string) {
	open, api := g.at(t, edge, openHost), g.at(t, edge, apiHost)
	for _, path := range []string{"/", "/anything?x=1", "/orders/1"} {
		api.want(http.StatusUnauthorized, path, program)
		e := open.want(http.StatusOK, path, bearer("of-its-own-issuer", "X-User-Id", "admin")).echo(t)
		if e.Header.Get("Authorization") != "Bearer of-its-own-issuer" || e.Header.Get("X-User-Id") != "" {
			t.Errorf("%s: the program was told %v", path, e.Header)
		}
	}
}
