package dialect

import (
	"errors"
	"flag"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost"
)

var update = flag.Bool("update", false, "write the golden files anew")

// site is a site with the preset's headers.
func site(t *testing.T, preset string, app outpost.Application) Site {
	t.Helper()
	headers, err := outpost.NewHeaderMap(preset, "", nil, outpost.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	app.Headers = headers
	return Site{App: &app, Listen: ":9000", Prefix: "/akprox"}
}

func single(t *testing.T) Site {
	return site(t, "akprox", outpost.Application{
		Name: "wiki", External: outpost.External{Scheme: "https", Host: "wiki.example.com", Path: "/"},
		Consumed: []string{"Authorization"},
	})
}

func domain(t *testing.T) Site {
	return site(t, "akprox", outpost.Application{
		Name: "everything", External: outpost.External{Scheme: "https", Host: "auth.example.com", Path: "/"}, Domain: "example.com",
		Consumed: []string{"Authorization"},
	})
}

// TestSnippetGolden shows whole snippets; the documentation quotes these files.
func TestSnippetGolden(t *testing.T) {
	overGRPC := single(t)
	overGRPC.GRPC = "127.0.0.1:9001"
	sites := map[string]Site{"forward_single": single(t), "forward_domain": domain(t), "grpc": overGRPC}
	for _, name := range Snippets() {
		for mode, s := range sites {
			if mode == "grpc" && name != "envoy" && name != "gateway-api" {
				continue
			}
			got, err := Snippet(name, s)
			if err != nil {
				t.Errorf("%s %s: %v", name, mode, err)
				continue
			}
			file := filepath.Join("testdata", "snippets", name+"-"+mode+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is out of date; go test -run %s -update ./proxy/dialect\n%s", file, t.Name(), got)
			}
		}
	}
}

// TestSnippet is about what depends on the document.
func TestSnippet(t *testing.T) {
	withPath := func(s Site) Site { s.App.External.Path = "/team/wiki"; return s }
	withPort := func(s Site) Site {
		s.App.External.Scheme, s.App.External.Host = "http", s.App.External.Host+":8000"
		return s
	}
	passing := func(s Site) Site { s.App.Consumed = nil; return s }
	keyed := func(s Site) Site { s.App.Consumed = []string{"Authorization", "X-Api-Key"}; return s }
	listening := func(s Site, at string) Site { s.Listen = at; return s }
	asking := func(s Site, at string) Site { s.GRPC = at; return s }
	under := func(s Site, prefix string) Site { s.Prefix = prefix; return s }
	for name, c := range map[string]struct {
		snippet string
		site    Site
		has     []string
		hasNot  []string
	}{
		"nginx path":        {"nginx", withPath(single(t)), []string{"location ~ ^/team/wiki(/|$) {", "location /akprox/ {", "$scheme://wiki.example.com$request_uri;"}, []string{"location / {", "$host"}},
		"nginx plain HTTP":  {"nginx", withPort(single(t)), []string{"listen 8000;", "server_name wiki.example.com;", "$scheme://wiki.example.com:8000$request_uri"}, []string{"ssl"}},
		"nginx socket":      {"nginx", listening(single(t), "unix:/run/akprox.sock"), []string{"server unix:/run/akprox.sock;"}, nil},
		"nginx address":     {"nginx", listening(single(t), "10.0.0.1:9001"), []string{"server 10.0.0.1:9001;"}, nil},
		"nginx any address": {"nginx", listening(single(t), "[::]:9001"), []string{"server 127.0.0.1:9001;"}, nil},
		"nginx key":         {"nginx", keyed(single(t)), []string{`proxy_set_header X-Api-Key "";`}, nil},
		"caddy key":         {"caddy", keyed(single(t)), []string{"request_header -X-Api-Key"}, nil},
		"traefik key":       {"traefik", keyed(single(t)), []string{"- X-Api-Key"}, nil},
		"nginx token":       {"nginx", passing(single(t)), nil, []string{"Authorization"}},
		"nginx authentik": {
			"nginx", site(t, "authentik", *single(t).App),
			[]string{"proxy_set_header X-Authentik-Username $identity_x_authentik_username;", "$upstream_http_x_authentik_meta_jwks;"},
			[]string{"X-Auth-Username $"},
		},
		"nginx domain": {"nginx", domain(t), []string{`if ($host !~ "^(.+\.)?example\.com$") { return 421; }`, "X-Original-URL    $scheme://$host$request_uri;"}, nil},
		"traefik path": {"traefik", withPath(single(t)), []string{
			"rule: Host(`wiki.example.com`) && (Path(`/team/wiki`) || PathPrefix(`/team/wiki/`))", "rule: Host(`wiki.example.com`) && PathPrefix(`/akprox/`)",
		}, nil},
		"traefik plain HTTP": {"traefik", withPort(single(t)), []string{"Host(`wiki.example.com`)"}, []string{"tls:", "8000"}},
		"traefik token":      {"traefik", passing(single(t)), nil, []string{"Authorization"}},
		"labels token":       {"traefik-labels", passing(single(t)), nil, []string{"Authorization"}},
		"labels domain":      {"traefik-labels", domain(t), []string{"HostRegexp(`^(.+\\.)?example\\.com$$`)"}, nil},
		"caddy path":         {"caddy", withPath(single(t)), []string{"@wiki path_regexp `^/team/wiki(/|$)`", "handle @wiki {"}, []string{"handle {"}},
		"caddy plain HTTP":   {"caddy", withPort(domain(t)), []string{"http://example.com:8000, http://*.example.com:8000 {"}, nil},
		"caddy socket":       {"caddy", listening(single(t), "unix:/run/akprox.sock"), []string{"forward_auth unix//run/akprox.sock {"}, nil},
		"caddy token":        {"caddy", passing(single(t)), nil, []string{"Authorization"}},
		"crd path": {"traefik-crd", withPath(single(t)), []string{
			"match: Host(`wiki.example.com`) && (Path(`/team/wiki`) || PathPrefix(`/team/wiki/`))", "match: Host(`wiki.example.com`) && PathPrefix(`/akprox/`)",
		}, nil},
		"crd plain HTTP":       {"traefik-crd", withPort(single(t)), []string{"Host(`wiki.example.com`)"}, []string{"tls:", "8000"}},
		"crd token":            {"traefik-crd", passing(single(t)), nil, []string{"Authorization"}},
		"envoy path":           {"envoy", withPath(single(t)), []string{"path_separated_prefix: /team/wiki }", "prefix: /akprox/ }"}, []string{"prefix: / }"}},
		"envoy plain HTTP":     {"envoy", withPort(domain(t)), []string{`- "example.com:8000"`, `- "*.example.com:8000"`, "port_value: 8000 }"}, []string{"DownstreamTlsContext"}},
		"envoy socket":         {"envoy", listening(single(t), "unix:/run/akprox.sock"), []string{`pipe: { path: "/run/akprox.sock" }`}, nil},
		"envoy gRPC":           {"envoy", asking(single(t), ":9001"), []string{"grpc_service:", `{ address: "127.0.0.1", port_value: 9001 }`}, []string{"http_service", "UpstreamTls"}},
		"envoy gRPC socket":    {"envoy", asking(single(t), "unix:/run/grpc.sock"), []string{`pipe: { path: "/run/grpc.sock" }`}, nil},
		"envoy token":          {"envoy", passing(single(t)), []string{`- exact: "x-api-key"`}, []string{"request_headers_to_remove"}},
		"envoy key":            {"envoy", keyed(single(t)), []string{"request_headers_to_remove", `- "x-api-key"`}, nil},
		"envoy authentik":      {"envoy", site(t, "authentik", *single(t).App), []string{`- exact: "x-authentik-username"`, `- remove: "x-authentik-groups"`}, []string{"x-auth-username"}},
		"envoy other prefix":   {"envoy", under(single(t), "/gate"), []string{"path_prefix: /gate/auth/envoy", "prefix: /gate/ }"}, []string{"/akprox/"}},
		"haproxy path":         {"haproxy", withPath(single(t)), []string{"acl wiki_path path /team/wiki", "acl wiki_path path_beg /team/wiki/", "if wiki_host wiki_path wiki_pass"}, nil},
		"haproxy plain HTTP":   {"haproxy", withPort(domain(t)), []string{"bind :8000\n", "X-Forwarded-Proto http\n", "-m end .example.com"}, []string{"ssl"}},
		"haproxy socket":       {"haproxy", listening(single(t), "unix:/run/akprox.sock"), []string{"server akprox unix@/run/akprox.sock", `dst = "unix@/run/akprox.sock"`}, nil},
		"haproxy token":        {"haproxy", passing(single(t)), []string{"local consumed = {\n}"}, nil},
		"haproxy key":          {"haproxy", keyed(single(t)), []string{"local consumed = {\n    \"authorization\",\n    \"x-api-key\",\n}"}, nil},
		"haproxy other prefix": {"haproxy", under(single(t), "/gate"), []string{"/gate/auth/haproxy", "path_beg /gate/"}, []string{"/akprox/"}},
		"haproxy gateway":      {"haproxy", site(t, "gateway", *single(t).App), []string{`"x-user-id",`}, []string{"x-auth-username"}},
		"gateway path":         {"gateway-api", withPath(single(t)), []string{"value: /team/wiki }", "value: /akprox }"}, []string{"value: / }"}},
		"gateway gRPC":         {"gateway-api", asking(single(t), ":9001"), []string{"protocol: GRPC", "port: 9001", "grpc:"}, []string{"headersToExtAuth", "protocol: HTTP"}},
		"gateway key":          {"gateway-api", keyed(single(t)), []string{"            remove:\n              - \"authorization\"\n              - \"x-api-key\"\n"}, nil},
		"gateway token":        {"gateway-api", passing(single(t)), nil, []string{"RequestHeaderModifier"}},
		"nginx long addresses": {"nginx", single(t), []string{"a header, too.\n        proxy_buffer_size 32k;"}, nil},
		"gateway remote":       {"gateway-api", site(t, "remote", *single(t).App), []string{`- "remote-user"`}, []string{"x-auth-username"}},
		"ingress token":        {"ingress-nginx", passing(single(t)), nil, []string{"Authorization"}},
	} {
		says(t, name, c.snippet, c.site, c.has, c.hasNot)
	}
}

// TestSnippetBesideOthers is about what depends on the document's other
// applications: whose requests are whose, and that a proxy is told.
func TestSnippetBesideOthers(t *testing.T) {
	app := func(name, origin, path, domain string) *outpost.Application {
		s := single(t)
		s.App.Name, s.App.Domain = name, domain
		s.App.External.Host, s.App.External.Path = origin, path
		return s.App
	}
	root, api, v2 := app("root", "a.example.com", "/", ""), app("api", "a.example.com", "/api", ""), app("v-2", "a.example.com", "/api/v2", "")
	apis, port := app("apis", "a.example.com", "/apis", ""), app("port", "a.example.com:8443", "/api/v2", "")
	all, team, other := app("all", "auth.example.com", "/login", "example.com"), app("team", "x.team.example.com", "/", "team.example.com"), app("other", "auth.notexample.com", "/", "notexample.com")
	bare := app("bare", "example.com", "/", "")
	for name, c := range map[string]struct {
		snippet string
		app     *outpost.Application
		others  []*outpost.Application
		has     []string
		hasNot  []string
	}{
		"alone":      {"haproxy", root, []*outpost.Application{root, other, port, app("b", "b.example.com", "/", "")}, []string{"if root_host !root_own\n"}, []string{"root_other"}},
		"alone, too": {"haproxy", api, []*outpost.Application{api, apis, port}, []string{"if api_host !api_own\n", "if api_host api_path api_pass\n"}, []string{"api_other"}},
		"paths below": {"haproxy", root, []*outpost.Application{root, api, v2}, []string{
			"acl api_path path_beg /api/\n    http-request set-var(txn.akprox_root) str(other) if api_host api_path\n",
			"http-request set-var(txn.akprox_root) str(other) if v_2_host v_2_path\n    http-request lua.akprox_root if root_host !root_own !root_other\n",
			"deny deny_status 503 if root_host !root_own !root_other !root_pass\n",
		}, nil},
		"a path between": {"haproxy", api, []*outpost.Application{root, api, v2, apis}, []string{
			"lua.akprox_api if api_host !api_own api_path !api_other\n", "str(other) if v_2_host v_2_path\n",
		}, []string{"root", "apis"}},
		"a path in a domain": {"haproxy", v2, []*outpost.Application{all}, []string{"lua.akprox_v_2 if v_2_host !v_2_own v_2_path\n"}, []string{"other"}},
		"a host in a domain": {"haproxy", bare, []*outpost.Application{all, bare}, []string{"lua.akprox_bare if bare_host !bare_own\n"}, []string{"other"}},
		"a domain": {"haproxy", all, []*outpost.Application{all, bare, v2, team, other}, []string{
			"set-var(txn.akprox_all) str(other) if bare_host\n", "set-var(txn.akprox_all) str(other) if v_2_host v_2_path\n",
			"acl team_host hdr(Host),host_only -i -m end .team.example.com\n    http-request set-var(txn.akprox_all) str(other) if team_host\n",
			"use_backend all_program if all_host all_pass\n",
		}, []string{"notexample", "/login"}},
		"nginx, one host":  {"nginx", api, []*outpost.Application{root, api, all, port}, []string{"# On the same host: \"root\". nginx"}, nil},
		"nginx, a domain":  {"nginx", all, []*outpost.Application{root, all, team}, nil, []string{"On the same host"}},
		"Caddy, one host":  {"caddy", root, []*outpost.Application{root, api, v2}, []string{"# On the same host: \"api\", \"v-2\". Caddy"}, nil},
		"Caddy, a domain":  {"caddy", bare, []*outpost.Application{bare, all}, nil, []string{"On the same host"}},
		"Traefik":          {"traefik", all, nil, []string{"rule: HostRegexp(`^(.+\\.)?example\\.com$`)\n      # Below every router with a host of its own.\n      priority: 18\n"}, nil},
		"Traefik's labels": {"traefik-labels", team, nil, []string{`traefik.http.routers.team.priority: "23"`}, nil},
		"Traefik's CRDs":   {"traefik-crd", team, nil, []string{"      priority: 23\n"}, nil},
		"Traefik, a host":  {"traefik", bare, nil, []string{"rule: Host(`example.com`)\n      middlewares"}, nil},
	} {
		says(t, name, c.snippet, Site{App: c.app, Listen: ":9000", Prefix: "/akprox", Others: c.others}, c.has, c.hasNot)
	}
	if shortest := "Host(`" + bare.External.Host + "`)"; len(shortest) <= 18 {
		t.Errorf("%s does not win over the domain by its length", shortest)
	}
}

// says holds what a snippet has in it, and what it has not.
func says(t *testing.T, name, snippet string, site Site, has, hasNot []string) {
	t.Helper()
	got, err := Snippet(snippet, site)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	for _, want := range has {
		if !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%s", name, want, got)
		}
	}
	for _, unwanted := range hasNot {
		if strings.Contains(got, unwanted) {
			t.Errorf("%s: %q in\n%s", name, unwanted, got)
		}
	}
}

