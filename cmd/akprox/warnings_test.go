package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// careful is a document without anything to warn about; each row of the test
// below changes one text in it.
const careful = `version: 1
server: { trusted_proxies: ["127.0.0.0/8", "10.9.0.0/16"] }
store: { kind: memory }
providers:
  - { name: company, kind: oidc, issuer: https://id.example.com, client_id: akprox }
  - { name: tokens, kind: jwt, issuer: https://id.example.com, audience: [api] }
  - { name: opaque, kind: introspection, url: https://id.example.com/introspect, auth: none, client_ids: [app] }
  - { name: door, kind: knock, keys: [ { name: phone, key: { file: KEYFILE }, ttl: 60 } ], always_allowed_ips: ["192.168.1.0/24"] }
applications:
  - name: wiki
    mode: forward_single
    external_url: https://wiki.example.com
    credentials: [company, tokens, opaque]
    gate: [door]
    rules:
      - { paths: [/health], allow: anyone }
      - { paths: [/lan/**], networks: ["192.168.1.0/24"], allow: anyone }
`

func TestValidateWarnsOfDanger(t *testing.T) {
	for _, row := range []struct{ name, was, is, key string }{
		{"nothing", "", "", ""},
		{"everybody is a trusted proxy", `"10.9.0.0/16"`, `"0.0.0.0/0"`, "server.trusted_proxies[1]"},
		{"every IPv6 address is one", `"10.9.0.0/16"`, `"::/0"`, "server.trusted_proxies[1]"},
		{"half of all addresses are", `"10.9.0.0/16"`, `"128.0.0.0/1"`, "server.trusted_proxies[1]"},
		{"cookies in the clear", "external_url: https://", "external_url: http://", "applications[0].external_url"},
		{"loopback is no network", "external_url: https://wiki.example.com", "external_url: http://127.0.0.1:9000", ""},
		{"nor is a host under localhost", "external_url: https://wiki.example.com", "external_url: http://wiki.localhost", ""},
		{"all paths open", "paths: [/health]", "paths: [/**]", "applications[0].rules[0]"},
		{"one of the paths is all", "paths: [/health]", "paths: [/x, /**]", "applications[0].rules[0]"},
		{"everything may be read by everybody", "{ paths: [/health], allow: anyone }", "{ paths: [/**], methods: [GET, HEAD], allow: anyone }", "applications[0].rules[0]"},
		{"that without paths", "{ paths: [/health], allow: anyone }", "{ methods: [GET], allow: anyone }", "applications[0].rules[0]"},
		{"everything may be posted to by everybody", "{ paths: [/health], allow: anyone }", "{ methods: [POST, OPTIONS], allow: anyone }", ""},
		{"everything may be read by those who signed in", "{ paths: [/health], allow: anyone }", "{ paths: [/**], methods: [GET] }", ""},
		{"a regular expression", "paths: [/health]", `paths: [/health, "/public/.*"]`, "applications[0].rules[0].paths[1]"},
		{"one with an end", "paths: [/health]", `paths: ["/health$"]`, "applications[0].rules[0].paths[0]"},
		{"one with a group", "paths: [/health]", `paths: ["/(css|js).+"]`, "applications[0].rules[0].paths[0]"},
		{"names with any ending", "paths: [/health]", `paths: ["/icon.*", "/*.*", "/.well-known/*"]`, ""},
		{"an open network holds a proxy", `networks: ["192.168.1.0/24"]`, `networks: ["10.0.0.0/8"]`, "applications[0].rules[1].networks[0]"},
		{"one that signs in is no danger", `networks: ["192.168.1.0/24"], allow: anyone`, `networks: ["10.0.0.0/8"]`, ""},
		{"an always allowed range holds a proxy", `always_allowed_ips: ["192.168.1.0/24"]`, `always_allowed_ips: ["10.9.7.0/24"]`, "providers[3].always_allowed_ips[0]"},
		{"the issuer in the clear", "oidc, issuer: https://", "oidc, issuer: http://", "providers[0].issuer"},
		{"the way to the issuer in the clear", "client_id: akprox", "client_id: akprox, backchannel_url: 'http://id.internal'", "providers[0].backchannel_url"},
		{"the world has an account", "oidc, issuer: https://id.example.com", "oidc, issuer: https://accounts.google.com", "providers[0].issuer"},
		{"anybody's account", "oidc, issuer: https://id.example.com", "oidc, issuer: https://login.microsoftonline.com/common/v2.0", "providers[0].issuer"},
		{"a company's own", "oidc, issuer: https://id.example.com", "oidc, issuer: https://login.microsoftonline.com/7f3a/v2.0", ""},
		{"tokens for anybody", "audience: [api]", "audience: any", "providers[1].audience"},
		{"keys in the clear", "jwt, issuer: https://id.example.com", "jwt, issuer: http://id.example.com", "providers[1].issuer"},
		{"opaque tokens for anybody", ", client_ids: [app]", "", "providers[2].url"},
		{"introspection in the clear", "url: https://", "url: http://", "providers[2].url"},
		{"an open file with a key", "KEYFILE", "OPENFILE", "providers[3].keys[0].key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			for name, mode := range map[string]os.FileMode{"KEYFILE": 0o600, "OPENFILE": 0o644} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte("a-key-that-is-long-enough-for-a-door"), mode); err != nil {
					t.Fatal(err)
				}
			}
			text := strings.Replace(careful, row.was, row.is, 1)
			if text == careful && row.name != "nothing" {
				t.Fatalf("%q is not in the document", row.was)
			}
			text = strings.NewReplacer("KEYFILE", folder+"/KEYFILE", "OPENFILE", folder+"/OPENFILE").Replace(text)
			path := filepath.Join(folder, "akprox.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs strings.Builder
			if status := run(t.Context(), []string{"validate", "--config", path}, strings.NewReader(""), &out, &errs); status != 0 {
				t.Fatalf("exit %d: %s", status, errs.String())
			}
			got := strings.Split(strings.TrimSuffix(errs.String(), "\n"), "\n")
			switch want := row.key + ": "; {
			case strings.Contains(row.is, "OPENFILE"):
				if !strings.Contains(errs.String(), path+":8: "+want+folder+"/OPENFILE holds a secret and every user of this machine can read it") {
					t.Fatalf("no warning of the open file: %q", got)
				}
			case row.key == "":
				if errs.String() != "" {
					t.Fatalf("warned of what is no danger: %s", errs.String())
				}
			case !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, "warning: "+path) && strings.Contains(l, want) }):
				t.Fatalf("no warning for %s: %q", row.key, got)
			}
		})
	}
}

// TestADocumentThatHoldsASecretIsNobodyElses: wherever in it the secret stands.
func TestADocumentThatHoldsASecretIsNobodyElses(t *testing.T) {
	const of = "version: 1\nstore: { kind: memory }\n"
	for name, row := range map[string]struct{ text, want string }{
		"its own":        {of + "secret: { value: 0123456789abcdef0123456789abcdef }\n", ":3: secret: "},
		"a provider's":   {of + "providers:\n  - { name: a, kind: oidc, issuer: https://id.example.com, client_id: a, client_secret: { value: x } }\n", ":4: providers[0].client_secret: "},
		"none":           {of, ""},
		"one of the env": {of + "secret: { env: AKPROX_TEST_SECRET }\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("AKPROX_TEST_SECRET", "0123456789abcdef0123456789abcdef")
			path := filepath.Join(t.TempDir(), "akprox.yaml")
			if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
				t.Fatal(err)
			}
			_, errs, status := command(t, "", "validate", "--config", path)
			if status != 0 || (row.want == "") != (errs == "") || !strings.Contains(errs, row.want) {
				t.Errorf("exit %d: %s", status, errs)
			}
		})
	}
}
