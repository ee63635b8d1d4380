package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// The pages quote the golden files, which are about https; the scenarios run
// what is printed for http. Here the real proxies load the golden files as they
// are, but for where they listen and where the certificate is.

const goldens = "../proxy/dialect/testdata/snippets/"

// loaders load a golden file, by the name of its snippet.
var loaders = map[string]func(t *testing.T, golden string){
	"nginx":   nginxLoads,
	"haproxy": haproxyLoads,
	"caddy":   caddysLoad,
}

// loadedElsewhere says where the others are loaded. What is for Kubernetes is
// given to an API server: as printed for http, and for https as the overlays
// quote it.
var loadedElsewhere = map[string]string{
	"traefik":        "TestTraefikLoadsEverySnippet",
	"traefik-labels": "TestTraefikLoadsEverySnippet",
	"traefik-crd":    "TestKubernetes/manifests and page",
	"ingress-nginx":  "TestKubernetes/manifests and page",
	"gateway-api":    "TestKubernetes/manifests and page",
	"envoy":          "TestEnvoyReadsEverySnippet",
}

func TestProxiesLoadEverySnippet(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	files, err := filepath.Glob(goldens + "*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	loaded := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		snippet := name[:strings.LastIndexByte(name, '-')]
		loaded[snippet] = true
		load := loaders[snippet]
		if load == nil {
			if loadedElsewhere[snippet] == "" {
				t.Errorf("no proxy loads %s", file)
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			load(t, readFile(t, file))
		})
	}
	for snippet := range loaders {
		if !loaded[snippet] {
			t.Errorf("there is no golden file for %s", snippet)
		}
	}
}

func nginxLoads(t *testing.T, golden string) {
	s := &stage{port: parts.Port(t)}
	conf := changed(t, s.certified(t, golden), "listen 443 ssl;", fmt.Sprintf("listen 127.0.0.1:%d ssl;", s.port))
	nginx := parts.Nginx(t, s.port, conf)
	s.handshake(t)
	if out := nginx.Output(); strings.Contains(out, "[warn]") {
		t.Error(out)
	}
}

func haproxyLoads(t *testing.T, golden string) {
	s := &stage{port: parts.Port(t)}
	cfg, lua := haproxyFiles(t, []string{s.certified(t, golden)})
	haproxy := parts.HAProxy(t, s.port, changed(t, cfg, "bind :443 ", fmt.Sprintf("bind 127.0.0.1:%d ", s.port)), lua)
	if got := s.handshake(t); got != "h2" {
		t.Errorf("it speaks %q", got)
	}
	if out := haproxy.Output(); strings.Contains(out, "WARNING") {
		t.Error(out)
	}
}

func caddysLoad(t *testing.T, golden string) {
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(golden), 0o600); err != nil {
		t.Fatal(err)
	}
	caddysTake(t, file)
}

// caddysTake has each Caddy look through a Caddyfile.
func caddysTake(t *testing.T, file string) {
	t.Helper()
	for _, which := range []string{parts.CaddyNew, parts.CaddyDebian} {
		cmd := exec.Command(parts.Path(t, which), "validate", "--adapter", "caddyfile", "--config", file) // #nosec G204
		cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir())
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), `"level":"warn"`) {
			t.Errorf("%s does not take it: %v\n%s", which, err, out)
		}
	}
}

// certified puts a certificate, with its key, where the text names one.
func (s *stage) certified(t *testing.T, text string) string {
	t.Helper()
	s.certify(t)
	named := regexp.MustCompile(`/etc/ssl/\S+\.(crt|key|pem)\b`)
	if !named.MatchString(text) {
		t.Fatalf("there is no certificate in\n%s", text)
	}
	return named.ReplaceAllString(text, s.certFile)
}

// handshake begins to talk to the proxy, which has to have that certificate,
// and answers the protocol.
func (s *stage) handshake(t *testing.T) string {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{
		RootCAs: s.tls.RootCAs, ServerName: appHost, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().NegotiatedProtocol
}

// changed answers text with one piece of it changed.
func changed(t *testing.T, text, old, by string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%q is not there once in\n%s", old, text)
	}
	return strings.Replace(text, old, by, 1)
}