func TestSnippetRefused(t *testing.T) {
	proxied := single(t)
	proxied.App.Upstream = &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}
	socket, nowhere := single(t), single(t)
	socket.Listen, nowhere.Listen = "unix:/run/akprox.sock", ""
	asked, numbered := single(t), single(t)
	asked.GRPC = "unix:/run/grpc.sock"
	numbered.App.External.Host = "192.0.2.1"
	for name, c := range map[string]struct {
		snippet string
		site    Site
		want    string
	}{
		"no such":      {"envoi", single(t), "nginx, ingress-nginx, traefik, traefik-labels, traefik-crd, caddy, envoy, haproxy, gateway-api"},
		"proxy mode":   {"nginx", proxied, "upstream"},
		"socket":       {"traefik", socket, "unix socket"},
		"not at all":   {"caddy", nowhere, "server.http"},
		"labels alone": {"traefik-labels", socket, "unix socket"},
		"crd alone":    {"traefik-crd", socket, "unix socket"},
		"gateway":      {"gateway-api", socket, "give server.http a port"},
		"gateway gRPC": {"gateway-api", asked, "give server.grpc a port"},
		"an address":   {"gateway-api", numbered, "192.0.2.1 is an address"},
		"envoy, too":   {"envoy", proxied, "upstream"},
	} {
		if got, err := Snippet(c.snippet, c.site); err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestNoNameBreaksOut: whatever an application and its headers are called, what
// is printed is the same configuration with other names.
func TestNoNameBreaksOut(t *testing.T) {
	for _, name := range []string{"x: {y}", "- a", "a # b", "*", "Ünï code", "a]]--", "日本", "yes", "12"} {
		headers, err := outpost.NewHeaderMap("akprox", "", [][2]string{{"Yes", "text:a"}, {"123", "text:b"}}, outpost.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		s := single(t)
		s.App.Name, s.App.Headers, s.GRPC = name, headers, "127.0.0.1:9001"
		for _, snippet := range []string{"traefik", "traefik-labels", "traefik-crd", "envoy", "gateway-api"} {
			for _, at := range []string{"", "127.0.0.1:9001"} {
				s.GRPC = at
				got, err := Snippet(snippet, s)
				if err != nil {
					t.Fatal(err)
				}
				for d := yaml.NewDecoder(strings.NewReader(got)); ; {
					var tree map[string]any
					if err := d.Decode(&tree); errors.Is(err, io.EOF) {
						break
					} else if err != nil || len(tree) == 0 {
						t.Errorf("%s of %q: %v\n%s", snippet, name, err, got)
						break
					}
					everyName(t, snippet+" of "+name, "", tree)
				}
			}
		}
		got, err := Snippet("haproxy", s)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(got) {
			if line[0] != '#' && strings.Contains(line, name) && strings.ContainsAny(name, "{#]ü日") {
				t.Errorf("%q is in %s", name, line)
			}
		}
	}
}

// everyName holds that a name is text, and one that every system takes.
func everyName(t *testing.T, where, key string, tree any) {
	t.Helper()
	switch v := tree.(type) {
	case map[string]any:
		for key, below := range v {
			everyName(t, where, key, below)
		}
	case []any:
		for _, below := range v {
			if strings.HasSuffix(key, "eaders") {
				if _, ok := below.(string); !ok {
					t.Errorf("%s: in %s there is %v", where, key, below)
				}
			}
			everyName(t, where, "", below)
		}
	default:
		text, ok := v.(string)
		if key == "name" && (!ok || text == "" || strings.ContainsAny(text, " #:{}*")) {
			t.Errorf("%s: a name is %v", where, v)
		}
	}
}
