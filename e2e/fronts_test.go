package e2e_test

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/e2e/parts"
)

// yourProgram stands in the printed configurations where a person puts the
// address of the program.
const yourProgram = "127.0.0.1:8080"

// front is a reverse proxy in front of the guarded program, configured with
// what `akprox snippet` prints.
type front struct {
	name    string
	snippet string // the name it has for `akprox snippet`
	start   func(t *testing.T, s *stage, printed []string)

	originalURL   bool // nginx_original_url of the document
	refusesIn403  bool // shows 403 for every refusal that is no 401
	sendsPrograms bool // sends programs to the sign-in, too
	pathless      bool // does not tell the path
	https         bool // people reach it by https
	ownErrors     bool // shows a 503 of its own for ours
	grpc          bool // asks over gRPC
	keepsDots     bool // hands on headers with a dot in the name
}

var (
	nginx       = front{name: "nginx", snippet: "nginx", start: startNginx, originalURL: true}
	ingress     = front{name: "ingress-nginx", snippet: "ingress-nginx", start: startIngress, originalURL: true, refusesIn403: true, sendsPrograms: true}
	traefik     = front{name: "traefik", snippet: "traefik", start: startTraefik}
	labels      = front{name: "traefik-labels", snippet: "traefik-labels", start: startLabels}
	caddy       = front{name: parts.CaddyNew, snippet: "caddy", start: startCaddy(parts.CaddyNew)}
	caddyKeeps  = front{name: parts.CaddyKeeps, snippet: "caddy", start: startCaddy(parts.CaddyKeeps)}
	caddyDebian = front{name: parts.CaddyDebian, snippet: "caddy", start: startCaddy(parts.CaddyDebian)}
	itself      = front{name: "proxy"}
)

// server is what the front asks of the document's server.
func (f front) server(t *testing.T) string {
	text := fmt.Sprintf("nginx_original_url: %v", f.originalURL)
	if f.grpc {
		text += fmt.Sprintf(`, grpc: "127.0.0.1:%d"`, parts.Port(t))
	}
	return text
}

// filledIn puts the program's address where a person would put it.
func (s *stage) filledIn(printed []string) string {
	return strings.ReplaceAll(strings.Join(printed, "\n"), yourProgram, s.program)
}

func startNginx(t *testing.T, s *stage, printed []string) {
	listen := fmt.Sprintf("listen %d", s.port)
	conf := strings.ReplaceAll(s.filledIn(printed), listen, fmt.Sprintf("listen 127.0.0.1:%d", s.port)) // loopback alone
	parts.Nginx(t, s.port, conf)
}

func startCaddy(which string) func(*testing.T, *stage, []string) {
	return func(t *testing.T, s *stage, printed []string) { parts.Caddy(t, which, s.port, s.filledIn(printed)) }
}

func startTraefik(t *testing.T, s *stage, printed []string) {
	dynamic := map[string]any{}
	for _, text := range printed {
		merge(dynamic, readYAML(t, strings.ReplaceAll(text, yourProgram, s.program)))
	}
	runTraefik(t, s, dynamic)
}

func runTraefik(t *testing.T, s *stage, dynamic map[string]any) {
	text, err := yaml.Marshal(dynamic)
	if err != nil {
		t.Fatal(err)
	}
	parts.Traefik(t, s.port, string(text), s.app+"/public/up")
}

// startLabels does with docker compose's labels what Traefik's docker provider
// does: each is a path into the dynamic configuration, and a service's port
// means the container's address.
func startLabels(t *testing.T, s *stage, printed []string) {
	dynamic := map[string]any{}
	for _, text := range printed {
		compose := readYAML(t, text)["services"].(map[string]any)
		for name, service := range compose {
			at := map[string]string{"akprox": s.address, "program": s.program}[name]
			merge(dynamic, fromLabels(service.(map[string]any)["labels"].(map[string]any), at))
		}
	}
	setAddress(dynamic, "http://akprox:", s.address)
	runTraefik(t, s, dynamic)
}

// fromLabels makes a dynamic configuration of a container's labels.
func fromLabels(labels map[string]any, at string) map[string]any {
	dynamic := map[string]any{}
	for label, value := range labels {
		path, ok := strings.CutPrefix(label, "traefik.http.")
		if !ok {
			continue
		}
		text := strings.ReplaceAll(fmt.Sprint(value), "$$", "$") // as docker compose does
		switch keys := strings.Split(path, "."); {
		case strings.HasSuffix(path, ".server.port"):
			put(dynamic, keys[:len(keys)-2], map[string]any{"servers": []any{map[string]any{"url": "http://" + at}}})
		case strings.HasSuffix(path, "Headers"), strings.HasSuffix(path, ".middlewares"), strings.HasSuffix(path, ".entrypoints"):
			var list []any
			for word := range strings.SplitSeq(text, ",") {
				list = append(list, strings.TrimSuffix(word, "@docker"))
			}
			put(dynamic, keys, list)
		default:
			put(dynamic, keys, text)
		}
	}
	return map[string]any{"http": dynamic}
}

// put sets the value at a path of keys.
func put(tree map[string]any, keys []string, value any) {
	for _, key := range keys[:len(keys)-1] {
		if tree[key] == nil {
			tree[key] = map[string]any{}
		}
		tree = tree[key].(map[string]any)
	}
	if m, ok := value.(map[string]any); ok && tree[keys[len(keys)-1]] != nil {
		merge(tree[keys[len(keys)-1]].(map[string]any), m)
		return
	}
	tree[keys[len(keys)-1]] = value
}

