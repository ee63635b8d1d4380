package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/e2e/parts"
)

const (
	chartFolder = "../helm/akprox"
	everything  = chartFolder + "/ci/everything-values.yaml"
)

// TestKubernetes is what needs a real API server. One serves all: each has
// namespaces of its own.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	c := parts.Kubernetes(t)
	for _, one := range []struct {
		name string
		run  func(*testing.T, *parts.Cluster)
	}{
		{"chart", chartInstalled},
		{"manifests and page", func(t *testing.T, c *parts.Cluster) { // both in the namespace that they name
			t.Run("manifests", func(t *testing.T) { manifestsApplied(t, c.With(t)) })
			c.Kubectl("delete", "namespace", "akprox", "--timeout=120s")
			t.Run("page", func(t *testing.T) { kubernetesPage(t, c.With(t)) })
		}},
		{"Traefik", traefikInKubernetes},
	} {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			one.run(t, c.With(t))
		})
	}
}

// chartInstalled installs the chart, in a namespace that admits nothing but
// restricted pods.
func chartInstalled(t *testing.T, c *parts.Cluster) {
	c.Apply("{apiVersion: v1, kind: Namespace, metadata: {name: apps, labels: {pod-security.kubernetes.io/enforce: restricted}}}")
	for _, name := range []string{"akprox-oidc", "akprox-cookie", "akprox-tls", "registry", "pages-tls"} {
		c.Kubectl("create", "secret", "generic", name, "--namespace", "apps", "--from-literal=key="+strings.Repeat("k", 40))
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *parts.Cluster)
	}{
		{"form", chartForm},
		{"defaults", chartDefaults},
		{"a change of the document keeps the pods", chartReload},
		{"a change of the listeners makes new ones", chartRollout},
		{"a volume", chartVolume},
		{"an existing ConfigMap", chartExisting},
		{"every switch on", chartEverything},
		{"wrong values", chartWrong},
	} {
		t.Run(step.name, func(t *testing.T) { step.run(t, c.With(t)) })
	}
}

// release runs helm for one release in the namespace of the tests.
func release(c *parts.Cluster, verb, name string, args ...string) string {
	return c.Helm(append([]string{verb, name, chartFolder, "--namespace", "apps", "--wait", "--timeout", "120s"}, args...)...)
}

// chartForm: no template is faulty, and no field of what it makes unknown.
func chartForm(t *testing.T, c *parts.Cluster) {
	schemas := parts.KubernetesFile(t, "schemas") + "/{{.ResourceKind}}{{.KindSuffix}}.json"
	for _, args := range [][]string{nil, {"--values", everything}} {
		c.Helm(append([]string{"lint", "--strict", "--kube-version=1.36.3", chartFolder}, args...)...)
		objects := c.Helm(append([]string{"template", "akprox", chartFolder, "--namespace=apps", "--kube-version=1.36.3"}, args...)...)
		out, err := c.Try("kubeconform", objects, "-strict", "-summary", "-schema-location", schemas,
			"-skip=Middleware,IngressRoute,HTTPRoute,ServiceMonitor", "-")
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		// Those four are looked through by the API server, which has their schemas.
		c.Apply(objects, "--dry-run=server")
	}
}

func chartDefaults(t *testing.T, c *parts.Cluster) {
	notes := release(c, "install", "akprox")
	for _, want := range []string{"It guards nothing yet", "NO PROXY IS TRUSTED YET", "helm test akprox"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not say %q: %s", want, notes)
		}
	}
	c.Helm("test", "akprox", "--namespace", "apps", "--timeout", "180s")
	if secret := cookieSecret(t, c, "akprox-secret"); len(secret) < 32 {
		t.Errorf("the generated secret has %d bytes", len(secret))
	}
	pod := c.Kubectl("get", "pods", "--namespace", "apps", "--output", "jsonpath={.items[*].spec.volumes[*].name}")
	if strings.Contains(pod, "kube-api-access") {
		t.Errorf("the pod has a token: %s", pod)
	}
}

