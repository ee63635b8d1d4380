package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What keeps akprox sessions from answering, each with its cause and mend. The
// answers themselves are tests of package control, and of e2e with a process.
func TestSessionsThatCannotBeAsked(t *testing.T) {
	const document = `version: 1
server: { http: "127.0.0.1:9000" }
store: STORE
providers:
  - { name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox }
applications:
  - { name: wiki, mode: forward_single, external_url: "https://wiki.example.com", credentials: [company] }
`
	dir := t.TempDir()
	file := filepath.Join(dir, "akprox.yaml")
	for _, row := range []struct {
		name, store, args string
		status            int
		want              string
	}{
		{"memory", "{ kind: memory }", "list", 1, "store.kind is memory"},
		{"no store yet", "{ kind: disk, path: " + filepath.Join(dir, "none") + " }", "list", 1, "no akprox runs, and there is no store to read"},
		{"another provider", "{ kind: memory }", "end --subject s --provider other", 1, `there is no "other"; the document has company`},
		{"no verb", "{ kind: memory }", "", 2, "a word is missing: list or end"},
		{"another verb", "{ kind: memory }", "stop", 2, `there is no sessions "stop"`},
		{"nobody named", "{ kind: memory }", "end", 2, "--subject is missing"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(strings.Replace(document, "STORE", row.store, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			args := append([]string{"sessions", "--config", file}, strings.Fields(row.args)...)
			if got := run(t.Context(), args, nil, &out, &out); got != row.status || !strings.Contains(out.String(), row.want) {
				t.Errorf("%d: %s", got, out.String())
			}
			if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
				t.Error("it made a store")
			}
		})
	}
}
