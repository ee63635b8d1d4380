package e2e_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// several is a document of applications that stand in each other's way, those
// with the longer path first, and what becomes of requests there.
type several struct {
	name, applications string
	names              []string
	oneHost            bool
	rows               []severalRow
}

// severalRow is a request with one of severalKeys or with none. by is the
// application that has to judge it and whose program has to answer; "" where
// nobody may get through. Some proxies take escapes out before they ask; for the
// others such a path of an application is refused.
type severalRow struct{ host, path, key, by string }

// severalKeys are groups and the keys that have them.
var severalKeys = map[string]string{"dev": "key-of-a-developer-0123456789abcdef", "boss": "key-of-the-boss-0123456789abcdefghi"}

var severals = []several{
	{
		name: "hosts in a domain", names: []string{"admin", "team", "everything"}, applications: `
  - { name: everything, mode: forward_domain, external_url: "http://auth.example.test:PORT", cookie_domain: example.test, credentials: [keys],
      headers: { set: { X-Judge: "text:everything" } }, rules: [ { paths: [/public/**], allow: anyone } ] }
  - { name: team, mode: forward_domain, external_url: "http://auth.team.example.test:PORT", cookie_domain: team.example.test, credentials: [keys],
      headers: { set: { X-Judge: "text:team" } }, rules: [ { paths: [/**], groups: [boss] } ] }
  - { name: admin, mode: forward_single, external_url: "http://admin.example.test:PORT", credentials: [keys],
      headers: { set: { X-Judge: "text:admin" } }, rules: [ { paths: [/open/**], allow: anyone }, { paths: [/**], groups: [boss] } ] }
`,
		rows: []severalRow{
			{"blog.example.test", "/", "", ""},
			{"blog.example.test", "/", "dev", "everything"},
			{"blog.example.test", "/public/x", "", "everything"},
			{"blog.example.test", "/open/x", "", ""},
			{"example.test", "/", "", ""},
			{"example.test", "/", "dev", "everything"},
			{"admin.example.test", "/", "", ""},
			{"admin.example.test", "/", "dev", ""},
			{"admin.example.test", "/", "boss", "admin"},
			{"ADMIN.example.test", "/", "dev", ""},
			{"admin.example.test", "/public/x", "", ""},
			{"admin.example.test", "/public/x", "dev", ""},
			{"admin.example.test", "/open/x", "", "admin"},
			{"wiki.team.example.test", "/", "dev", ""},
			{"wiki.team.example.test", "/", "boss", "team"},
			{"team.example.test", "/public/x", "", ""},
			{"team.example.test", "/public/x", "boss", "team"},
		},
	},
	{
		name: "paths of a host", names: []string{"v2", "api", "root"}, oneHost: true, applications: `
  - { name: root, mode: forward_single, external_url: "http://docs.example.test:PORT", credentials: [keys],
      headers: { set: { X-Judge: "text:root" } } }
  - { name: api, mode: forward_single, external_url: "http://docs.example.test:PORT/api", credentials: [keys],
      headers: { set: { X-Judge: "text:api" } }, rules: [ { allow: anyone } ] }
  - { name: v2, mode: forward_single, external_url: "http://docs.example.test:PORT/api/v2", credentials: [keys],
      headers: { set: { X-Judge: "text:v2" } }, rules: [ { groups: [boss] } ] }
`,
		rows: []severalRow{
			{"docs.example.test", "/", "", ""},
			{"docs.example.test", "/", "dev", "root"},
			{"docs.example.test", "/x", "", ""},
			{"docs.example.test", "/apix", "", ""},
			{"docs.example.test", "/apix", "dev", "root"},
			{"docs.example.test", "/API/x", "", ""},
			{"docs.example.test", "/API/x", "dev", "root"},
			{"docs.example.test", "/api", "", "api"},
			{"docs.example.test", "/api/x", "", "api"},
			{"docs.example.test", "/api/x?/api/v2", "dev", "api"},
			{"docs.example.test", "/api/v2", "", ""},
			{"docs.example.test", "/api/v2/x", "dev", ""},
			{"docs.example.test", "/api/v2/x", "boss", "v2"},
			{"docs.example.test", "/api/v2x", "", "api"},
			{"docs.example.test", "/api/..%2fx", "", ""},
			{"docs.example.test", "/x/%2e%2e/api/v2/x", "dev", ""},
			{"docs.example.test", "//api/v2/x", "dev", ""},
			{"docs.example.test", "/%61pi/x", "", "api or nobody"},
			{"docs.example.test", "/ap%69/x", "dev", "api or nobody"},
		},
	},
}

// elsewhere is an application that another proxy stands in front of. A server
// that answers for every host must not take its rules for a program's here.
const elsewhere = `
  - { name: elsewhere, mode: forward_single, external_url: "http://elsewhere.test:PORT", credentials: [keys], rules: [ { allow: anyone } ] }
`

// TestSeveralApplications puts what is printed for each application together
// as the page of the proxy says. Each request has to be judged and served by
// one and the same application, whichever is printed first.
func TestSeveralApplications(t *testing.T) {
	t.Parallel()
	for _, d := range severals {
		for _, f := range []front{nginx, traefik, labels, caddy, caddyDebian, haproxy} {
			t.Run(d.name+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				d.run(t, f, d.names)
			})
			t.Run(d.name+"/"+f.name+", the other way round", func(t *testing.T) {
				t.Parallel()
				names := slices.Clone(d.names)
				slices.Reverse(names)
				d.run(t, f, names)
			})
		}
	}
}

