package main

import (
	"slices"
	"strings"
	"testing"
)

// hostileCase is one question of one row of docs/security-tests.md, put
// through every dialect to which it applies.
type hostileCase struct {
	id, name string
	only     string // dialects, separated by blanks; "": every one, proxy mode too
	ask      asked  // what is not set here is a page of somebody's who is not known
	lines    []string
	drop     string // the beginning of a line that does not arrive
	want     string // an outcome
	user     string // with allow: whose identity is told
}

// forwardedFamily are the dialects that read X-Forwarded-*.
const forwardedFamily = "traefik caddy haproxy"

// hostileCases are the rows that one question can show. Those that need a way
// through several are in matrix_ways_test.go.
var hostileCases = []hostileCase{
	{id: "CVE-2026-25748", name: "not base64", lines: []string{"Cookie: COOKIE=%%%not-base64"}, want: "sign_in"},
	{id: "CVE-2026-25748", name: "nothing", lines: []string{"Cookie: COOKIE="}, want: "sign_in"},
	{id: "CVE-2026-25748", name: "the right form", lines: []string{"Cookie: COOKIE=" + strings.Repeat("A", 80)}, want: "sign_in"},
	{id: "CVE-2026-25748", name: "a good one, changed", ask: asked{who: "broken cookie"}, want: "sign_in"},
	{id: "own-prefix", name: "a name that goes on", only: "nginx traefik caddy envoy haproxy", ask: asked{uri: "/akproxfoo"}, want: "sign_in"},
	{id: "own-prefix", name: "out of it again", only: "nginx traefik caddy envoy haproxy", ask: asked{uri: "/akprox/../admin"}, want: "sign_in"},
	{id: "own-prefix", name: "a page of ours, and out again", only: "nginx traefik caddy envoy haproxy", ask: asked{uri: "/akprox/start/..%2f..%2fadmin"}, want: "sign_in"},
	{id: "domain-suffix", name: "a host that only ends alike", ask: asked{host: "evil-example.test"}, want: "unknown_host"},
	{id: "domain-suffix", name: "the domain as a beginning", ask: asked{host: "example.test.evil.test"}, want: "unknown_host"},
	{id: "query-is-no-path", name: "a public path in the query", ask: asked{uri: "/admin?x=/public/x"}, want: "sign_in"},
	{id: "query-is-no-path", name: "for who may not", ask: asked{uri: "/admin?x=/public/x", who: "bob"}, want: "forbidden"},
	{id: "CVE-2023-36456", name: "an address that is none", ask: asked{uri: "/internal/x", who: "bob", client: "a"}, want: "forbidden"},
	{id: "CVE-2024-47070", name: "one that is none before the proxy's", ask: asked{uri: "/internal/x", who: "bob", client: "10.0.0.1, a, 127.0.0.1"}, want: "forbidden"},
	{id: "CVE-2024-47070", name: "the client's own claim at the left", ask: asked{uri: "/internal/x", who: "key", client: "10.0.0.1, 198.51.100.7"}, want: "allow", user: "ci"}, // the rule on the network is not the one that fits
	{id: "CVE-2025-54576", name: "a public pattern in the query", ask: asked{uri: "/orders/private?path=/health"}, want: "sign_in"},
	{id: "CVE-2025-64484", name: "underscores", ask: asked{who: "bob"}, lines: []string{"X_Auth_Username: root", "X_Forwarded_User: root"}, want: "allow", user: "bob"},
	{id: "CVE-2026-54763", name: "an underscore", ask: asked{who: "bob"}, lines: []string{"X-Auth_Username: root"}, want: "allow", user: "bob"},
	{id: "CVE-2026-88011", name: "dots", ask: asked{who: "bob"}, lines: []string{"X.Auth.Username: root"}, want: "allow", user: "bob"},
	{id: "CVE-2026-52845", name: "nobody, underscores", ask: asked{uri: "/health"}, lines: []string{"X_Auth_Username: root"}, want: "allow"},
	{id: "CVE-2026-34457", name: "a load balancer's name", lines: []string{"User-Agent: GoogleHC/1.0"}, want: "sign_in"},
	{id: "CVE-2026-34457", name: "an orchestrator's name", lines: []string{"User-Agent: kube-probe/1.32"}, want: "sign_in"},
	{id: "CVE-2026-41059", name: "an encoded #", ask: asked{uri: "/old/x%23/../../health"}, want: "forbidden"},
	{id: "CVE-2026-41059", name: "an encoded # before the public path", ask: asked{uri: "/foo/secret%23/../../health"}, want: "sign_in"},
	{id: "CVE-2026-41059", name: "a literal #", ask: asked{uri: "/foo/secret#/../../health"}, want: "bad_request"},
	{id: "CVE-2026-48794", name: "a capital in the middle", ask: asked{host: "a.B.example.test", uri: "/old/x", who: "alice"}, want: "forbidden"},
	{id: "CVE-2026-48794", name: "and the way in", ask: asked{host: "a.B.example.test", who: "bob"}, want: "allow", user: "bob"},
	{id: "CVE-2026-77560", name: "capitals", only: "nginx traefik caddy envoy haproxy", ask: asked{host: "WIKI.example.test", uri: "/old/x", who: "alice"}, want: "forbidden"},
	{id: "CVE-2026-77560", name: "the default port", only: "nginx traefik caddy envoy haproxy", ask: asked{host: "wiki.example.test:80", uri: "/admin", who: "bob"}, want: "forbidden"},
	{id: "CVE-2026-77560", name: "a dot at the end", only: "nginx traefik caddy envoy haproxy", ask: asked{host: "wiki.example.test.", uri: "/admin"}, want: "sign_in"},
	{id: "CVE-2026-77560", name: "proxy mode", only: "proxy", ask: asked{host: "LEGACY.test.:80", uri: "/old/x", who: "alice"}, want: "forbidden"},
	{id: "GHSA-xg2q", name: "an empty URI", only: forwardedFamily, lines: []string{"X-Forwarded-Uri: "}, drop: "X-Forwarded-Uri: /", want: "bad_request"},
	{id: "GHSA-xg2q", name: "no URI", only: forwardedFamily, drop: "X-Forwarded-Uri", want: "bad_request"},
	{id: "one-family", name: "the public page in the other family", only: forwardedFamily, lines: []string{"X-Original-URL: http://wiki.example.test/health", "X-Original-URI: /health"}, want: "sign_in"},
	{id: "one-family", name: "the public page in the forwarded family", only: "nginx", lines: []string{"X-Forwarded-Host: wiki.example.test", "X-Forwarded-Uri: /health", "X-Forwarded-Proto: http"}, want: "sign_in"},
	{id: "one-family", name: "the public page beside the request itself", only: "proxy envoy", lines: []string{"X-Original-URL: http://legacy.test/health", "X-Forwarded-Uri: /health", "X-Forwarded-Method: GET"}, want: "sign_in"},
	{id: "CVE-2026-33494", name: "dots", ask: asked{uri: "/public/../admin"}, want: "sign_in"},
	{id: "CVE-2026-33494", name: "dots, encoded", ask: asked{uri: "/public/%2e%2e/admin", who: "bob"}, want: "forbidden"},
	{id: "CVE-2026-33494", name: "an encoded slash", ask: asked{uri: "/public/..%2fadmin", who: "bob"}, want: "forbidden"},
	{id: "CVE-2026-33494", name: "encoded twice", ask: asked{uri: "/public/%252e%252e%252fadmin", who: "bob"}, want: "forbidden"},
	{id: "CVE-2026-33494", name: "who may both", ask: asked{uri: "/public/..%2fadmin", who: "alice"}, want: "allow", user: "alice"},
	{id: "CVE-2021-39206", name: "two of the host", only: forwardedFamily, lines: []string{"X-Forwarded-Host: auth.example.test"}, want: "bad_request"},
	{id: "CVE-2021-39206", name: "two of the scheme", lines: []string{"X-Forwarded-Proto: https"}, only: forwardedFamily + " proxy envoy", want: "bad_request"},
	{id: "CVE-2021-39206", name: "two of the method", only: forwardedFamily, lines: []string{"X-Forwarded-Method: GET"}, want: "bad_request"},
	{id: "CVE-2021-39206", name: "two of the URL", only: "nginx", lines: []string{"X-Original-URL: http://wiki.example.test/health"}, want: "bad_request"},
	{id: "CVE-2026-30851", name: "nobody, at a public page", only: "nginx traefik haproxy envoy proxy", ask: asked{uri: "/health", forged: true}, want: "allow"},
	{id: "CVE-2026-30851", name: "nobody, at a public page, where the proxy would pass it on", only: "caddy", ask: asked{uri: "/health", forged: true}, want: "bad_request"},
	{id: "CVE-2026-30851", name: "somebody", ask: asked{who: "bob", forged: true}, want: "allow", user: "bob"},
	{id: "CVE-2026-27588", name: "a Host in capitals", only: "proxy envoy", ask: asked{host: "LEGACY.TEST", uri: "/old/x", who: "alice"}, want: "forbidden"},
	{id: "CVE-2024-45410", name: "Connection took the host", only: forwardedFamily, drop: "X-Forwarded-Host", want: "bad_request"},
	{id: "CVE-2024-45410", name: "Connection took the scheme", only: forwardedFamily, drop: "X-Forwarded-Proto", want: "bad_request"},
	{id: "GHSA-92mv", name: "Connection took the URI", only: forwardedFamily, drop: "X-Forwarded-Uri", ask: asked{uri: "/health"}, want: "bad_request"},
	{id: "GHSA-92mv", name: "Connection took the method", only: forwardedFamily, drop: "X-Forwarded-Method", ask: asked{uri: "/public/x"}, want: "sign_in"},
	{id: "CVE-2026-35051", name: "a prefix", lines: []string{"X-Forwarded-Prefix: /public"}, want: "sign_in"},
	{id: "CVE-2026-39858", name: "a twin of the scheme", only: forwardedFamily + " envoy proxy", lines: []string{"X_Forwarded_Proto: https"}, want: "bad_request"},
	{id: "CVE-2026-39858", name: "a twin of the URI", only: forwardedFamily, lines: []string{"X-Forwarded_Uri: /health"}, want: "bad_request"},
	{id: "CVE-2026-39858", name: "a twin of the URL", only: "nginx", lines: []string{"X_Original_URL: http://wiki.example.test/health"}, want: "bad_request"},
	{id: "CVE-2026-39858", name: "a twin of the client's address", lines: []string{"X.Forwarded.For: 10.0.0.1"}, want: "bad_request"},
	{id: "CVE-2026-54764", name: "a port", lines: []string{"X-Forwarded-Port: 443"}, want: "sign_in"},
	{id: "CVE-2026-40912", name: "a single dot", ask: asked{uri: "/./admin", who: "bob"}, want: "forbidden"},
	{id: "excluded-path", name: "dots", ask: asked{uri: "/private/../health"}, want: "sign_in"},
	{id: "excluded-path", name: "an encoded slash", ask: asked{uri: "/private/..%2fhealth"}, want: "sign_in"},
	{id: "excluded-path", name: "a parameter", ask: asked{uri: "/health/..;/private"}, want: "sign_in"},
	{id: "excluded-path", name: "a NUL", ask: asked{uri: "/health/%00"}, want: "bad_request"},
	{id: "excluded-path", name: "two slashes and a scheme in the query", ask: asked{uri: "//x/health?x=://"}, want: "sign_in"},
	{id: "S-method", name: "a write to what may be read", ask: asked{uri: "/public/x", method: "POST"}, want: "sign_in"},
	{id: "S-method", name: "no method told", only: "nginx " + forwardedFamily, ask: asked{uri: "/public/x", method: "-"}, want: "sign_in"},
	{id: "S-two-lines", name: "of the URI", only: forwardedFamily, lines: []string{"X-Forwarded-Uri: /health"}, want: "bad_request"},
	{id: "S-two-lines", name: "of the URI, alike", only: forwardedFamily, ask: asked{uri: "/health"}, lines: []string{"X-Forwarded-Uri: /health"}, want: "bad_request"},
	{id: "S-at-sign", name: "in the host", ask: asked{host: "legacy.test@wiki.example.test"}, want: "bad_request"},
	{id: "S-at-sign", name: "for a slash", only: forwardedFamily, ask: asked{uri: "@wiki.example.test/health"}, want: "bad_request"},
	{id: "S-at-sign", name: "glued to the endpoint", only: "envoy", ask: asked{uri: "@wiki.example.test/health"}, want: "refused"},
	{id: "S-scheme", name: "javascript", ask: asked{scheme: "javascript"}, want: "bad_request"},
	{id: "S-scheme", name: "two in one", ask: asked{scheme: "https,http"}, want: "bad_request"},
	{id: "S-bad-escape", name: "no hex", ask: asked{uri: "/%zz"}, want: "bad_request"},
	{id: "S-bad-escape", name: "cut short", ask: asked{uri: "/health%2"}, want: "bad_request"},
	{id: "S-cookies", name: "a length of its own", lines: []string{"Cookie: COOKIE_1of50000000=a"}, want: "sign_in"},
	{id: "S-cookies", name: "two hundred", lines: []string{"Cookie: " + strings.Repeat("COOKIE=x; ", 200)}, want: "sign_in"},
	{id: "S-cookies", name: "half a mebibyte", lines: []string{"Cookie: COOKIE=" + strings.Repeat("a", 1<<19)}, want: "sign_in"},
	{id: "S-made-up-session", name: "an id of the client's", lines: []string{"Cookie: COOKIE=c2Vzc2lvbi1pZC1vZi1teS1vd24tY2hvb3Npbmc="}, want: "sign_in"},
	{id: "S-made-up-session", name: "another application's session", only: "nginx traefik caddy envoy haproxy", ask: asked{who: "another's cookie"}, want: "sign_in"},
	{id: "S-typed", name: "a key as a password", lines: []string{"Authorization: Basic " + matrixKey}, want: "sign_in"},
	{id: "S-typed", name: "a key as a cookie", lines: []string{"Cookie: COOKIE=" + matrixKey}, want: "sign_in"},
	{id: "S-typed", name: "a session as a token", lines: []string{"Authorization: Bearer SESSION"}, want: "unauthorized"},
	{id: "S-typed", name: "two keys", lines: []string{"Authorization: Bearer " + matrixKey, "X-Api-Key: other"}, want: "unauthorized"},
}

