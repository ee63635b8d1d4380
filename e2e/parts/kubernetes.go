package parts

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Cluster is a real Kubernetes API server with etcd, the controller manager
// and the scheduler, and with kwok in the place of the kubelet: pods become
// ready (or complete), volumes are bound, and nothing runs in them. It knows
// the custom resources of Traefik, the Gateway API (experimental channel),
// Envoy Gateway, Istio and the Prometheus operator.
type Cluster struct {
	// Kubeconfig is the path of a kubeconfig that may do everything.
	Kubeconfig string

	t testing.TB
}

// hookStage lets the pods of `helm test` come to their end: kwok's own stages
// do that for the pods of jobs alone.
const hookStage = `
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: { name: hook-complete }
spec:
  resourceRef: { apiGroup: v1, kind: Pod }
  selector:
    matchAnnotations: { helm.sh/hook: test }
    matchExpressions: [ { key: .status.phase, operator: In, values: [ Running ] } ]
  next: { statusTemplate: 'phase: Succeeded' }
`

// Kubernetes starts a cluster with one node. It ends with the test.
func Kubernetes(t testing.TB) *Cluster {
	t.Helper()
	Need(t)
	dir := t.TempDir()
	c := &Cluster{Kubeconfig: filepath.Join(dir, "kubeconfig"), t: t}
	etcd := startEtcd(t, dir)
	c.startServer(dir, etcd)
	kwokPort := Port(t)
	stages := readFile(t, KubernetesFile(t, "kwok-stages.yaml")) + hookStage
	for _, p := range []Cmd{
		{Name: "kube-controller-manager", Port: Port(t), Args: []string{
			"--cert-dir=" + filepath.Join(dir, "controllers"), "--leader-elect=false", "--use-service-account-credentials=false",
			"--service-account-private-key-file=" + filepath.Join(dir, "accounts.key"), "--authorization-always-allow-paths=/healthz",
			"--bind-address=127.0.0.1", "--secure-port=",
		}},
		{Name: "kube-scheduler", Port: Port(t), Args: []string{
			"--leader-elect=false", "--authorization-always-allow-paths=/healthz", "--bind-address=127.0.0.1", "--secure-port=",
		}},
		{Name: "kwok", Port: kwokPort, Args: []string{
			"--config=" + write(t, dir, "stages.yaml", stages), "--manage-all-nodes=true", "--node-ip=10.0.0.1", "--server-address=127.0.0.1:",
		}},
	} {
		last := &p.Args[len(p.Args)-1]
		*last += fmt.Sprint(p.Port)
		p.Path, p.Dir, p.Timeout = Path(t, p.Name), dir, time.Minute
		p.Args = append(p.Args, "--kubeconfig="+c.Kubeconfig)
		startBriefly(t, p)
	}
	c.Apply(`{apiVersion: v1, kind: Node, metadata: {name: node-0, labels: {kubernetes.io/os: linux, kubernetes.io/hostname: node-0}}}`)
	c.Apply(strings.Replace(readFile(t, KubernetesFile(t, "storage-class.yaml")), "metadata:",
		"metadata:\n  annotations: { storageclass.kubernetes.io/is-default-class: 'true' }", 1))
	c.customResources()
	return c
}

// customResources adds the definitions. They are applied by the server: some
// are too large for the annotation that kubectl would remember them in.
func (c *Cluster) customResources() {
	c.t.Helper()
	args := []string{"apply", "--server-side", "--validate=false"}
	for _, name := range []string{"traefik", "gateway-experimental", "envoy-gateway", "istio", "servicemonitor"} {
		args = append(args, "-f", KubernetesFile(c.t, name+".yaml"))
	}
	c.Kubectl(args...)
	c.Kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
}

// KubernetesFile returns the path of a file that scripts/parts.sh took out of
// a module: a definition of custom resources such as "traefik.yaml" or the
// folder "schemas", which kubeconform reads.
func KubernetesFile(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(Path(t, "kubernetes-files"), name)
}

// With answers the same cluster for a subtest, which is the one that fails.
func (c *Cluster) With(t testing.TB) *Cluster { return &Cluster{Kubeconfig: c.Kubeconfig, t: t} }

