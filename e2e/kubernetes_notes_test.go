package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// notes answers what the chart tells with a document.
func notes(t *testing.T, document string, args ...string) string {
	t.Helper()
	chart := filepath.Join(t.TempDir(), "akprox")
	if err := os.CopyFS(chart, os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	// Without a cluster helm shows no notes, so they are made an object.
	text := readText(t, filepath.Join(chart, "templates", "NOTES.txt"))
	for name, text := range map[string]string{
		"_told.tpl": `{{ define "told" }}` + text + `{{ end }}`, "told.yaml": `told: {{ include "told" . | toJson }}`,
	} {
		if err := os.WriteFile(filepath.Join(chart, "templates", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return command(t, parts.Path(t, "helm"), append([]string{
		"template", "akprox", chart, "--kube-version=1.36.3", "--show-only", "templates/told.yaml",
		"--values", valuesFile(t, readYAML(t, "document: "+document)),
	}, args...)...)
}

// TestChartTellsTheNextStep: the command that the notes print is one for an
// application that other proxies ask about.
func TestChartTellsTheNextStep(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	const behind = `{ name: old, mode: proxy, external_url: "https://old.example.com", upstream: "http://old" }`
	const asked = `{ name: wiki, mode: forward_single, external_url: "https://wiki.example.com" }`
	for applications, want := range map[string]string{
		behind + ", " + asked: "snippet ingress-nginx --app wiki",
		asked:                 "snippet ingress-nginx --app wiki",
		behind:                "lead the hosts of its applications to it",
		"":                    "It guards nothing yet",
	} {
		if told := notes(t, "{ applications: [ "+applications+" ] }"); !strings.Contains(told, want) || strings.Contains(told, "--app old") {
			t.Errorf("%s: %s; want %q", applications, told, want)
		}
	}
}

// TestChartTellsOfSecretsInTheDocument: what is written as a value ends in a
// ConfigMap, and the chart says so.
func TestChartTellsOfSecretsInTheDocument(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for secret, want := range map[string]bool{
		`{ value: "hunter2-hunter2" }`: true, "{ file: /etc/akprox/secrets/client/secret }": false, "{ env: CLIENT_SECRET }": false,
	} {
		told := notes(t, `{ providers: [ { name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox, client_secret: `+secret+` } ],
  applications: [ { name: wiki, mode: forward_single, external_url: "https://wiki.example.com", credentials: [company] } ] }`)
		if got := strings.Contains(told, "A SECRET STANDS IN THE DOCUMENT"); got != want || strings.Contains(told, "hunter2") {
			t.Errorf("%s: %s", secret, told)
		}
	}
	redis := notes(t, "{}", "--set", "store.kind=redis,store.redis.url=redis://redis:6379,store.redis.password.value=hunter2")
	if !strings.Contains(redis, "A SECRET STANDS IN THE DOCUMENT") {
		t.Errorf("a password of Redis: %s", redis)
	}
}
