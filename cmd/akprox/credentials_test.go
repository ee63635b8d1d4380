package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/akprox/akprox/cmd/akprox/check"
)

// The keys and the password of credentialsDocument.
const (
	goodKey      = "api-key-of-the-tests"
	oldKey       = "api-key-of-yesterday"
	goodPassword = "a password of the tests" // #nosec G101 -- for tests only
)

// credentialsEdits adds to the contract's document what the newer kinds need.
func credentialsEdits(t *testing.T) []string {
	t.Helper()
	hash := func(kind, text string) string {
		out, errs, status := command(t, text+"\n", "hash", kind)
		if status != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	return []string{"applications:\n  - name: wiki\n", fmt.Sprintf(`
  - name: services
    kind: apikey
    keys:
      - { name: ci, hash: %q, groups: [service-account], scopes: ["orders:read"] }
      - { name: old, hash: %q, expires: 2020-12-31 }
  - { name: people, kind: password, users: [ { username: john, name: John Smith, email: john@example.test, groups: [staff], password: %q } ] }
  - { name: tokens, kind: jwt, issuer: "http://127.0.0.1:1", audience: any }
applications:
  - name: api
    mode: forward_single
    external_url: http://api.test
    credentials: [services]
    headers: { preset: gateway }
    rules:
      - { paths: [/health], allow: anyone }
      - { paths: [/orders/**], methods: [GET, HEAD], scopes: ["orders:read"] }
      - { paths: [/orders/**], scopes: ["orders:read", "orders:write"] }
      - { paths: [/admin/**], groups: [admin] }
      - { paths: [/returns/**], scopes: ["orders:read", "orders:write"] }
  - { name: mixed, mode: forward_single, external_url: "http://mixed.test", credentials: [company, services, tokens] }
  - { name: basic, mode: forward_single, external_url: "http://basic.test", credentials: [people] }
  - { name: both, mode: forward_single, external_url: "http://both.test", credentials: [people, services], rules: [ { paths: [/machines/**], credentials: [services] } ] }
  - { name: few, mode: forward_single, external_url: "http://few.test", credentials: [services], rate_limit: { requests: 1, per: 10s } }
  - name: wiki
`, hash("key", goodKey), hash("key", oldKey), hash("password", goodPassword))}
}

// command runs the program with in as its standard input.
func command(t *testing.T, in string, args ...string) (out, errs string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(in), &o, &e)
	return o.String(), e.String(), status
}

