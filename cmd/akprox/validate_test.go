package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plain is a document of which each row of the test below changes one text.
const plain = `version: 1
store: { kind: memory }
providers:
  - name: company
    kind: oidc
    issuer: https://id.example.com
    client_id: akprox
    client_secret: { file: good }
    scopes: [openid, email]
  - name: tokens
    kind: jwt
    issuer: https://id.example.com/realms/a
    audience: [api]
  - name: opaque
    kind: introspection
    url: https://id.example.com/introspect
    client_id: akprox
    client_secret: { file: good }
    cache: 1m
  - name: door
    kind: knock
    keys:
      - name: phone
        key: { file: key }
        ttl: 60
applications:
  - name: wiki
    mode: forward_single
    external_url: https://wiki.example.com
    credentials: [company]
    gate: [door]
`

// TestValidateSaysWhere: what only a provider can tell has its line, key and
// mend too.
func TestValidateSaysWhere(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"good": "the-client-secret", "empty": "\n", "key": "a-key-that-is-long-enough-for-a-door"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	for _, row := range []struct{ name, was, is, want string }{
		{"nothing", "", "", ""},
		{
			"no secret", "{ file: good }", "{ file: none }",
			"8: providers[0].client_secret: open none: no such file or directory; the path is relative to the folder that akprox was started in, " + folder,
		},
		{"no secret where it must be", "{ file: good }", "{ file: /none/at/all }", "8: providers[0].client_secret: open /none/at/all: no such file or directory"},
		{"an empty secret", "{ file: good }", "{ file: empty }", "8: providers[0].client_secret: empty is empty; write the secret into it"},
		{"an unset variable", "{ file: good }", "{ env: AKPROX_TEST_NOWHERE }", "8: providers[0].client_secret: the environment variable AKPROX_TEST_NOWHERE is not set, or empty, where akprox runs"},
		{"a knock without its key", "{ file: key }", "{ env: AKPROX_TEST_NOWHERE }", "24: providers[3].keys[0].key: the environment variable AKPROX_TEST_NOWHERE is not set, or empty, where akprox runs"},
		{"no openid", "[openid, email]", "[email]", "9: providers[0].scopes: openid is not among them, and without it an issuer gives no ID token; add it"},
		{"a long cache", "cache: 1m", "cache: 2d", "19: providers[2].cache: 48h0m0s is not between 0 and 24h"},
		{
			"the issuer's description", "issuer: https://id.example.com\n", "issuer: https://id.example.com/.well-known/openid-configuration\n",
			"6: providers[0].issuer: is the address of the issuer's description; write the issuer's own, as issuer in that description has it: https://id.example.com, or the same with a slash at its end",
		},
		{
			"that of another kind", "issuer: https://id.example.com/realms/a", "issuer: https://id.example.com/realms/a/.well-known/openid-configuration",
			"12: providers[1].issuer: is the address of the issuer's description; write the issuer's own, as issuer in that description has it: https://id.example.com/realms/a, or the same with a slash at its end",
		},
		{
			"the description for its keys", "audience: [api]", "audience: [api]\n    jwks_url: https://id.example.com/.well-known/openid-configuration",
			"14: providers[1].jwks_url: is the address of the issuer's description; write jwks_uri of that description, or leave jwks_url out",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(plain, row.was, row.is, 1)
			if text == plain && row.name != "nothing" {
				t.Fatalf("%q is not in the document", row.was)
			}
			if err := os.WriteFile("akprox.yaml", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, status := command(t, "", "validate")
			if row.want == "" {
				if status != 0 {
					t.Fatalf("exit %d: %s%s", status, out, errs)
				}
				return
			}
			if want := "akprox.yaml:" + row.want + "\n"; status != 1 || errs != want {
				t.Fatalf("exit %d: %swant %s", status, errs, want)
			}
		})
	}
}

func TestAWordTooManyIsExplained(t *testing.T) {
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"validate", "akprox.yaml"}, `"akprox.yaml" is one word too many; the document is named by --config akprox.yaml`},
		{[]string{"run", "x.yml"}, `"x.yml" is one word too many; the document is named by --config x.yml`},
		{[]string{"snippet", "caddy", "a.yaml"}, `"a.yaml" is one word too many; the document is named by --config a.yaml`},
		{[]string{"validate", "please"}, `"please" is one word too many`},
		{[]string{"version", "a.yaml"}, `"a.yaml" is one word too many`},
	} {
		_, errs, status := command(t, "", row.args...)
		if got, _, _ := strings.Cut(errs, "\n"); status != 2 || got != "akprox: "+row.want {
			t.Errorf("%v: exit %d: %s", row.args, status, got)
		}
	}
}