func (d several) run(t *testing.T, f front, names []string) {
	parts.Need(t)
	akproxPort := parts.Port(t)
	s := &stage{front: f, port: parts.Port(t), address: fmt.Sprintf("127.0.0.1:%d", akproxPort), program: yourProgram}
	s.app = s.origin(d.rows[0].host)
	config := fmt.Sprintf("version: 1\nserver: { http: %q, metrics: \"\", %s }\nstore: { kind: memory }\n", s.address, f.server(t)) +
		"providers:\n  - name: keys\n    kind: apikey\n    keys:\n"
	for group, key := range severalKeys {
		config += fmt.Sprintf("      - { name: %s, hash: \"sha256:%x\", groups: [%[1]s] }\n", group, sha256.Sum256([]byte(key)))
	}
	config += "applications:" + strings.ReplaceAll(d.applications+elsewhere, "PORT", port(s))
	s.begin(t, config, akproxPort)

	printed := map[string]string{}
	programs := map[string]string{}
	for i, text := range snippets(t, f.snippet, config, names) {
		programs[names[i]] = programNamed(t, names[i])
		printed[names[i]] = strings.ReplaceAll(text, yourProgram, programs[names[i]])
	}
	var texts []string
	for _, name := range names {
		texts = append(texts, printed[name])
	}
	switch {
	case f.name == labels.name:
		startSeveralLabels(t, s, printed, programs)
	case d.oneHost && f.name == nginx.name:
		f.start(t, s, []string{d.inOne(t, printed, "server {\n", "    location ~ ", "    location / {\n")})
	case d.oneHost && f.snippet == caddy.snippet:
		f.start(t, s, []string{d.inOne(t, printed, "http://", "\t@", "\thandle {\n")})
	default:
		f.start(t, s, texts)
	}
	if r := s.person(t).send(http.MethodGet, s.origin("elsewhere.test")+"/x", program, nil); strings.Contains(r.body, "served by") {
		t.Errorf("elsewhere.test: %d %s", r.status, r.body)
	}
	for _, row := range d.rows {
		row.ask(t, s)
		if r := s.person(t).send(http.MethodGet, s.origin(row.host)+"/akprox/ping", program, nil); r.status != http.StatusNoContent {
			t.Errorf("akprox itself, at %s: %d %s", row.host, r.status, r.body)
		}
	}
}

// inOne puts the blocks of all programs into the last application's server or
// site block, the longer path first, as nginx and Caddy want it. What else is
// above a server block stays, and the other server blocks go.
func (d several) inOne(t *testing.T, printed map[string]string, server, block, last string) string {
	t.Helper()
	above, blocks := "", ""
	for i, name := range d.names {
		text := printed[name]
		if !strings.Contains(text, "# On the same host: ") {
			t.Fatalf("it does not say that there are others:\n%s", text)
		}
		if i == len(d.names)-1 {
			return above + strings.Replace(text, last, blocks+last, 1)
		}
		at, from := strings.Index(text, "\n"+server), strings.Index(text, "\n"+block)
		if at < 0 || from < 0 {
			t.Fatalf("no %q or no %q in\n%s", server, block, text)
		}
		end := "\n" + block[:1] + "}\n"
		if block[0] == ' ' {
			end = "\n    }\n"
		}
		above += text[:at+1]
		blocks += text[from+1:from+strings.Index(text[from:], end)] + end
	}
	return ""
}

// startSeveralLabels is startLabels with a program for each application.
func startSeveralLabels(t *testing.T, s *stage, printed, programs map[string]string) {
	dynamic := map[string]any{}
	for name, text := range printed {
		services := readYAML(t, text)["services"].(map[string]any)
		for container, at := range map[string]string{"akprox": s.address, "program": programs[name]} {
			merge(dynamic, fromLabels(services[container].(map[string]any)["labels"].(map[string]any), at))
		}
	}
	setAddress(dynamic, "http://akprox:", s.address)
	runTraefik(t, s, dynamic)
}

// programNamed starts a guarded program that says who it is and what it was
// told, and answers its address.
func programNamed(t *testing.T, name string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "served by %s, judged by %q, key %q%q", name, r.Header["X-Judge"], r.Header["Authorization"], r.Header["X-Api-Key"])
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// ask asks in both ways that a key can be sent.
func (row severalRow) ask(t *testing.T, s *stage) {
	t.Helper()
	for _, header := range []string{"Authorization", "X-Api-Key"} {
		h := with(program, "X-Judge", "forged")
		switch {
		case row.key == "":
		case header == "Authorization":
			h = with(h, header, "Bearer "+severalKeys[row.key])
		default:
			h = with(h, header, severalKeys[row.key])
		}
		r := s.person(t).send(http.MethodGet, s.origin(row.host)+row.path, h, nil)
		by, orNobody := strings.CutSuffix(row.by, " or nobody")
		want := fmt.Sprintf("served by %s, judged by [%q], key [][]", by, by)
		refused := r.status >= 400 && !strings.Contains(r.body, "served by")
		if r.body != want && (by != "" && !orNobody || !refused) {
			t.Errorf("%s%s with the key of %q in %s: %d %s; want it %q", row.host, row.path, row.key, header, r.status, r.body, row.by)
		}
	}
}