func TestHostileRows(t *testing.T) {
	m := newMatrixWorld(t)
	n := 0
	for _, c := range hostileCases {
		for _, name := range dialects(t) {
			if c.only != "" && !slices.Contains(strings.Fields(c.only), name) {
				continue
			}
			n++
			t.Run(c.id+"/"+c.name+"/"+name, func(t *testing.T) { m.hostile(t, c, name) })
		}
	}
	t.Logf("%d cases of %d questions", n, len(hostileCases))
}

func (m *matrixWorld) hostile(t *testing.T, c hostileCase, name string) {
	m.t = t
	a := c.ask
	a.dialect = name
	for _, d := range []struct {
		field *string
		plain string
	}{{&a.method, "GET"}, {&a.scheme, "http"}, {&a.host, "wiki.example.test"}, {&a.uri, "/page"}, {&a.client, "198.51.100.7"}, {&a.who, "nobody"}, {&a.kind, "page"}} {
		if *d.field == "" {
			*d.field = d.plain
		}
	}
	if name == "proxy" && c.ask.host == "" || name == "envoy" && strings.HasPrefix(a.host, "LEGACY") {
		a.host = map[bool]string{true: "legacy.test", false: "LEGACY.test"}[c.ask.host == ""]
	}
	if name == "proxy" && strings.HasSuffix(a.host, "B.example.test") {
		a.host = "LEGACY.test"
	}
	session := inCookies.FindStringSubmatch(m.credentials["bob"](a.host)[0])
	lines := slices.Clone(c.lines)
	for i := range lines {
		lines[i] = strings.NewReplacer("COOKIE", session[1], "SESSION", session[2]).Replace(lines[i])
	}
	if a.method == "-" {
		a.method = ""
	}
	want := expected{outcome: c.want, user: c.user, navigation: modelNavigation(a)}
	if problem := disagreement(a, want, m.askWithout(a, c.drop, lines...)); problem != "" {
		t.Error(problem)
	}
}