// TestTraefikLoadsEverySnippet has one Traefik read the golden files, those for
// its file provider as files and the labels as those of containers. Both have
// to come to the same.
func TestTraefikLoadsEverySnippet(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	files, err := filepath.Glob(goldens + "traefik-forward_*.txt")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	dir := t.TempDir()
	var names []string
	var containers []map[string]any
	for _, file := range files {
		text, mode := readFile(t, file), strings.TrimPrefix(filepath.Base(file), "traefik-")
		for name := range readYAML(t, text)["http"].(map[string]any)["routers"].(map[string]any) {
			names = append(names, name+"@file", name+"@docker")
		}
		if err := os.WriteFile(filepath.Join(dir, mode+".yml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		containers = append(containers, containersOf(readYAML(t, readFile(t, goldens+"traefik-labels-"+mode)))...)
	}
	traefik := startTraefikAPI(t, []string{
		fmt.Sprintf("--entryPoints.https.address=127.0.0.1:%d", parts.Port(t)), "--providers.file.directory=" + dir,
		"--providers.docker.exposedByDefault=false", "--providers.docker.endpoint=" + docker(t, containers),
	}, names...)
	routers, middlewares := traefik.list(t, "routers"), traefik.list(t, "middlewares")
	if len(routers) != len(names) {
		t.Errorf("%d routers, not the %d of the files: %v", len(routers), len(names), routers)
	}
	for name, r := range routers {
		guarded := !strings.HasPrefix(name, "akprox-")
		if r["tls"] == nil || guarded != reflect.DeepEqual(r["middlewares"], []any{"akprox-" + name}) || !guarded && r["middlewares"] != nil {
			t.Errorf("the router %v", r)
		}
	}
	alike(t, routers)
	alike(t, middlewares)
	traefik.content(t)
}

// alike fails unless what the labels make is what the files make, but for the
// names of machines and of services.
func alike(t *testing.T, objects map[string]map[string]any) {
	t.Helper()
	for name, object := range objects {
		bare, isLabels := strings.CutSuffix(name, "@docker")
		if !isLabels {
			continue
		}
		var both [2]string
		for i, o := range []map[string]any{object, objects[bare+"@file"]} {
			delete(o, "service")
			text, err := json.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			both[i] = strings.NewReplacer("@docker", "@file", `"docker"`, `"file"`, "//akprox:9000", "//127.0.0.1:9000").Replace(string(text))
		}
		if both[0] != both[1] {
			t.Errorf("the labels make\n%s\nand the file makes\n%s", both[0], both[1])
		}
	}
}

// TestComposeTraefik has Traefik read the published compose file: its own
// flags, and the labels of its containers. Every router has to have a
// certificate made.
func TestComposeTraefik(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	compose := readYAML(t, readFile(t, composed+"traefik/compose.yaml"))
	var flags []string
	for _, flag := range compose["services"].(map[string]any)["traefik"].(map[string]any)["command"].([]any) {
		flags = append(flags, flag.(string))
	}
	text := strings.Join(flags, "\n")
	text = changed(t, text, "http.address=:80", fmt.Sprintf("http.address=127.0.0.1:%d", parts.Port(t)))
	text = changed(t, text, "https.address=:443", fmt.Sprintf("https.address=127.0.0.1:%d", parts.Port(t)))
	text = changed(t, text, "/data/acme.json", filepath.Join(t.TempDir(), "acme.json"))
	var asked atomic.Int32
	authority, certificate := closedAuthority(t, &asked)
	traefik := startTraefikAPI(t, append(strings.Split(text, "\n"),
		"--certificatesResolvers.letsencrypt.acme.caServer="+authority, "--certificatesResolvers.letsencrypt.acme.caCertificates="+certificate,
		"--providers.docker.endpoint="+docker(t, containersOf(compose)),
	), "wiki@docker", "akprox-wiki@docker")
	https := 0
	for name, r := range traefik.list(t, "routers") {
		tls, _ := r["tls"].(map[string]any)
		if tls == nil || tls["certResolver"] != "letsencrypt" {
			t.Errorf("nobody certifies the hosts of the router %s, whose TLS is %v", name, r["tls"])
		}
		if reflect.DeepEqual(r["using"], []any{"https"}) {
			https++
		}
	}
	if https != 2 {
		t.Errorf("%d routers are reached by https", https)
	}
	eventually(t, "nobody was asked for a certificate", func() bool { return asked.Load() > 0 })
	traefik.content(t)
}

// closedAuthority answers the address of a certificate authority that counts
// who asks and makes no certificates, and the file with its own.
func closedAuthority(t *testing.T, asked *atomic.Int32) (address, certificate string) {
	t.Helper()
	authority := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(authority.Close)
	certificate = filepath.Join(t.TempDir(), "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})
	if err := os.WriteFile(certificate, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return authority.URL, certificate
}

// traefikAPI is a Traefik that is asked about itself.
type traefikAPI struct {
	process *parts.Process
	url     string
}

// startTraefikAPI starts Traefik and waits until it knows the routers.
func startTraefikAPI(t *testing.T, flags []string, routers ...string) *traefikAPI {
	t.Helper()
	port := parts.Port(t)
	a := &traefikAPI{url: fmt.Sprintf("http://127.0.0.1:%d/api/http/", port)}
	client := parts.Client(t)
	a.process = parts.Start(t, parts.Cmd{
		Name: "traefik", Path: parts.Path(t, "traefik"), Port: port, Timeout: time.Minute,
		Args: append([]string{
			"--api.insecure=true", "--api.dashboard=false", fmt.Sprintf("--entryPoints.traefik.address=127.0.0.1:%d", port),
			"--global.checkNewVersion=false", "--global.sendAnonymousUsage=false", "--log.level=INFO", "--log.format=json",
		}, flags...),
		Ready: func() error {
			for _, name := range routers {
				resp, err := client.Get(a.url + "routers/" + name)
				if err != nil {
					return err
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					return fmt.Errorf("no router %s yet", name)
				}
			}
			return nil
		},
	})
	return a
}

// list answers what Traefik has made of the routers, middlewares or services,
// by their names.
func (a *traefikAPI) list(t *testing.T, kind string) map[string]map[string]any {
	t.Helper()
	resp, err := parts.Client(t).Get(a.url + kind)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var all []map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	named := map[string]map[string]any{}
	for _, one := range all {
		if one["provider"] != "internal" {
			named[one["name"].(string)] = one
		}
	}
	return named
}

// content fails if Traefik finds fault with anything that it was given.
func (a *traefikAPI) content(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"routers", "middlewares", "services"} {
		for name, object := range a.list(t, kind) {
			if object["status"] != "enabled" || object["error"] != nil {
				t.Errorf("%s of the %s is %v: %v", name, kind, object["status"], object["error"])
			}
		}
	}
	for line := range strings.Lines(a.process.Output()) {
		var said struct{ Level, ProviderName string }
		if json.Unmarshal([]byte(line), &said) == nil && said.Level != "info" && (said.ProviderName == "docker" || said.ProviderName == "file") {
			t.Errorf("it says %s", line)
		}
	}
}

// docker stands for Docker where Traefik asks it, and answers the address.
func docker(t *testing.T, containers []map[string]any) string {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Api-Version", "1.44")
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(text)
		})
	}
	answer("/_ping", "OK")
	answer("/v1.44/version", map[string]any{"ApiVersion": "1.44"})
	var list []map[string]any
	for i, c := range containers {
		id := fmt.Sprintf("container-%d", i)
		list = append(list, map[string]any{"Id": id})
		c["Id"] = id
		answer("/v1.44/containers/"+id+"/json", c)
	}
	answer("/v1.44/containers/json", list)
	mux.HandleFunc("/v1.44/events", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return "tcp" + strings.TrimPrefix(server.URL, "http")
}

// containersOf answers those services of a compose file that have labels, as
// Docker tells of their containers.
func containersOf(compose map[string]any) []map[string]any {
	var all []map[string]any
	for name, service := range compose["services"].(map[string]any) {
		service := service.(map[string]any)
		labels := map[string]string{}
		for label, value := range labelsOf(service) {
			labels[label] = strings.ReplaceAll(fmt.Sprint(value), "$$", "$") // as docker compose does
		}
		all = append(all, map[string]any{
			"Name": "/" + name, "State": map[string]any{"Status": "running"},
			"Config": map[string]any{"Labels": labels}, "HostConfig": map[string]any{},
			"NetworkSettings": map[string]any{"Networks": networksOf(compose, service)},
		})
	}
	return all
}

// networksOf answers the networks that a service is in, by the names that
// Docker has for them, with its address.
func networksOf(compose, service map[string]any) map[string]any {
	networks := map[string]any{}
	names, _ := service["networks"].([]any)
	for _, name := range names {
		settings := compose["networks"].(map[string]any)[name.(string)].(map[string]any)
		if own, ok := settings["name"].(string); ok {
			networks[own] = map[string]any{"IPAddress": "192.0.2.7"}
		} else {
			networks["project_"+name.(string)] = map[string]any{"IPAddress": "192.0.2.7"}
		}
	}
	if len(networks) == 0 {
		networks["project_default"] = map[string]any{"IPAddress": "192.0.2.7"}
	}
	return networks
}

func labelsOf(service map[string]any) map[string]any {
	labels, _ := service["labels"].(map[string]any)
	return labels
}