func cookieSecret(t *testing.T, c *parts.Cluster, name string) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(c.Kubectl("get", "secret", name, "--namespace", "apps", "--output", "jsonpath={.data.secret}"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pods are the names of the release's pods.
func pods(c *parts.Cluster, name string) string {
	return c.Kubectl("get", "pods", "--namespace", "apps", "--selector", "app.kubernetes.io/name=akprox,app.kubernetes.io/instance="+name, "--output", "name")
}

const wikiValues = `
document:
  server: { trusted_proxies: [10.42.0.0/16] }
  providers:
    - { name: company, kind: oidc, issuer: https://id.example.com, client_id: akprox, client_secret: { value: secret } }
  applications:
    - { name: wiki, mode: forward_single, external_url: https://wiki.example.com, credentials: [company] }
`

func chartReload(t *testing.T, c *parts.Cluster) {
	c.Helm("upgrade", "akprox", chartFolder, "--namespace", "apps", "--wait", "--set-json", `document.server={"trusted_proxies":["10.42.0.0/16"]}`)
	before, secret := pods(c, "akprox"), cookieSecret(t, c, "akprox-secret")
	notes := release(c, "upgrade", "akprox", "--values", valuesFile(t, readYAML(t, wikiValues)))
	if !strings.Contains(notes, "snippet ingress-nginx --app wiki") {
		t.Errorf("the notes do not tell the next step: %s", notes)
	}
	if after := pods(c, "akprox"); after != before {
		t.Errorf("the pods were %s and are %s", before, after)
	}
	if got := cookieSecret(t, c, "akprox-secret"); got != secret {
		t.Error("an upgrade changed the secret")
	}
	if got := c.Kubectl("get", "configmap", "akprox", "--namespace", "apps", "--output", `jsonpath={.data.akprox\.yaml}`); !strings.Contains(got, "wiki.example.com") {
		t.Errorf("the ConfigMap is %s", got)
	}
}

func chartRollout(t *testing.T, c *parts.Cluster) {
	before := pods(c, "akprox")
	release(c, "upgrade", "akprox", "--set", "grpc.enabled=true")
	eventually(t, "the pods are the same", func() bool { return !strings.Contains(pods(c, "akprox"), strings.TrimSpace(before)) })
	if ports := c.Kubectl("get", "service", "akprox", "--namespace", "apps", "--output", "jsonpath={.spec.ports[*].name}"); ports != "http grpc metrics" {
		t.Errorf("the Service has the ports %s", ports)
	}
	c.Helm("rollback", "akprox", "1", "--namespace", "apps", "--wait")
	c.Helm("uninstall", "akprox", "--namespace", "apps", "--wait")
	secret := cookieSecret(t, c, "akprox-secret")
	if secret == "" {
		t.Error("uninstalling took the secret away")
	}
	release(c, "install", "akprox")
	if got := cookieSecret(t, c, "akprox-secret"); got != secret {
		t.Error("installing it again changed the secret")
	}
	c.Helm("uninstall", "akprox", "--namespace", "apps", "--wait")
}

func chartVolume(t *testing.T, c *parts.Cluster) {
	release(c, "install", "kept", "--set", "store.disk.persistent=true")
	if phase := c.Kubectl("get", "pvc", "kept-akprox", "--namespace", "apps", "--output", "jsonpath={.status.phase}"); phase != "Bound" {
		t.Errorf("the claim is %s", phase)
	}
	if got := c.Kubectl("get", "deployment", "kept-akprox", "--namespace", "apps", "--output", "jsonpath={.spec.strategy.type}"); got != "Recreate" {
		t.Errorf("two pods may have the store open: %s", got)
	}
}

func chartExisting(t *testing.T, c *parts.Cluster) {
	c.Kubectl("create", "configmap", "mine", "--namespace", "apps", "--from-literal=doc.yaml=version: 1")
	release(c, "install", "mine", "--set", "existingConfigMap.name=mine,existingConfigMap.key=doc.yaml,store.kind=memory",
		"--set", "ingress.enabled=true,hosts={wiki.example.com}")
	if got := c.Kubectl("get", "deployment", "mine-akprox", "--namespace", "apps", "--output",
		"jsonpath={.spec.template.spec.volumes[?(@.name=='document')].configMap}"); !strings.Contains(got, `"name":"mine"`) || !strings.Contains(got, "doc.yaml") {
		t.Errorf("the pod reads %s", got)
	}
	if got, err := c.Try("kubectl", "", "get", "configmap", "mine-akprox", "--namespace", "apps"); err == nil {
		t.Errorf("there is one of the chart, too: %s", got)
	}
}

func chartEverything(t *testing.T, c *parts.Cluster) {
	release(c, "install", "all", "--values", everything)
	release(c, "upgrade", "all", "--values", everything, "--set", "autoscaling.maxReplicas=6")
	c.Helm("test", "all", "--namespace", "apps", "--timeout", "180s")
	made := c.Kubectl("get", "all,configmap,pdb,networkpolicy,ingress,httproute,middleware,ingressroute,servicemonitor,serviceaccount", "--namespace", "apps",
		"--selector", "app.kubernetes.io/instance=all,app.kubernetes.io/managed-by=Helm,example.com/team=platform", "--output", "name")
	for _, want := range []string{
		"service/all-akprox", "deployment.apps/all-akprox", "horizontalpodautoscaler.autoscaling/all-akprox", "poddisruptionbudget.policy/all-akprox",
		"networkpolicy.networking.k8s.io/all-akprox", "ingress.networking.k8s.io/all-akprox", "httproute.gateway.networking.k8s.io/all-akprox",
		"middleware.traefik.io/all-akprox-wiki", "middleware.traefik.io/all-akprox-everything", "ingressroute.traefik.io/all-akprox",
		"servicemonitor.monitoring.coreos.com/all-akprox", "serviceaccount/all-akprox", "configmap/all-akprox",
	} {
		if !strings.Contains(made, want+"\n") {
			t.Errorf("there is no %s among\n%s", want, made)
		}
	}
}

// wrongValues are refused before anything is made, with a sentence.
var wrongValues = []struct{ values, sentence string }{
	{`{replica: 3}`, "additional properties 'replica' not allowed"},
	{`{replicas: three}`, "got string, want integer"},
	{`{replicas: 2}`, "replicas: a disk store belongs to one pod"},
	{`{autoscaling: {enabled: true}}`, "Set store.kind to redis"},
	{`{replicas: 2, store: {kind: memory}, document: {providers: [{name: people, kind: password, users: []}]}}`, `provider "people" is of kind password`},
	{`{store: {kind: postgres}}`, "value must be one of 'disk', 'memory', 'redis'"},
	{`{store: {kind: redis}}`, "store.redis: say where your Redis is"},
	{`{store: {redis: {url: "redis://redis:6379"}}}`, "store.redis is set, but store.kind is disk"},
	{`{document: {version: 1}}`, "document.version is written by the chart"},
	{`{document: {store: {kind: redis}}}`, "Set store.kind instead"},
	{`{document: {server: {http: ":80"}}}`, "document.server.http is written by the chart"},
	{`{document: {server: {trusted_proxy: [10.0.0.0/8]}}}`, "additional properties 'trusted_proxy' not allowed"},
	{`{document: {applications: [{name: wiki, mode: forward, external_url: "https://wiki.example.com"}]}}`, "value must be one of 'forward_single', 'forward_domain', 'proxy'"},
	{`{document: {applications: [{mode: proxy, external_url: "https://wiki.example.com"}]}}`, "missing property 'name'"},
	{`{document: {providers: [{name: company, kind: saml}]}}`, "/document/providers/0/kind"},
	{`{document: {providers: [{name: company, kind: oidc, issuer: "https://id.example.com", client: akprox}]}}`, "additional properties 'client' not allowed"},
	{`{existingConfigMap: {name: mine}, document: {applications: [{name: wiki, mode: proxy, external_url: "https://wiki.example.com"}]}}`, "The document comes from one place"},
	{`{existingConfigMap: {name: mine}, traefik: {middleware: {enabled: true}}}`, "Use what akprox snippet traefik-crd prints"},
	{`{traefik: {middleware: {enabled: true}}, document: {applications: [{name: a_b, mode: forward_single, external_url: "https://a.example.com"}, {name: a-b, mode: forward_single, external_url: "https://b.example.com"}]}}`, `the applications "a_b" and "a-b" would both have the Middleware wrong-akprox-a-b. Rename one.`},
	{`{ingress: {enabled: true}}`, "ingress: for which hosts?"},
	{`{hosts: [wiki.example.com], httpRoute: {enabled: true}}`, "httpRoute.parentRefs: name the Gateway"},
	{`{networkPolicy: {enabled: true}}`, "networkPolicy.proxies: name your proxy's pods"},
	{`{networkPolicy: {enabled: true, proxies: [{podSelector: {}}]}, store: {kind: redis, redis: {url: "redis://redis:6379"}}}`, "networkPolicy.egress.redis: name your Redis"},
	{closed(`{providers: [{name: tokens, kind: introspection, url: "http://hydra:4445/admin/oauth2/introspect", issuer: "https://id.example.com"}]}`, "{}"), "could not reach http://hydra:4445. Add port 4445 to issuerPorts"},
	{closed(`{providers: [{name: tokens, kind: jwt, issuer: "https://id.example.com", jwks_url: "https://[2001:db8::1]:8443/keys", audience: any}]}`, "{}"), "could not reach https://[2001:db8::1]:8443. Add port 8443"},
	{closed(`{providers: [{name: company, kind: oidc, issuer: "https://id.example.com", backchannel_url: "http://id.internal", client_id: akprox}]}`, "{}"), "could not reach http://id.internal. Add port 80"},
	{closed(`{providers: [{name: company, kind: oidc, issuer: "https://id.example.com", client_id: akprox}]}`, "{issuers: []}"), "could not reach https://id.example.com. Add port 443"},
	{closed(`{applications: [{name: old, mode: proxy, external_url: "https://old.example.com", upstream: "http://10.0.0.8:8080/app"}]}`, "{}"), "could not reach http://10.0.0.8:8080. Add port 8080"},
	{`{secret: {previousKeys: [old]}}`, "set secret.existingSecret"},
	{`{preStopSeconds: 30}`, "more than 72"},
	{`{image: {digest: latest}}`, "/image/digest"},
	{`{service: {port: 70000}}`, "maximum: got 70,000, want 65,535"},
	{`{hosts: ["https://wiki.example.com"]}`, "/hosts/0"},
	{`{secrets: [Akprox]}`, "/secrets/0"},
}

// closed are values with a NetworkPolicy.
func closed(document, egress string) string {
	return "{networkPolicy: {enabled: true, proxies: [{podSelector: {}}], egress: " + egress + "}, document: " + document + "}"
}

func chartWrong(t *testing.T, c *parts.Cluster) {
	for _, row := range wrongValues {
		out, err := c.Try("helm", "", "install", "wrong", chartFolder, "--namespace", "apps", "--values", valuesFile(t, readYAML(t, row.values)))
		if err == nil || !strings.Contains(out, row.sentence) {
			t.Errorf("%s: %v %s; want %q", row.values, err, out, row.sentence)
		}
	}
	if got := c.Helm("list", "--all", "--short", "--namespace", "apps"); strings.Contains(got, "wrong") {
		t.Errorf("there are releases %s", got)
	}
}

// objects are the documents of a stream of YAML.
func objects(t *testing.T, text string) []map[string]any {
	t.Helper()
	var list []map[string]any
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var object map[string]any
		switch err := d.Decode(&object); {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("%v in\n%s", err, text)
		case object != nil:
			list = append(list, object)
		}
	}
}

// find answers the object "Kind/name", or nil.
func find(list []map[string]any, id string) map[string]any {
	for _, o := range list {
		if metadata, ok := o["metadata"].(map[string]any); ok && fmt.Sprintf("%v/%v", o["kind"], metadata["name"]) == id {
			return o
		}
	}
	return nil
}

// at follows keys and indices.
func at(t *testing.T, tree any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch s := step.(type) {
		case string:
			tree = tree.(map[string]any)[s]
		case int:
			tree = tree.([]any)[s]
		}
		if tree == nil {
			t.Fatalf("there is no %v in %v", step, path)
		}
	}
	return tree
}

