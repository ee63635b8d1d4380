package dialect

import (
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	sites := map[string]Site{"forward_single": single(t), "forward_domain": domain(t)}
	for _, name := range Snippets() {
		for mode, s := range sites {
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
	for name, c := range map[string]struct {
		snippet string
		site    Site
		has     []string
		hasNot  []string
	}{
		"nginx path":        {"nginx", withPath(single(t)), []string{"location /team/wiki {", "location /akprox/ {"}, []string{"location / {"}},
		"nginx plain HTTP":  {"nginx", withPort(single(t)), []string{"listen 8000;", "server_name wiki.example.com;", "$scheme://$host:8000$request_uri"}, []string{"ssl"}},
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
		"traefik path": {"traefik", withPath(single(t)), []string{
			"rule: Host(`wiki.example.com`) && PathPrefix(`/team/wiki`)", "rule: Host(`wiki.example.com`) && PathPrefix(`/akprox/`)",
		}, nil},
		"traefik plain HTTP": {"traefik", withPort(single(t)), []string{"Host(`wiki.example.com`)"}, []string{"tls:", "8000"}},
		"traefik token":      {"traefik", passing(single(t)), nil, []string{"Authorization"}},
		"labels token":       {"traefik-labels", passing(single(t)), nil, []string{"Authorization"}},
		"labels domain":      {"traefik-labels", domain(t), []string{"HostRegexp(`^(.+\\.)?example\\.com$$`)"}, nil},
		"caddy path":         {"caddy", withPath(single(t)), []string{"@wiki path /team/wiki /team/wiki/*", "handle @wiki {"}, []string{"handle {"}},
		"caddy plain HTTP":   {"caddy", withPort(domain(t)), []string{"http://example.com:8000, http://*.example.com:8000 {"}, nil},
		"caddy socket":       {"caddy", listening(single(t), "unix:/run/akprox.sock"), []string{"forward_auth unix//run/akprox.sock {"}, nil},
		"caddy token":        {"caddy", passing(single(t)), nil, []string{"Authorization"}},
		"ingress token":      {"ingress-nginx", passing(single(t)), nil, []string{"Authorization"}},
	} {
		got, err := Snippet(c.snippet, c.site)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range c.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", name, want, got)
			}
		}
		for _, unwanted := range c.hasNot {
			if strings.Contains(got, unwanted) {
				t.Errorf("%s: %q in\n%s", name, unwanted, got)
			}
		}
	}
}

func TestSnippetRefused(t *testing.T) {
	proxied := single(t)
	proxied.App.Upstream = &url.URL{Scheme: "http", Host: "127.0.0.1:8080"}
	socket, nowhere := single(t), single(t)
	socket.Listen, nowhere.Listen = "unix:/run/akprox.sock", ""
	for name, c := range map[string]struct {
		snippet string
		site    Site
		want    string
	}{
		"no such":      {"envoi", single(t), "nginx, ingress-nginx, traefik, traefik-labels, caddy"},
		"proxy mode":   {"nginx", proxied, "upstream"},
		"socket":       {"traefik", socket, "unix socket"},
		"not at all":   {"caddy", nowhere, "server.http"},
		"labels alone": {"traefik-labels", socket, "unix socket"},
	} {
		if got, err := Snippet(c.snippet, c.site); err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
