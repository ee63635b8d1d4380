package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

const overlayFolder = "../manifests/overlays/"

// overlays are the folders below manifests/overlays, and what each quotes of
// what akprox prints.
var overlays = map[string]struct {
	snippet string
	quote   func(printed string) string
}{
	"ingress-nginx": {"ingress-nginx", nil},
	"traefik":       {"traefik-crd", func(printed string) string { return printed }},
	"gateway-api": {"gateway-api", func(printed string) string {
		all := strings.Split(printed, "---\n")
		return strings.Join(all[:2], "---\n")
	}},
	"envoy-gateway": {"gateway-api", func(printed string) string {
		all := strings.Split(printed, "---\n")
		before, filter, _ := strings.Cut(all[1], "      # May this request")
		_, after, _ := strings.Cut(filter, "      backendRefs:\n        - name: program")
		all[1] = before + "      backendRefs:\n        - name: program" + after
		return strings.Join(all, "---\n")
	}},
	"istio": {},
}

// TestOverlaysQuoteTheSnippets: AKPROX_UPDATE_DOCS=1 writes wiki.yaml anew.
func TestOverlaysQuoteTheSnippets(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for name, o := range overlays {
		if o.snippet == "" {
			continue
		}
		document := readText(t, overlayFolder+name+"/akprox.yaml")
		command(t, parts.AkproxPath(t), "validate", "--config", writeDocument(t, document))
		printed := snippets(t, o.snippet, mounted(t, document), []string{"wiki"})[0]
		printed = strings.NewReplacer("akprox.default.svc", "akprox.akprox.svc", "namespace: default", "namespace: akprox", `"default"`, `"akprox"`).Replace(printed)
		file := overlayFolder + name + "/wiki.yaml"
		got := readText(t, file)
		if o.quote == nil { // annotations, which the file has with an Ingress around them
			want := at(t, objects(t, printed)[0], "metadata", "annotations")
			if have := at(t, find(objects(t, got), "Ingress/wiki"), "metadata", "annotations"); !reflect.DeepEqual(have, want) {
				t.Errorf("%s has the annotations %v, akprox prints %v", file, have, want)
			}
			continue
		}
		want := o.quote(printed)
		if got == want {
			continue
		}
		if os.Getenv("AKPROX_UPDATE_DOCS") == "" {
			t.Errorf("%s is not what akprox prints; AKPROX_UPDATE_DOCS=1 go test -run %s ./e2e", file, t.Name())
		} else if err := os.WriteFile(file, []byte(want), 0o644); err != nil { // #nosec G306 -- a source file
			t.Fatal(err)
		}
	}
	command(t, parts.AkproxPath(t), "validate", "--config", writeDocument(t, readText(t, "../manifests/base/akprox.yaml")))
	command(t, parts.AkproxPath(t), "validate", "--config", writeDocument(t, readText(t, overlayFolder+"istio/akprox.yaml")))
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) // #nosec G304 -- a source file
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manifestsApplied applies each overlay, the one after the other in one
// namespace, and what akprox prints for Kubernetes.
func manifestsApplied(t *testing.T, c *parts.Cluster) {
	c.Apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")
	for name := range overlays {
		t.Run(name, func(t *testing.T) {
			c := c.With(t)
			c.Kubectl("apply", "--validate=strict", "-k", overlayFolder+name)
			c.Kubectl("rollout", "status", "deployment/akprox", "--namespace", "akprox", "--timeout=180s")
			from := c.Kubectl("get", "networkpolicy", "akprox", "--namespace", "akprox", "--output", "jsonpath={.spec.ingress[0].from}")
			if strings.Contains(from, "nobody") || !strings.Contains(from, "podSelector") {
				t.Errorf("who may ask is %s", from)
			}
			if got := c.Kubectl("get", "deployment", "akprox", "--namespace", "akprox", "--output",
				"jsonpath={.spec.template.spec.volumes[?(@.name=='document')].configMap.name}"); !strings.HasPrefix(got, "akprox-") {
				t.Errorf("a changed document makes no new pods: %s", got)
			}
		})
	}
	for _, mode := range []string{"forward_single", "forward_domain"} {
		for _, name := range []string{"traefik-crd", "gateway-api", "ingress-nginx"} {
			t.Run(name+"/"+mode, func(t *testing.T) { snippetAccepted(t, c.With(t), name, mode) })
		}
	}
}

