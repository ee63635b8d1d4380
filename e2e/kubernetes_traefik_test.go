package e2e_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/e2e/parts"
)

// These tests have a real Traefik read the real API server, by each of its
// three providers. No pod runs there, so the services are names of this
// machine, on which akprox and the program run.

// inCluster is a front in a namespace of its own.
type inCluster struct {
	cluster   *parts.Cluster
	namespace string
}

var kubernetesFronts = []struct {
	front
	start         func(k inCluster, t *testing.T, s *stage, printed []string)
	modes, issuer string
}{
	{front{name: "the snippet's CRDs", snippet: "traefik-crd"}, inCluster.snippetCRDs, "forward_single forward_domain", "dex"},
	{front{name: "the chart's CRDs"}, inCluster.chartCRDs, "forward_single forward_domain", "oidc-provider"},
	{front{name: "the chart's Ingress and Middleware"}, inCluster.chartIngress, "forward_single forward_domain", "dex"},
	{front{name: "ingress-nginx annotations", snippet: "ingress-nginx", originalURL: true, keepsDots: true}, inCluster.annotations, "forward_single forward_domain", "oidc-provider"},
}

// traefikInKubernetes runs the table of scenarios.
func traefikInKubernetes(t *testing.T, cluster *parts.Cluster) {
	for name, controller := range map[string]string{"traefik": "traefik.io/ingress-controller", "nginx": "k8s.io/ingress-nginx"} { // of no namespace
		cluster.With(t).Apply(fmt.Sprintf("{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: %s}, spec: {controller: %s}}", name, controller))
	}
	n := 0
	for _, row := range kubernetesFronts {
		for mode := range strings.FieldsSeq(row.modes) {
			n++
			namespace := fmt.Sprintf("stage-%d", n)
			f := row.front
			f.start = func(t *testing.T, s *stage, printed []string) {
				row.start(inCluster{cluster.With(t), namespace}, t, s, printed)
			}
			t.Run(f.name+"/"+mode+"/"+row.issuer, func(t *testing.T) {
				t.Parallel()
				s := newStage(t, f, mode, row.issuer)
				for _, c := range scenarios {
					t.Run(c.name, func(t *testing.T) { c.run(t, s) })
				}
			})
		}
	}
	t.Run("the seed's ingress-nginx annotations", func(t *testing.T) {
		t.Parallel()
		seedInTraefik(t, inCluster{cluster.With(t), "seed"})
	})
}