// Kubectl runs kubectl and answers its output.
func (c *Cluster) Kubectl(args ...string) string {
	c.t.Helper()
	out, err := c.Try("kubectl", "", args...)
	if err != nil {
		c.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Helm runs helm and answers its output.
func (c *Cluster) Helm(args ...string) string {
	c.t.Helper()
	out, err := c.Try("helm", "", args...)
	if err != nil {
		c.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Apply applies YAML under the server's strict validation, with more arguments
// for kubectl.
func (c *Cluster) Apply(yaml string, args ...string) string {
	c.t.Helper()
	out, err := c.Try("kubectl", yaml, append([]string{"apply", "--validate=strict", "-f", "-"}, args...)...)
	if err != nil {
		c.t.Fatalf("kubectl apply: %v\n%s\nof\n%s", err, out, yaml)
	}
	return out
}

// Try runs kubectl or helm with the cluster's kubeconfig and input, and
// answers what it wrote to both of its outputs.
func (c *Cluster) Try(program, input string, args ...string) (string, error) {
	c.t.Helper()
	run := exec.Command(Path(c.t, program), args...) // #nosec G204 -- the test's own
	home := filepath.Dir(c.Kubeconfig)
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "KUBECONFIG=" + c.Kubeconfig}
	run.Stdin = strings.NewReader(input)
	out, err := run.CombinedOutput()
	return string(out), err
}

// startBriefly is Start for what keeps nothing that is needed later: it is
// killed, because some of these take their time to say goodbye to each other.
func startBriefly(t testing.TB, c Cmd) *Process {
	t.Helper()
	p := Start(t, c)
	t.Cleanup(p.Kill)
	return p
}

func startEtcd(t testing.TB, dir string) *Process {
	t.Helper()
	port := Port(t)
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", Port(t))
	return startBriefly(t, Cmd{
		Name: "etcd", Path: Path(t, "etcd"), Dir: dir, Port: port, ReadyURL: client + "/health", Timeout: time.Minute,
		Args: []string{
			"--data-dir=" + filepath.Join(dir, "etcd"), "--listen-client-urls=" + client, "--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
			"--unsafe-no-fsync", "--log-level=warn",
		},
	})
}

// startServer starts the API server, which makes its own certificate, and
// writes the kubeconfig.
func (c *Cluster) startServer(dir string, etcd *Process) {
	c.t.Helper()
	key := filepath.Join(dir, "accounts.key")
	write(c.t, dir, "accounts.key", newKey(c.t))
	token := rand.Text()
	users := write(c.t, dir, "tokens.csv", token+",admin,admin,system:masters\n")
	port, certificate := Port(c.t), filepath.Join(dir, "certificates", "apiserver.crt")
	url := fmt.Sprintf("https://127.0.0.1:%d", port)
	startBriefly(c.t, Cmd{
		Name: "kube-apiserver", Path: Path(c.t, "kube-apiserver"), Dir: dir, Port: port, Timeout: 2 * time.Minute,
		Ready: func() error { return ready(url+"/readyz", certificate, token) },
		Args: []string{
			"--etcd-servers=http://" + etcd.Addr(), "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
			fmt.Sprintf("--secure-port=%d", port), "--endpoint-reconciler-type=none", "--cert-dir=" + filepath.Dir(certificate),
			"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + key,
			"--service-account-signing-key-file=" + key, "--service-cluster-ip-range=10.96.0.0/16",
			"--authorization-mode=RBAC", "--token-auth-file=" + users,
		},
	})
	write(c.t, dir, "kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [ { name: e2e, cluster: { server: %q, certificate-authority: %q } } ]
users: [ { name: admin, user: { token: %q } } ]
contexts: [ { name: e2e, context: { cluster: e2e, user: admin } } ]
current-context: e2e
`, url, certificate, token))
}

// ready asks the API server, believing the certificate that it made.
func ready(url, certificate, token string) error {
	pemText, err := os.ReadFile(certificate) // #nosec G304 -- in the test's own folder
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pemText)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + ": " + string(body))
	}
	return err
}

// newKey makes a private key, PEM.
func newKey(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) // #nosec G304 -- the test's own
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Traefik starts Traefik with an entry point named web on port and the
// providers that args configure, which read the cluster's API. For Traefik
// alone, each of the hosts is a name of 127.0.0.1, as if it were resolved by
// the cluster's DNS. It is up when the URL route is no longer a 404.
func (c *Cluster) Traefik(t testing.TB, port int, hosts []string, route string, args ...string) *Process {
	t.Helper()
	names := write(t, t.TempDir(), "hosts", "127.0.0.1 localhost "+strings.Join(hosts, " ")+"\n")
	share := []string{"--mount"}
	if os.Geteuid() != 0 {
		share = append(share, "--map-root-user")
	}
	client := Client(t)
	return Start(t, Cmd{
		Name: "traefik", Path: Path(t, "unshare"), Port: port, Timeout: time.Minute,
		Env: []string{"KUBECONFIG=" + c.Kubeconfig},
		Args: append(append(share, "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, names, Path(t, "traefik"),
			fmt.Sprintf("--entryPoints.web.address=127.0.0.1:%d", port), "--global.checkNewVersion=false",
			"--global.sendAnonymousUsage=false", "--log.level=INFO", "--accessLog=true"), args...),
		Ready: func() error {
			resp, err := client.Get(route)
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusNotFound {
				return fmt.Errorf("no route for %s yet", route)
			}
			return nil
		},
	})
}