// snippetAccepted: the API server takes every object that akprox prints.
func snippetAccepted(t *testing.T, c *parts.Cluster, name, mode string) {
	for _, server := range []string{"nginx_original_url: true", `nginx_original_url: true, grpc: ":9191"`} {
		issuer := &parts.Issuer{URL: "https://id.example.test", ClientID: "akprox", ClientSecret: "secret"}
		s := &stage{issuer: issuer, mode: mode, port: 8443, address: "127.0.0.1:9000"}
		s.app, s.other = s.origin(appHost), s.origin(otherHost)
		for _, text := range snippets(t, name, s.document(server, 9300), s.applications()) {
			if name == "ingress-nginx" { // the first part is annotations alone
				annotations, rest, _ := strings.Cut(text, "\n---\n")
				text = "kind: Ingress\napiVersion: networking.k8s.io/v1\n" + annotations + "\n  name: program\nspec:\n" +
					"  defaultBackend: { service: { name: program, port: { number: 80 } } }\n---\n" + rest
			}
			c.Apply(text, "--dry-run=server")
		}
	}
}

// TestBaseIsTheChart: the pod of manifests/base is the one of the chart.
func TestBaseIsTheChart(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	base := find(objects(t, command(t, parts.Path(t, "kubectl"), "kustomize", "../manifests/base")), "Deployment/akprox")
	chart := find(chartTemplate(t), "Deployment/akprox")
	pod := func(tree map[string]any) map[string]any {
		return at(t, tree, "spec", "template", "spec").(map[string]any)
	}
	for _, key := range []string{"securityContext", "automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds"} {
		if got, want := pod(base)[key], pod(chart)[key]; !reflect.DeepEqual(got, want) {
			t.Errorf("base has %s: %v, the chart has %v", key, got, want)
		}
	}
	for key, want := range at(t, pod(chart), "containers", 0).(map[string]any) {
		if got := at(t, pod(base), "containers", 0).(map[string]any)[key]; !same(got, want) {
			t.Errorf("base has the container's %s: %v, the chart has %v", key, got, want)
		}
	}
	files, err := filepath.Glob(overlayFolder + "*")
	if err != nil || len(files) != len(overlays) {
		t.Errorf("the overlays are %v, %v", files, err)
	}
}

func same(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// TestChartMiddlewareIsTheSnippet: the chart knows the headers of each preset,
// and what a client sends for akprox alone, as akprox itself does.
func TestChartMiddlewareIsTheSnippet(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	const document = `
providers:
  - { name: keys, kind: apikey, keys: [ { name: ci, hash: "sha256:5ef3166da975940169d6bfc6189a1a1a4c6418ca61637555651f03744f8ad11a" } ] }
  - { name: people, kind: oidc, issuer: "https://id.example.com", client_id: akprox, client_secret: { value: secret } }
applications:
`
	applications := ""
	for i, row := range []struct{ headers, credentials string }{
		{"{}", "people"},
		{"{ preset: akprox, set: { X-Dept: claims.department, x-env: \"text:prod\" } }", "people, keys"},
		{"{ preset: authentik }", "keys"},
		{"{ preset: remote, pass_token: true }", "keys"},
		{"{ preset: gateway, set: { X-User-Id: email } }", "people"},
		{"{ preset: user-json }", "people, keys"},
	} {
		applications += fmt.Sprintf("  - { name: App_%d, mode: forward_single, external_url: \"https://app-%[1]d.example.com\", credentials: [%s], headers: %s }\n",
			i, row.credentials, row.headers)
	}
	values := readYAML(t, document+applications)
	chart := chartTemplate(t, "--show-only", "templates/traefik.yaml", "--set", "traefik.middleware.enabled=true",
		"--values", valuesFile(t, map[string]any{"document": values}))
	config := filepath.Join(t.TempDir(), "akprox.yaml")
	if err := os.WriteFile(config, []byte("version: 1\nserver: { http: \":9000\" }"+document+applications), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		printed := objects(t, command(t, parts.AkproxPath(t), "snippet", "traefik-crd", "--app", fmt.Sprintf("App_%d", i), "--config", config))
		name := fmt.Sprintf("Middleware/akprox-app-%d", i)
		want := at(t, find(printed, name), "spec", "forwardAuth").(map[string]any)
		got := at(t, find(chart, name), "spec", "forwardAuth").(map[string]any)
		want["address"] = strings.Replace(want["address"].(string), ".cluster.local", "", 1)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("the chart has %v, akprox prints %v", got, want)
		}
	}
}
