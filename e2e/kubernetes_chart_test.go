package e2e_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// TestChartVolumes: Secrets of any names have volumes of their own, and each
// is where its name says.
func TestChartVolumes(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	long := strings.Repeat("a", 60)
	list := chartTemplate(t, "--set", "secrets={a.b,a-b,"+long+"1,"+long+"2}")
	for _, id := range []string{"Deployment/akprox", "Job/akprox-validate"} {
		pod := at(t, find(list, id), "spec", "template", "spec").(map[string]any)
		secrets := map[any]any{}
		for _, volume := range pod["volumes"].([]any) {
			v := volume.(map[string]any)
			if _, ok := secrets[v["name"]]; ok {
				t.Errorf("%s has two volumes %v", id, v["name"])
			}
			secrets[v["name"]] = nil
			if secret, ok := v["secret"].(map[string]any); ok {
				secrets[v["name"]] = secret["secretName"]
			}
		}
		found := 0
		for _, mount := range at(t, pod, "containers", 0, "volumeMounts").([]any) {
			m := mount.(map[string]any)
			if name, ok := strings.CutPrefix(m["mountPath"].(string), "/etc/akprox/secrets/"); ok {
				found++
				if secrets[m["name"]] != name {
					t.Errorf("%s has the Secret %v at %s", id, secrets[m["name"]], name)
				}
			}
		}
		if found != 4 {
			t.Errorf("%s has %d Secrets mounted", id, found)
		}
	}
}

// TestChartEgress: what the NetworkPolicy opens is not refused.
func TestChartEgress(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	const document = `{providers: [{name: tokens, kind: introspection, url: "http://hydra:4445/introspect"}, {name: people, kind: password, users: []}],
 applications: [{name: old, mode: proxy, external_url: "https://old.example.com", upstream: "http://old:8080"}]}`
	for _, row := range []struct{ document, egress string }{
		{document, "{issuerPorts: [443, 4445, 8080]}"},
		{document, "{extra: [{to: [{podSelector: {}}]}]}"},
		{`{providers: [{name: company, kind: oidc, issuer: "http://id.example.com:5556", backchannel_url: "https://id.internal", client_id: akprox}]}`, "{}"},
		{`{}`, "{issuers: []}"},
	} {
		list := chartTemplate(t, "--values", valuesFile(t, readYAML(t, closed(row.document, row.egress))))
		if find(list, "NetworkPolicy/akprox") == nil {
			t.Errorf("%s: there is no NetworkPolicy", row.egress)
		}
	}
}

// TestChartSpread: a constraint with a selector of its own keeps that alone.
func TestChartSpread(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	const spread = `{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule`
	values := readYAML(t, `{topologySpread: {constraints: [`+spread+`}, `+spread+`, labelSelector: {matchExpressions: [{key: tier, operator: Exists}]}}]}}`)
	deployment := find(chartTemplate(t, "--values", valuesFile(t, values)), "Deployment/akprox")
	for i, want := range []any{
		map[string]any{"matchLabels": at(t, deployment, "spec", "selector", "matchLabels")},
		at(t, values, "topologySpread", "constraints", 1, "labelSelector"),
	} {
		if got := at(t, deployment, "spec", "template", "spec", "topologySpreadConstraints", i, "labelSelector"); !reflect.DeepEqual(got, want) {
			t.Errorf("constraint %d selects %v, want %v", i, got, want)
		}
	}
}

// TestChartHosts: objects of Kubernetes take hosts in lower case and without
// the dot at the end, which akprox takes too.
func TestChartHosts(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for _, external := range []string{"https://Wiki.Example.COM", "https://wiki.example.com.", "https://WIKI.example.com.:8443/at"} {
		values := fmt.Sprintf(`{ingress: {enabled: true}, document: {applications: [{name: wiki, mode: forward_single, external_url: %q}]}}`, external)
		list := chartTemplate(t, "--values", valuesFile(t, readYAML(t, values)))
		if got := at(t, find(list, "Ingress/akprox"), "spec", "rules", 0, "host"); got != "wiki.example.com" {
			t.Errorf("%s: the Ingress has the host %v", external, got)
		}
	}
}
