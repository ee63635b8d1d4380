package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const snippetDocument = `version: 1
server: { http: "127.0.0.1:9123"ORIGINAL }
providers:
  - { name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox, client_secret: { value: the-client-secret } }
applications:
  - { name: wiki, mode: forward_single, external_url: "https://wiki.example.com", credentials: [company], headers: { preset: remote } }
`

const oneMore = `  - { name: legacy, mode: proxy, external_url: "https://legacy.example.com", upstream: "http://127.0.0.1:8080", credentials: [company] }
`

// TestSnippetCommand is about the command; package dialect tests the texts.
func TestSnippetCommand(t *testing.T) {
	first := strings.Replace(snippetDocument, "ORIGINAL", "", 1)
	original := strings.Replace(snippetDocument, "ORIGINAL", ", nginx_original_url: true", 1)
	away := strings.NewReplacer("{ value: the-client-secret }", "{ file: /nowhere/client-secret }", "applications:", `  - { name: people, kind: password, users_file: /nowhere/users.yaml }
  - { name: opaque, kind: introspection, url: "https://id.example.com/introspect", client_id: akprox, client_secret: { env: AKPROX_TEST_NOWHERE } }
  - { name: door, kind: knock, keys: [ { name: a, key: { file: /nowhere/a }, ttl: 60 }, { name: b, key: { file: /nowhere/b }, ttl: 60 } ] }
applications:`).Replace(first)
	for name, c := range map[string]struct {
		document string
		args     []string
		status   int
		out, err []string // what they hold; nothing at all where none
	}{
		"secrets and users are on the server alone": {away, []string{"caddy"}, 0, []string{"https://wiki.example.com {"}, nil},
		"the only one":    {first, []string{"traefik"}, 0, []string{"Host(`wiki.example.com`)", "http://127.0.0.1:9123/akprox/auth/traefik", "- Remote-User"}, nil},
		"nginx, told":     {original, []string{"nginx"}, 0, []string{"server 127.0.0.1:9123;", "nginx_original_url: true"}, nil},
		"nginx, not told": {first, []string{"nginx"}, 0, []string{"server {"}, []string{"nginx_original_url: true"}},
		"ingress":         {first, []string{"ingress-nginx"}, 0, []string{"auth-url"}, []string{"nginx_original_url: true"}},
		"one of two":      {first + oneMore, []string{"caddy", "--app", "wiki"}, 0, []string{"https://wiki.example.com {"}, nil},
		"which of two":    {first + oneMore, []string{"caddy"}, 1, nil, []string{"--app", "wiki, legacy"}},
		"no such one":     {first, []string{"caddy", "--app", "wikki"}, 1, nil, []string{`"wikki"`, "wiki"}},
		"proxy mode":      {first + oneMore, []string{"--app", "legacy", "caddy"}, 1, nil, []string{"upstream"}},
		"no such proxy":   {first, []string{"envoi"}, 2, nil, []string{"nginx, ingress-nginx, traefik, traefik-labels, traefik-crd, caddy, envoy, haproxy, gateway-api"}},
		"no proxy":        {first, nil, 2, nil, []string{"DIALECT", "traefik-labels"}},
		"bad document":    {first + "colour: blue\n", []string{"caddy"}, 1, nil, []string{"colour"}},
	} {
		file := filepath.Join(t.TempDir(), "akprox.yaml")
		if err := os.WriteFile(file, []byte(c.document), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"snippet", "--config", file}, c.args...), nil, &out, &errs)
		if status != c.status {
			t.Errorf("%s: status %d, not %d: %s", name, status, c.status, errs.String())
		}
		for what, pair := range map[string]struct {
			got  string
			want []string
		}{"output": {out.String(), c.out}, "errors": {errs.String(), c.err}} {
			if len(pair.want) == 0 && pair.got != "" {
				t.Errorf("%s: %s: %s", name, what, pair.got)
			}
			for _, want := range pair.want {
				if !strings.Contains(pair.got, want) {
					t.Errorf("%s: no %q in the %s: %s", name, want, what, pair.got)
				}
			}
		}
	}
}