// chartTemplate answers what the chart makes of values.
func chartTemplate(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	return objects(t, command(t, parts.Path(t, "helm"), append([]string{"template", "akprox", chartFolder, "--kube-version=1.36.3"}, args...)...))
}

// TestChartRoutesEveryPrefix: aliases that the document names, such as that of
// the program that people come from, lead to akprox too.
func TestChartRoutesEveryPrefix(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	route := map[string]string{"Ingress": "ingress", "HTTPRoute": "httproute", "IngressRoute": "traefik"}
	for kind, template := range route {
		for aliases, want := range map[string]int{"{/oauth2,/old}": 3, "{}": 1} {
			text := command(t, parts.Path(t, "helm"), "template", "akprox", chartFolder, "--kube-version=1.36.3", "--values", everything,
				"--show-only", "templates/"+template+".yaml", "--set", "document.server.prefix_aliases="+aliases)
			objects(t, text) // is YAML
			own, old := strings.Count(text, "/akprox/"), strings.Count(text, "/oauth2/")+strings.Count(text, "/old/")
			if kind == "IngressRoute" {
				own -= strings.Count(text, "/akprox/auth/")
			}
			if own == 0 || old != (want-1)*own {
				t.Errorf("%s, %s: %d routes of its own, %d of aliases:\n%s", kind, aliases, own, old, text)
			}
		}
	}
}