// services makes the namespace, and services for akprox and the program.
func (k inCluster) services(t *testing.T, s *stage) {
	t.Helper()
	k.cluster.Apply(fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s}}", k.namespace))
	for name, address := range map[string]string{"akprox": s.address, "program": s.program} {
		_, port, _ := strings.Cut(address, ":")
		k.cluster.Apply(fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: { name: %s, namespace: %s }
spec: { type: ExternalName, externalName: localhost, ports: [ { name: http, port: %s, targetPort: %[3]s } ] }
`, name, k.namespace, port))
	}
}

// traefik starts Traefik with one provider.
func (k inCluster) traefik(t *testing.T, s *stage, providers ...string) {
	t.Helper()
	service := "akprox." + k.namespace + ".svc"
	hosts := []string{service, service + ".cluster.local", appHost, otherHost, authHost}
	k.cluster.Traefik(t, s.port, hosts, s.app+"/public/up", providers...)
}

func (k inCluster) crdProvider() []string {
	return []string{"--providers.kubernetesCRD.allowExternalNameServices=true", "--providers.kubernetesCRD.namespaces=" + k.namespace}
}

// here puts a printed configuration into the namespace, and the port of the
// program where a person would put it.
func (k inCluster) here(s *stage, text string) string {
	_, port, _ := strings.Cut(s.program, ":")
	return strings.NewReplacer("akprox.default.svc", "akprox."+k.namespace+".svc", "namespace: default", "namespace: "+k.namespace,
		"port: 8080", "port: "+port).Replace(text)
}

func (k inCluster) snippetCRDs(t *testing.T, s *stage, printed []string) {
	k.services(t, s)
	for _, text := range printed {
		k.cluster.Apply(k.here(s, text))
	}
	k.traefik(t, s, k.crdProvider()...)
}

// chart answers the objects that templates of the chart make for the stage.
func (k inCluster) chart(t *testing.T, s *stage, templates []string, values map[string]any) string {
	t.Helper()
	document := readYAML(t, s.document("", 0))
	values["document"] = map[string]any{"providers": document["providers"], "applications": document["applications"]}
	_, port, _ := strings.Cut(s.address, ":")
	args := []string{"template", "akprox", chartFolder, "--namespace", k.namespace, "--kube-version", "1.36.3", "--set", "service.port=" + port, "--values", valuesFile(t, values)}
	for _, name := range templates {
		args = append(args, "--show-only", "templates/"+name+".yaml")
	}
	return k.cluster.Helm(args...)
}

func valuesFile(t *testing.T, values map[string]any) string {
	t.Helper()
	text, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// guarded are the hosts of the program, and the application of each.
func (s *stage) guarded() map[string]string {
	if s.mode == "forward_domain" {
		return map[string]string{appHost: "everything", otherHost: "everything", authHost: "everything"}
	}
	return map[string]string{appHost: "app", otherHost: "other"}
}

func (k inCluster) chartCRDs(t *testing.T, s *stage, _ []string) {
	k.services(t, s)
	k.cluster.Apply(k.chart(t, s, []string{"traefik"}, map[string]any{"traefik": map[string]any{
		"middleware":   map[string]any{"enabled": true},
		"ingressRoute": map[string]any{"enabled": true, "entryPoints": []string{"web"}, "tls": nil},
	}}))
	for host, application := range s.guarded() {
		k.cluster.Apply(k.here(s, fmt.Sprintf(`
apiVersion: traefik.io/v1alpha1
kind: IngressRoute
metadata: { name: %s, namespace: default }
spec:
  routes:
    - { kind: Rule, match: "Host(`+"`%[1]s`"+`)", middlewares: [ { name: akprox-%s } ], services: [ { name: program, port: 8080 } ] }
`, host, application)))
	}
	k.traefik(t, s, k.crdProvider()...)
}

func (k inCluster) chartIngress(t *testing.T, s *stage, _ []string) {
	k.services(t, s)
	k.cluster.Apply(k.chart(t, s, []string{"traefik", "ingress"}, map[string]any{
		"traefik": map[string]any{"middleware": map[string]any{"enabled": true}},
		"ingress": map[string]any{"enabled": true, "className": "traefik"},
	}))
	for host, application := range s.guarded() {
		k.program(s, host, "traefik", map[string]any{
			"traefik.ingress.kubernetes.io/router.middlewares": fmt.Sprintf("%s-akprox-%s@kubernetescrd", k.namespace, application),
		})
	}
	k.traefik(t, s, append(k.crdProvider(), "--providers.kubernetesIngress.allowExternalNameServices=true", "--providers.kubernetesIngress.namespaces="+k.namespace)...)
}

// program makes the Ingress of the program for one host.
func (k inCluster) program(s *stage, host, class string, annotations map[string]any) {
	var list strings.Builder
	for name, value := range annotations {
		fmt.Fprintf(&list, "    %s: %q\n", name, value)
	}
	k.cluster.Apply(k.here(s, fmt.Sprintf(`
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: %s
  namespace: default
  annotations:
%sspec:
  ingressClassName: %s
  rules: [ { host: %[1]s, http: { paths: [ { path: /, pathType: Prefix, backend: { service: { name: program, port: { name: http } } } } ] } } ]
`, host, list.String(), class)))
}

// annotations are the printed ones with the two changes that docs/kubernetes.md
// asks of those who leave ingress-nginx for Traefik: Traefik tells what it was
// asked in its own headers, and hands on akprox's redirect by itself.
func (k inCluster) annotations(t *testing.T, s *stage, printed []string) {
	k.services(t, s)
	for i, text := range printed {
		first, pages, _ := strings.Cut(k.here(s, text), "\n---\n")
		annotations := readYAML(t, first)["metadata"].(map[string]any)["annotations"].(map[string]any)
		url := annotations[annotation+"auth-url"].(string)
		annotations[annotation+"auth-url"] = strings.Replace(url, "/auth/nginx", "/auth/traefik", 1)
		delete(annotations, annotation+"auth-signin")
		k.cluster.Apply(pages, "--namespace", k.namespace)
		for host, application := range s.guarded() {
			if application == s.applications()[i] {
				k.program(s, host, "nginx", annotations)
			}
		}
	}
	k.nginxProvider(t, s, "--entryPoints.web.http.underscoreHeadersStrategy=delete")
}

func (k inCluster) nginxProvider(t *testing.T, s *stage, args ...string) {
	k.traefik(t, s, append(args, "--providers.kubernetesIngressNGINX.watchNamespace="+k.namespace)...)
}

// seedInTraefik has people sign in with the annotations that they had for
// ingress-nginx, to the letter but for https, names and ports.
func seedInTraefik(t *testing.T, k inCluster) {
	f := front{name: "seed", pathless: true, sendsPrograms: true, start: func(t *testing.T, s *stage, _ []string) {
		k.services(t, s)
		host := strings.TrimPrefix(s.app, "http://")
		a := readYAML(t, seedFile(t, "ingress-annotations.yaml", "https://"+theirHost, "http://"+host))
		k.program(s, appHost, "nginx", a["metadata"].(map[string]any)["annotations"].(map[string]any))
		_, port, _ := strings.Cut(s.address, ":")
		k.cluster.Apply(seedFile(t, "ingress-outpost.yaml", theirHost, appHost,
			"networking.k8s.io/v1beta1", "networking.k8s.io/v1", // which no API server has any more
			"serviceName: authentik-outpost-example-outpost", "service: { name: akprox, port: { number: "+port+" } }",
			"          servicePort: 9000\n", "",
			"path: /akprox", "path: /akprox\n        pathType: Prefix",
			"spec:\n", "spec:\n  ingressClassName: nginx\n"), "--namespace", k.namespace)
		k.nginxProvider(t, s, "--providers.kubernetesIngressNGINX.allowSnippetAnnotations=true")
	}}
	s := newStage(t, f, "forward_single", "oidc-provider")
	p := s.person(t)
	if e := p.arrive(s.app+"/app?a=1&b=2", "alice"); e.Query != "a=1&b=2" {
		t.Errorf("the program was asked for %q", e.RequestURI)
	}
	seedHeaders(t, p, true)
	seedPrograms(t, s)
	body := bytes.Repeat([]byte("x"), 1<<10)
	if e := p.send(http.MethodPost, s.app+"/upload", program, body).echo(t); e.BodyLength != 1<<10 {
		t.Errorf("of the body there came %d bytes", e.BodyLength)
	}
	t.Run("forged control headers", func(t *testing.T) { forgedControlHeaders(t, s) })
	t.Run("sign out", func(t *testing.T) { signOut(t, s) })
}