func basicAuth(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// credentialRow is a request and its answer, alike in both dialects: nginx is
// told a redirect as 401 with Location, and what it cannot show as 403 with
// the true status beside it.
type credentialRow struct {
	url       string
	lines     []string
	status    int    // as Traefik gets it
	challenge string // WWW-Authenticate
}

const (
	browserLine = "Accept: text/html"
	foreignJWT  = "Authorization: Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJpc3MiOiJodHRwOi8vZWxzZXdoZXJlIiwic3ViIjoiYSIsImV4cCI6NDAwMDAwMDAwMH0.AAAA"
)

func credentialRows() map[string]credentialRow {
	const page, json, key, unknown = "Sec-Fetch-Mode: navigate", "Accept: application/json", "Authorization: Bearer " + goodKey, "Authorization: Bearer api-unknown"
	invalid := func(app string) string { return `Bearer realm="` + app + `", error="invalid_token"` }
	return map[string]credentialRow{
		"nothing":                        {"http://api.test/x", []string{json}, 401, `Bearer realm="api"`},
		"nothing, in a browser":          {"http://api.test/x", []string{browserLine, page}, 401, `Bearer realm="api"`},
		"another scheme":                 {"http://api.test/x", []string{basicAuth("ci", goodKey)}, 401, `Bearer realm="api"`},
		"a key":                          {"http://api.test/x", []string{key}, 200, ""},
		"a key as X-Api-Key":             {"http://api.test/x", []string{"X-Api-Key: " + goodKey}, 200, ""},
		"a key twice over":               {"http://api.test/x", []string{"X-Api-Key: " + goodKey, key}, 200, ""},
		"an expired key":                 {"http://api.test/x", []string{"Authorization: Bearer " + oldKey}, 401, invalid("api")},
		"an unknown key":                 {"http://api.test/x", []string{unknown}, 401, invalid("api")},
		"an unknown key, in a browser":   {"http://api.test/x", []string{unknown, browserLine, page}, 401, invalid("api")},
		"no key":                         {"http://api.test/x", []string{"Authorization: Bearer"}, 401, invalid("api")},
		"two words":                      {"http://api.test/x", []string{key + " x"}, 401, invalid("api")},
		"two lines":                      {"http://api.test/x", []string{key, key}, 401, invalid("api")},
		"two keys":                       {"http://api.test/x", []string{key, "X-Api-Key: " + oldKey}, 401, invalid("api")},
		"a key and a password":           {"http://api.test/x", []string{basicAuth("a", "b"), "X-Api-Key: " + goodKey}, 401, invalid("api")},
		"a scope":                        {"http://api.test/orders", []string{key}, 200, ""},
		"a scope is missing":             {"http://api.test/returns/1", []string{key}, 403, `Bearer realm="api", error="insufficient_scope", scope="orders:read orders:write"`},
		"a group is missing":             {"http://api.test/admin", []string{key}, 403, ""},
		"public":                         {"http://api.test/health", []string{json}, 200, ""},
		"public, with an unknown key":    {"http://api.test/health", []string{unknown}, 200, ""},
		"an ambiguous path":              {"http://api.test/x%00y", []string{key}, 400, ""},
		"a host of nobody":               {"http://nobody.test/x", []string{key}, 404, ""},
		"a sign-in":                      {"http://mixed.test/x", []string{browserLine, page}, 302, ""},
		"a sign-in, for a program":       {"http://mixed.test/x", []string{json, "Sec-Fetch-Mode: cors"}, 401, `Bearer realm="mixed"`},
		"an unknown key, not a sign-in":  {"http://mixed.test/x", []string{unknown, browserLine, page}, 401, invalid("mixed")},
		"an unknown X-Api-Key, likewise": {"http://mixed.test/x", []string{"X-Api-Key: api-unknown", browserLine, page}, 401, invalid("mixed")},
		"a foreign JWT, likewise":        {"http://mixed.test/x", []string{foreignJWT, browserLine, page}, 401, invalid("mixed")},
		"a key where people sign in":     {"http://mixed.test/x", []string{key, browserLine, page}, 200, ""},
		"a password page":                {"http://basic.test/x", []string{browserLine, page}, 302, ""},
		"a password page, for a script":  {"http://basic.test/x", []string{json, "Sec-Fetch-Mode: cors"}, 401, `Bearer realm="basic"`},
		"a password":                     {"http://basic.test/x", []string{basicAuth("john", goodPassword)}, 200, ""},
		"no password":                    {"http://basic.test/x", []string{json}, 401, `Basic realm="basic", charset="UTF-8"`},
		"a wrong password":               {"http://basic.test/x", []string{basicAuth("john", "wrong"), json}, 401, `Basic realm="basic", charset="UTF-8"`},
		"a key or a password":            {"http://both.test/x", []string{json}, 401, `Bearer realm="both"`},
		"a password where keys count":    {"http://both.test/machines/x", []string{basicAuth("john", goodPassword)}, 403, ""},
		"nobody where keys count":        {"http://both.test/machines/x", []string{browserLine, page}, 401, `Bearer realm="both"`},
	}
}

// TestCredentialAnswers holds both families of dialects to the contract's
// table of outcomes, for every kind of credential.
func TestCredentialAnswers(t *testing.T) {
	w := newWorld(t, credentialsEdits(t)...)
	for name, row := range credentialRows() {
		resp := w.traefik(row.url, row.lines...)
		if resp.StatusCode != row.status || resp.Header.Get("Www-Authenticate") != row.challenge || len(resp.Header["Www-Authenticate"]) > 1 {
			t.Errorf("%s: %d, WWW-Authenticate %q; not %d, %q", name, resp.StatusCode, resp.Header["Www-Authenticate"], row.status, row.challenge)
		}
		w.likeNginx(name, row)
	}
}

// likeNginx asks the same in nginx's dialect.
func (w *world) likeNginx(name string, row credentialRow) {
	w.t.Helper()
	lines := append([]string{"X-Original-URL: " + row.url, "X-Original-Method: GET", "X-Forwarded-For: 198.51.100.7"}, row.lines...)
	resp, body := w.do(w.browser(), "GET", w.url+"/akprox/auth/nginx", lines...)
	status, beside, challenge := row.status, "", row.challenge
	switch row.status {
	case http.StatusFound:
		status = http.StatusUnauthorized
	case http.StatusBadRequest, http.StatusNotFound, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		status, beside = http.StatusForbidden, strconv.Itoa(row.status)
	}
	if resp.StatusCode != status || resp.Header.Get("X-Akprox-Status") != beside || resp.Header.Get("Www-Authenticate") != challenge || body != "" {
		w.t.Errorf("%s, as nginx: %d %q, WWW-Authenticate %q, %q; not %d %q, %q", name,
			resp.StatusCode, resp.Header["X-Akprox-Status"], resp.Header["Www-Authenticate"], body, status, beside, challenge)
	}
	if has := resp.Header.Get("Location") != ""; has != (row.status == http.StatusFound) {
		w.t.Errorf("%s, as nginx: Location %q", name, resp.Header["Location"])
	}
}

// TestRateLimitAnswers: as the contract's table has them.
func TestRateLimitAnswers(t *testing.T) {
	w := newWorld(t, credentialsEdits(t)...)
	key := "Authorization: Bearer " + goodKey
	resp := w.traefik("http://few.test/x", key)
	if resp.StatusCode != 200 || resp.Header.Get("RateLimit-Policy") != `"default";q=1;w=10` || resp.Header.Get("RateLimit") != `"default";r=0;t=10` {
		t.Errorf("the first: %d %v", resp.StatusCode, resp.Header)
	}
	soon := func(h http.Header) bool {
		after, err := strconv.Atoi(h.Get("Retry-After"))
		return err == nil && after >= 1 && after <= 10
	}
	if resp = w.traefik("http://few.test/x", key); resp.StatusCode != 429 || !soon(resp.Header) || resp.Header.Get("Www-Authenticate") != "" || len(resp.Header["X-User-Id"]) > 0 {
		t.Errorf("the second: %d %v", resp.StatusCode, resp.Header)
	}
	resp, _ = w.do(w.browser(), "GET", w.url+"/akprox/auth/nginx", "X-Original-URL: http://few.test/x", "X-Original-Method: GET", key)
	if resp.StatusCode != 403 || resp.Header.Get("X-Akprox-Status") != "429" || !soon(resp.Header) {
		t.Errorf("the third, as nginx: %d %v", resp.StatusCode, resp.Header)
	}
	if resp = w.traefik("http://few.test/x"); resp.StatusCode != 401 {
		t.Errorf("nobody, whose address has not been seen: %d", resp.StatusCode)
	}
	if resp = w.traefik("http://few.test/x", "Authorization: Bearer unknown"); resp.StatusCode != 429 || !soon(resp.Header) {
		t.Errorf("a guess from there: %d %v", resp.StatusCode, resp.Header)
	}
}

// TestCheckKnowsCredentials: `akprox check` for rules about scopes, kinds and
// limits.
func TestCheckKnowsCredentials(t *testing.T) {
	text := strings.NewReplacer(append(credentialsEdits(t), "ISSUER", "http://127.0.0.1:1", "UPSTREAM", "http://127.0.0.1:1")...).Replace(contractDocument)
	file := filepath.Join(t.TempDir(), "akprox.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := command(t, "", "validate", "--config", file); status != 0 {
		t.Fatal(out, errs)
	}
	for args, want := range map[string]check.Verdict{
		"--url http://api.test/orders/1":                                                             {Outcome: "unauthorized", Reason: "no_credential", Rule: "rules[1]"},
		"--url http://api.test/orders --user ci --scopes orders:read":                                {Outcome: "allow", Reason: "allowed", Rule: "rules[1]"},
		"--url http://api.test/orders/1 --user ci --scopes reorders:readonly,orders":                 {Outcome: "forbidden", Reason: "scope_missing", Rule: "rules[1]"},
		"--url http://api.test/orders/1 --method POST --user ci --scopes orders:read":                {Outcome: "forbidden", Reason: "scope_missing", Rule: "rules[2]"},
		"--url http://api.test/orders/1 --method POST --user ci --scopes orders:write,orders:read,x": {Outcome: "allow", Reason: "allowed", Rule: "rules[2]"},
		"--url http://api.test/health":                                                               {Outcome: "allow", Reason: "public", Rule: "rules[0]"},
		"--url http://api.test/admin/x --user ci --groups service-account":                           {Outcome: "forbidden", Reason: "group_missing", Rule: "rules[3]"},
		"--url http://mixed.test/x":                                                                  {Outcome: "sign_in", Reason: "no_session", Rule: "default"},
		"--url http://basic.test/x":                                                                  {Outcome: "sign_in", Reason: "no_session", Rule: "default"},
		"--url http://both.test/machines/x":                                                          {Outcome: "unauthorized", Reason: "no_credential", Rule: "rules[0]"},
		"--url http://few.test/x --user ci":                                                          {Outcome: "allow", Reason: "allowed", Rule: "default"},
	} {
		line := append([]string{"check", "--config", file, "--json", "--expect", want.Outcome}, strings.Fields(args)...)
		for range 2 { // a limit of one is not used up by asking about it
			out, errs, status := command(t, "", line...)
			var got check.Verdict
			if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 {
				t.Errorf("%s: %d %s%s", args, status, out, errs)
				continue
			}
			if got.Outcome != want.Outcome || got.Reason != want.Reason || got.Rule != want.Rule || strings.HasPrefix(got.Rule, "rules[") != (got.Line > 0) {
				t.Errorf("%s: %+v", args, got)
			}
		}
	}
	if _, errs, status := command(t, "", "check", "--config", file, "--url", "http://api.test/x", "--expect", "allow"); status != 1 || !strings.Contains(errs, "unauthorized") {
		t.Errorf("another outcome than expected: %d %s", status, errs)
	}
}

// TestKeysFromTheCommandLine: what the commands print goes into a document as
// it is, and works there.
func TestKeysFromTheCommandLine(t *testing.T) {
	out, errs, status := command(t, "", "generate", "key")
	words := strings.Fields(out)
	if status != 0 || errs != "" || len(words) != 4 || words[0] != "key" || words[2] != "hash" {
		t.Fatalf("generate: %d %q %q", status, out, errs)
	}
	key, hash := words[1], words[3]
	if len(key) < 24 || strings.Contains(hash, key) {
		t.Errorf("key %q, hash %q", key, hash)
	}
	for _, typed := range []string{key + "\n", key, key + "\r\n"} {
		if again, errs, status := command(t, typed, "hash", "key"); status != 0 || strings.TrimSpace(again) != hash {
			t.Errorf("hash key of %q: %d %q %q", typed, status, again, errs)
		}
	}
	if other, _, _ := command(t, "", "generate", "key"); other == out {
		t.Error("the same key twice")
	}
	edits := credentialsEdits(t)
	edits[1] = strings.Replace(edits[1], "    keys:\n", fmt.Sprintf("    keys:\n      - { name: made, hash: %q }\n", hash), 1)
	w := newWorld(t, edits...)
	for _, line := range []string{"Authorization: Bearer " + key, "X-Api-Key: " + key, "authorization: bearer " + key} {
		if resp := w.traefik("http://api.test/x", line); resp.StatusCode != 200 || resp.Header.Get("X-User-Id") != "made" {
			t.Errorf("%s: %d %v", line, resp.StatusCode, resp.Header)
		}
	}
	if resp := w.traefik("http://api.test/x", "Authorization: Bearer "+hash); resp.StatusCode != 401 {
		t.Errorf("the hash for a key: %d", resp.StatusCode)
	}
	for name, c := range map[string]struct{ args, in string }{
		"nothing typed": {"hash key", ""}, "two lines": {"hash key", "a\nb\n"}, "too long": {"hash password", strings.Repeat("x", 5000)},
		"hash what": {"hash", "x"}, "hash of what": {"hash token", "x"}, "generate what": {"generate password", ""},
	} {
		if out, errs, status := command(t, c.in, strings.Fields(c.args)...); status == 0 || out != "" || errs == "" {
			t.Errorf("%s: %d %q %q", name, status, out, errs)
		}
	}
	if first, _, _ := command(t, goodPassword, "hash", "password"); !strings.HasPrefix(first, "$argon2id$") {
		t.Errorf("hash password: %q", first)
	}
}
