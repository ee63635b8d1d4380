package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// TestChartTellsOfSecretsInTheDocument: what is written as a value ends in a
// ConfigMap, and the chart says so.
func TestChartTellsOfSecretsInTheDocument(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	chart := filepath.Join(t.TempDir(), "akprox")
	if err := os.CopyFS(chart, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	// Without a cluster helm shows no notes, so they are made an object.
	notes := readText(t, filepath.Join(chart, "templates", "NOTES.txt"))
	for name, text := range map[string]string{
		"_told.tpl": `{{ define "told" }}` + notes + `{{ end }}`, "told.yaml": `told: {{ include "told" . | toJson }}`,
	} {
		if err := os.WriteFile(filepath.Join(chart, "templates", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for secret, want := range map[string]bool{
		`{ value: "hunter2-hunter2" }`: true, "{ file: /etc/akprox/secrets/client/secret }": false, "{ env: CLIENT_SECRET }": false,
	} {
		values := filepath.Join(t.TempDir(), "values.yaml")
		text := `document:
  providers: [ { name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox, client_secret: ` + secret + ` } ]
  applications: [ { name: wiki, mode: forward_single, external_url: "https://wiki.example.com", credentials: [company] } ]
`
		if err := os.WriteFile(values, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		told := command(t, parts.Path(t, "helm"), "template", "akprox", chart, "--kube-version=1.36.3", "--values", values, "--show-only", "templates/told.yaml")
		if got := strings.Contains(told, "A SECRET STANDS IN THE DOCUMENT"); got != want || strings.Contains(told, "hunter2") {
			t.Errorf("%s: %s", secret, told)
		}
	}
	redis := command(t, parts.Path(t, "helm"), "template", "akprox", chart, "--kube-version=1.36.3", "--show-only", "templates/told.yaml",
		"--set", "store.kind=redis,store.redis.url=redis://redis:6379,store.redis.password.value=hunter2")
	if !strings.Contains(redis, "A SECRET STANDS IN THE DOCUMENT") {
		t.Errorf("a password of Redis: %s", redis)
	}
}
