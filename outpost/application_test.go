package outpost

import (
	"errors"
	"testing"

	"github.com/akprox/akprox/outpost/canon"
)

func set() *Applications {
	app := func(name, scheme, host, path, domain string) *Application {
		return &Application{Name: name, External: External{scheme, host, path}, Domain: domain}
	}
	return NewApplications([]*Application{
		app("wiki", "https", "wiki.example.com", "/", ""),
		app("wiki-api", "https", "wiki.example.com", "/api", ""),
		app("wiki-api-v2", "https", "wiki.example.com", "/api/v2", ""),
		app("alt", "https", "alt.example.com:8443", "/", ""),
		app("twin-a", "https", "twin.example.com", "/", ""),
		app("twin-b", "https", "twin.example.com:8443", "/", ""),
		app("part", "https", "part.example.net", "/app", ""),
		app("inside", "https", "inside.example.com", "/app", ""),
		app("domain", "https", "auth.example.com", "/", "example.com"),
		app("inner", "https", "auth.dev.example.com", "/", "dev.example.com"),
	})
}

func TestFind(t *testing.T) {
	for _, row := range []struct{ name, host, uri, want string }{
		{"the host's own application", "wiki.example.com", "/", "wiki"},
		{"the longest path wins", "wiki.example.com", "/api/v2/x", "wiki-api-v2"},
		{"the next longest", "wiki.example.com", "/api/v20", "wiki-api"},
		{"a path ends at a segment", "wiki.example.com", "/apiary", "wiki"},
		{"the path itself", "wiki.example.com", "/api", "wiki-api"},
		{"escapes below it", "wiki.example.com", "/api/%61%20b%C3%BC", "wiki-api"},
		{"escapes below none", "wiki.example.com", "/%61%20b", "wiki"},
		{"a port that is told counts", "alt.example.com:8443", "/", "alt"},
		{"a host without its port means the only port", "alt.example.com", "/", "alt"},
		{"a made-up port of a host that is claimed is nobody's, not the domain's", "alt.example.com:9", "/", ""},
		{"nor with the default port", "wiki.example.com:80", "/", ""},
		{"outside of the external path the domain has it", "inside.example.com", "/other", "domain"},
		{"two ports: without one it is the default port", "twin.example.com", "/", "twin-a"},
		{"two ports: the other", "twin.example.com:8443", "/", "twin-b"},
		{"every host under a domain", "x.y.example.com", "/", "domain"},
		{"the domain itself", "example.com", "/", "domain"},
		{"whatever port, as for cookies", "x.example.com:8080", "/", "domain"},
		{"the closest domain", "x.dev.example.com", "/", "inner"},
		{"authentik domain level: a suffix is no label", "evil-example.com", "/", ""},
		{"a longer host is another", "example.com.evil.test", "/", ""},
		{"an unknown host", "nope.test", "/", ""},
		{"outside of the external path", "part.example.net", "/", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, _, err := canon.SplitURI(row.uri)
			if err != nil {
				t.Fatal(err)
			}
			app, err := set().Find(&Request{Host: row.host, Path: path})
			if row.want == "" {
				if !errors.Is(err, ErrUnknownHost) {
					t.Errorf("got %v, %v", app, err)
				}
				return
			}
			if err != nil || app.Name != row.want {
				t.Errorf("got %v, %v; want %s", app, err, row.want)
			}
		})
	}
}

// Also where a proxy that does not decode, HAProxy for one, takes another one's
// program.
func TestReadingsOfDifferentApplicationsAreRefused(t *testing.T) {
	for _, uri := range []string{"/api/..%2fx", "/%61pi/x", "/ap%69", "/api/v%32/x"} {
		path, _, err := canon.SplitURI(uri)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set().Find(&Request{Host: "wiki.example.com", Path: path}); ReasonOf(err) != ReasonAmbiguous {
			t.Errorf("%s: got %v", uri, err)
		}
	}
}

func TestFindWithoutAPath(t *testing.T) {
	for host, want := range map[string]string{
		"alt.example.com": "alt", "x.example.com": "domain", "wiki.example.com": "path_unknown", "part.example.net": "path_unknown",
		"nope.test": "unknown_host",
	} {
		app, err := set().Find(&Request{Host: host})
		got := string(ReasonOf(err))
		if err == nil {
			got = app.Name
		}
		if got != want {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

func TestGuardsAndOnHost(t *testing.T) {
	for host, want := range map[string]int{"wiki.example.com": 4, "wiki.example.com:9": 0, "alt.example.com": 2, "x.example.com": 1, "nope.test": 0, "part.example.net": 1} {
		if got := set().OnHost(host); len(got) != want {
			t.Errorf("%s: %d applications, want %d", host, len(got), want)
		}
		if set().Guards(host) != (want > 0) {
			t.Errorf("%s: guarded %v", host, want == 0)
		}
	}
}