// TestChartDocument has the program itself read the documents that the chart
// writes, with the commands that its job and its test pod run.
func TestChartDocument(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for _, args := range [][]string{nil, {"--values", everything}} {
		list := chartTemplate(t, args...)
		for _, id := range []string{"ConfigMap/akprox", "ConfigMap/akprox-validate"} {
			config := writeDocument(t, at(t, find(list, id), "data", "akprox.yaml").(string))
			job := at(t, find(list, "Job/akprox-validate"), "spec", "template", "spec", "containers", 0, "args").([]any)
			command(t, parts.AkproxPath(t), job[0].(string), job[1].(string), config)
		}
	}
	list := chartTemplate(t)
	metrics := fmt.Sprintf("127.0.0.1:%d", parts.Port(t))
	document := at(t, find(list, "ConfigMap/akprox"), "data", "akprox.yaml").(string)
	port := parts.Port(t)
	document = strings.NewReplacer("/data/akprox-data", filepath.Join(t.TempDir(), "data"), "metrics: :9300", "metrics: "+metrics,
		"http: :9000", fmt.Sprintf("http: 127.0.0.1:%d", port)).Replace(document)
	parts.Akprox(t, mounted(t, document), port, "http://"+metrics+"/readyz")
	pod := at(t, find(list, "Pod/akprox-test"), "spec", "containers", 0, "args").([]any)
	asks := at(t, find(list, "ConfigMap/akprox-test"), "data", "akprox.yaml").(string)
	command(t, parts.AkproxPath(t), pod[0].(string), pod[1].(string), writeDocument(t, strings.Replace(asks, "akprox.default.svc:9300", metrics, 1)))
}