// setAddress puts the outpost's address where every forwardAuth has prefix.
func setAddress(dynamic map[string]any, prefix, address string) {
	for _, m := range dynamic["http"].(map[string]any)["middlewares"].(map[string]any) {
		for _, settings := range m.(map[string]any) {
			auth := settings.(map[string]any)
			rest := strings.TrimPrefix(auth["address"].(string), prefix)
			auth["address"] = "http://" + address + rest[strings.IndexByte(rest, '/'):]
		}
	}
}

// startIngress stands for the controller: it renders the server blocks that
// the controller makes of the annotations.
func startIngress(t *testing.T, s *stage, printed []string) {
	var conf strings.Builder
	hosts := [][]string{{appHost, otherHost, authHost}}
	if len(printed) == 2 {
		hosts = [][]string{{appHost}, {otherHost}}
	}
	for i, text := range printed {
		first, second, _ := strings.Cut(text, "\n---\n")
		annotations := readYAML(t, first)["metadata"].(map[string]any)["annotations"].(map[string]any)
		pages := readYAML(t, second)
		spec := pages["spec"].(map[string]any)["rules"].([]any)[0].(map[string]any)
		own := spec["host"].(string)
		url := annotations[annotation+"auth-url"].(string)
		service := net.JoinHostPort("akprox.default.svc.cluster.local", strings.TrimPrefix(s.address, "127.0.0.1:"))
		annotations[annotation+"auth-url"] = strings.ReplaceAll(url, service, s.address)
		for _, host := range hosts[i] {
			outpost := ""
			if host == own {
				outpost = spec["http"].(map[string]any)["paths"].([]any)[0].(map[string]any)["path"].(string)
			}
			conf.WriteString(s.render(host, outpost, annotations, pages["metadata"].(map[string]any)["annotations"].(map[string]any), service))
		}
	}
	parts.Nginx(t, s.port, conf.String(), parts.SetMisc)
}

const annotation = "nginx.ingress.kubernetes.io/"

// render is the controller's template (nginx.tmpl, of controller 1.11) as far
// as external authentication goes. annotations are those of the program, pages
// those of akprox's own pages; authHost is the Host that auth-url has.
func (s *stage) render(host, outpostPath string, annotations, pages map[string]any, authHost string) string {
	text := func(name string) string {
		v, _ := annotations[annotation+name].(string)
		return strings.TrimSpace(v)
	}
	buffers := func(annotations map[string]any) string {
		size, ok := annotations[annotation+"proxy-buffer-size"].(string)
		if !ok {
			size = "4k"
		}
		return fmt.Sprintf("proxy_buffer_size %s; proxy_buffers 4 %[1]s;", size)
	}
	var identity strings.Builder
	for i, name := range strings.Split(text("auth-response-headers"), ",") {
		variable := strings.ToLower(strings.ReplaceAll(name, "-", "_"))
		fmt.Fprintf(&identity, "auth_request_set $authHeader%d $upstream_http_%s; proxy_set_header '%s' $authHeader%d;\n", i, variable, name, i)
	}
	const forwarded = `
	proxy_http_version 1.1;
	proxy_set_header Host $http_host;
	proxy_set_header Upgrade $http_upgrade;
	proxy_set_header Connection $connection_upgrade;
	proxy_set_header X-Real-IP $remote_addr;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Forwarded-Host $http_host;
	proxy_set_header X-Forwarded-Port $server_port;
	proxy_set_header X-Forwarded-Proto $scheme;
	proxy_set_header X-Scheme $scheme;
	proxy_set_header X-Original-Forwarded-For $http_x_forwarded_for;
	proxy_set_header Proxy "";`
	own := ""
	if outpostPath != "" {
		own = fmt.Sprintf("location %s {%s\n %s proxy_pass http://%s;\n}", outpostPath, forwarded, buffers(pages), s.address)
	}
	return fmt.Sprintf(`
map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
server {
listen 127.0.0.1:%d;
server_name %s;
location = /_external-auth-Lw {
	internal;
	proxy_pass_request_body off;
	proxy_set_header Content-Length "";
	proxy_set_header X-Forwarded-Proto "";
	proxy_set_header Host %s;
	proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
	proxy_set_header X-Original-Method $request_method;
	proxy_set_header X-Sent-From "nginx-ingress-controller";
	proxy_set_header X-Real-IP $remote_addr;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Auth-Request-Redirect $request_uri;
	%s
	proxy_http_version 1.1;
	proxy_pass_request_headers on;
	%s
	set $target %s;
	proxy_pass $target;
}
location @sign_in {
	internal;
	add_header Set-Cookie $auth_cookie;
	return 302 %s;
}
%s
location / {
	auth_request /_external-auth-Lw;
	auth_request_set $auth_cookie $upstream_http_set_cookie;
	add_header Set-Cookie $auth_cookie;
	%s
	set_escape_uri $escaped_request_uri $request_uri;
	error_page 401 = @sign_in;%s
	%s
	client_max_body_size 1m;
	proxy_pass http://%s;
}
}
`, s.port, host, authHost, buffers(annotations), text("auth-snippet"), text("auth-url"), text("auth-signin"), own, identity.String(), forwarded, buffers(annotations), s.program)
}

func readYAML(t *testing.T, text string) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return tree
}

// merge lays b over a.
func merge(a, b map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(b)) {
		below, ok := a[key].(map[string]any)
		if more, isMap := b[key].(map[string]any); ok && isMap {
			merge(below, more)
			continue
		}
		a[key] = b[key]
	}
}