// mounted puts files of a folder in the place of what a pod has mounted.
func mounted(t *testing.T, document string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"secret", "key", "old", "client-secret", "password"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("s", 40)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		s := &stage{}
		s.certify(t)
		document = strings.ReplaceAll(document, "/etc/akprox/tls/"+name, s.certFile)
		if name == "tls.crt" { // the pair is in one file
			document = strings.ReplaceAll(document, "/etc/akprox/tls/tls.key", s.certFile)
		}
	}
	for _, at := range []string{"/etc/akprox/secret/", "/etc/akprox/secrets/akprox-oidc/", "/etc/akprox/secrets/akprox-redis/"} {
		document = strings.ReplaceAll(document, at, dir+"/")
	}
	return document
}

func writeDocument(t *testing.T, document string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "akprox.yaml")
	if err := os.WriteFile(file, []byte(mounted(t, document)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestChartReadme holds the table of values to values.yaml.
func TestChartReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(chartFolder + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(chartFolder + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for line := range strings.Lines(string(readme)) {
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") {
			if strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(cells[2]), "|")) == "" {
				t.Errorf("README.md says nothing about %s", cells[0])
			}
			said[strings.Trim(cells[0], "| `")] = strings.Trim(cells[1], "`")
		}
	}
	values := map[string]string{}
	flatten("", readYAML(t, string(text)), values)
	for path, value := range values {
		if got, ok := said[path]; !ok || got != value {
			t.Errorf("README.md has %s with the default %q, values.yaml with %q", path, got, value)
		}
	}
	for path := range said {
		if _, ok := values[path]; !ok {
			t.Errorf("README.md has %s, values.yaml does not", path)
		}
	}
}

// whole are the values that the README shows in one row.
var whole = map[string]bool{"resources": true, "podSecurityContext": true, "securityContext": true}

func flatten(path string, value any, into map[string]string) {
	if m, ok := value.(map[string]any); ok && len(m) > 0 && !whole[path] {
		for key, v := range m {
			flatten(strings.TrimPrefix(path+"."+key, "."), v, into)
		}
		return
	}
	if text, ok := value.(string); ok && text != "" {
		into[path] = text
		return
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	into[path] = string(text)
}
