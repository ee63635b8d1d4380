package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/knocker"
	"github.com/akprox/akprox/outpost/config"
)

// importNow is when the leases of these tests are looked at.
var importNow = mustTime("2030-01-01T00:00:00Z")

func mustTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// seedYAML is a knocker.yaml of the time of the seed: with ttl.
const seedYAML = `
server:
  host: "0.0.0.0"
  port: 8000
  trusted_proxies: ["172.16.0.0/12", "fd00:dead:beef::1/64"]
whitelist:
  storage_path: "/data/whitelist.json"
api_keys:
  - name: "admin"
    key: "aB3-admin-secret-0123"
    ttl: 3600
    allow_remote_whitelist: true
  - name: "phone"
    key: "aB3-phone-secret-0123"
    ttl: 600
    allow_remote_whitelist: false
security:
  always_allowed_ips: ["1.2.3.4", "192.168.1.0/24", "2001:db8::/32"]
  excluded_paths: ["/api/v1/status", "/metrics"]
`

// accepted fails unless `akprox validate` would accept the document, and
// answers its door.
func accepted(t testing.TB, text string) *kinds.KnockSettings {
	t.Helper()
	doc, problems := config.Parse([]byte(text), "akprox.yaml", kinds.Settings(), []string{"disk"})
	err := problems.Err()
	if err == nil {
		_, err = tryDocument(doc)
	}
	if err != nil {
		t.Fatalf("the printed document is refused: %v\n%s", err, text)
	}
	return doc.Providers[0].Settings.(*kinds.KnockSettings)
}

func TestTheSeedsConfigurationIsImported(t *testing.T) {
	text, warnings, err := knocker.Import("knocker.yaml", []byte(seedYAML), nil, importNow)
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, text)
	want := `# Made by "akprox import knocker". It holds your keys: keep it readable by akprox alone.
version: 1
server:
  http: ":8000"
  https: ""
  metrics: "127.0.0.1:9300"
  compat: [knocker] # /knock, /verify, /health and /ready stay where they were
  trusted_proxies: ["172.16.0.0/12", "fd00:dead:beef::/64"]
store: { kind: disk, path: akprox-data }
log: { level: info }
providers:
  - name: door
    kind: knock
    keys:
      - { name: "admin", key: { value: "aB3-admin-secret-0123" }, ttl: 3600, allow_remote_whitelist: true }
      - { name: "phone", key: { value: "aB3-phone-secret-0123" }, ttl: 600, allow_remote_whitelist: false }
    always_allowed_ips: ["1.2.3.4/32", "192.168.1.0/24", "2001:db8::/32"]
    max_leases: 10000
    limits: { window: 60s, successes: 20, failures: 30 }
    cors_origin: "*"
    excluded_paths: ["/api/v1/status", "/metrics"]
    excluded_paths_by_host:
      {}
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "storage_path") {
		t.Errorf("%q", warnings)
	}
}

const keysOnly = "api_keys: [{key: k0123456789, max_ttl: 60}]\n"

func TestWhatTheImportWarnsOf(t *testing.T) {
	for _, row := range []struct{ name, yaml, warning, document string }{
		{"no proxies", keysOnly, "server.trusted_proxies: there are none", "trusted_proxies: []"},
		{"a key without a name", keysOnly, "", `name: "key-1"`},
		{"both times", "api_keys: [{key: k, ttl: 5, max_ttl: 60}]", "max_ttl counts", "ttl: 60"},
		{"a placeholder", "api_keys: [{key: CHANGE_ME_x, ttl: 5}, {key: k, ttl: 7}]", "api_keys[0].key: it is the placeholder", "ttl: 7"},
		{"a key beyond ASCII", "api_keys: [{key: schlüssel, ttl: 5}, {key: k, ttl: 7}]", "beyond ASCII", "ttl: 7"},
		{"two of one name", "api_keys: [{name: a, key: j, ttl: 5}, {name: a, key: k, ttl: 7}]", `api_keys[1].name: "a" is called a-2`, `name: "a-2"`},
		{"an odd name", "api_keys: [{name: ' a\"b ', key: j, ttl: 5}]", "is called a-b", `name: "a-b"`},
		{"a firewall", keysOnly + "firewalld: {enabled: true, zone_name: x, monitored_ports: [{port: 1}]}", "firewalld: akprox changes no firewall", ""},
		{"documentation", keysOnly + "documentation: {enabled: true, openapi_output_path: x}", "documentation: ", ""},
		{"logging", keysOnly + "logging: {level: DEBUG}", "", "log: { level: debug }"},
		{"odd logging", keysOnly + "logging: {level: LOUD}", "logging.level: ", "log: { level: info }"},
		{"an unknown key", keysOnly + "serverr: {}", `unknown key "serverr"`, ""},
		{"trusting all", keysOnly + "server: {trusted_proxies: [0.0.0.0/0]}", "trusts everybody", "trusted_proxies: []"},
		{"a proxy that is none", keysOnly + "server: {trusted_proxies: [caddy]}", `"caddy" is neither`, "trusted_proxies: []"},
		{"a proxy that is always allowed", keysOnly + "server: {trusted_proxies: [10.0.0.1]}\nsecurity: {always_allowed_ips: [10.0.0.0/8]}", "holds a trusted proxy", `["10.0.0.0/8"]`},
		{"everybody is always allowed", keysOnly + "security: {always_allowed_ips: ['::/0']}", "admits everybody", ""},
		{"an exclusion of everything", keysOnly + "security: {excluded_paths: ['', /, /.., /a/../..]}", `"/a/../.." opens every path`, "excluded_paths: []"},
		{"an exclusion without its slash", keysOnly + "security: {excluded_paths: [metrics, /a//b/]}", `"metrics" means "/metrics"`, `excluded_paths: ["/metrics", "/a/b"]`},
		{"an odd exclusion", keysOnly + "security: {excluded_paths: ['/a;b']}", `"/a;b" has to begin`, "excluded_paths: []"},
		{"exclusions of nothing", keysOnly + "security: {excluded_paths_by_host: null}", "", "excluded_paths_by_host:\n      {}\n"},
		{"exclusions of hosts", keysOnly + "security: {excluded_paths_by_host: {'*': [/a], a b: [/c], H.example.com: [/d/]}}", `"a b": is no host`, `"H.example.com": ["/d"]`},
		{"the port of our metrics", keysOnly + "server: {host: 127.0.0.1, port: 9300}", "", "127.0.0.1:9301"},
		{"a host that is none", keysOnly + "server: {host: 'a]b', port: 1}", "server.host: ", `":1"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, warnings, err := knocker.Import("knocker.yaml", []byte(row.yaml), nil, importNow)
			if err != nil {
				t.Fatal(err)
			}
			accepted(t, text)
			if all := strings.Join(warnings, "\n"); !strings.Contains(all, row.warning) || strings.Contains(all, "k0123456789") {
				t.Errorf("%q, want %q", all, row.warning)
			}
			if !strings.Contains(text, row.document) {
				t.Errorf("no %q in\n%s", row.document, text)
			}
		})
	}
}

func TestWhatKnockerRefusesTheImportRefuses(t *testing.T) {
	for _, row := range []struct{ yaml, want string }{
		{"", "empty"},
		{"a: [", "not YAML"},
		{"server: {}", "api_keys: is missing"},
		{"api_keys: []", "no key is left"},
		{"api_keys: [{key: CHANGE_ME, ttl: 5}]", "no key is left"},
		{"api_keys: [{key: 12345, ttl: 5}]", "expected a string"},
		{"api_keys: [{key: '', ttl: 5}]", "is empty"},
		{"api_keys: [{ttl: 5}]", "key: is missing"},
		{"api_keys: [{key: k}]", "neither max_ttl nor ttl"},
		{"api_keys: [{key: k, ttl: 0}]", "more than 0"},
		{"api_keys: [{key: k, ttl: '60'}]", "expected a whole number"},
		{"api_keys: [{key: k, ttl: 1.5}]", "expected a whole number"},
		{"api_keys: [{key: k, ttl: 5, allow_remote_whitelist: 'true'}]", "expected true or false"},
		{"api_keys: [{key: k, ttl: 5}, {key: k, ttl: 6}]", "api_keys[0], too"},
		{keysOnly + "security: {max_whitelist_entries: 0}", "more than 0"},
		{keysOnly + "security: {knock_rate_limit: {failed_requests: -1}}", "negative"},
		{keysOnly + "security: {excluded_paths: /a}", "expected a list"},
		{keysOnly + "firewalld: 7", "expected a mapping"},
	} {
		text, _, err := knocker.Import("knocker.yaml", []byte(row.yaml), nil, importNow)
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "knocker.yaml:") || text != "" {
			t.Errorf("%s: %v, want %q", row.yaml, err, row.want)
		}
	}
}

func TestLeasesAreBroughtAlong(t *testing.T) {
	held := `{"1.2.3.4": 1893456100, "1.2.3.5": 1893456000, "1.2.3.6": 1, "192.168.1.7/24": 1893456100.9, "192.168.1.0/24": "1893456200",
		"0.0.0.0/0": 1999999999, "::ffff:0:0/96": 1999999999, "172.16.0.9": 1999999999, "nobody": 1999999999, "2001:DB8::1": 1e300,
		"fe80::1%eth0": 1999999999, "1.2.3.8": "inf", "1.2.3.9": null, "1.2.3.10": {}}`
	text, warnings, err := knocker.Import("knocker.yaml", []byte(seedYAML), []byte(held), importNow)
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, text)
	want := `    leases: # each ends with its time or with its line
      - { address: "2001:db8::1/128", expires: "2039-12-30T00:00:00Z" }
      - { address: "192.168.1.0/24", expires: "2030-01-01T00:03:20Z" }
      - { address: "1.2.3.4/32", expires: "2030-01-01T00:01:40Z" }
`
	if !strings.HasSuffix(text, want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	for _, w := range []string{"0.0.0.0/0", "::ffff:0:0/96", "172.16.0.9", "nobody", "fe80::1", "1.2.3.8", "1.2.3.9", "1.2.3.10"} {
		if !strings.Contains(strings.Join(warnings, "\n"), w) {
			t.Errorf("nothing is said of %s", w)
		}
	}
	text, warnings, err = knocker.Import("k", []byte(keysOnly+"security: {max_whitelist_entries: 1}"), []byte(held), importNow)
	if err != nil || strings.Count(text, "address:") != 1 || !strings.Contains(strings.Join(warnings, "\n"), "1 may be") {
		t.Errorf("%v %q\n%s", err, warnings, text)
	}
	accepted(t, text)
	for _, bad := range []string{"", "[]", "{", "7"} {
		if _, _, err := knocker.Import("k", []byte(keysOnly), []byte(bad), importNow); err == nil {
			t.Errorf("leases %q", bad)
		}
	}
}

func TestTheImportCommand(t *testing.T) {
	dir := t.TempDir()
	file, leases := filepath.Join(dir, "knocker.yaml"), filepath.Join(dir, "whitelist.json")
	for path, text := range map[string]string{file: seedYAML, leases: `{"9.9.9.9": 4000000000}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		args     []string
		status   int
		out, err string
	}{
		{[]string{"knocker", file}, 0, "kind: knock", "storage_path"},
		{[]string{"knocker", file, "--leases", leases}, 0, "9.9.9.9/32", "storage_path"},
		{[]string{"--leases", leases, "knocker", file}, 0, "9.9.9.9/32", ""},
		{[]string{"knocker"}, 2, "", "FILE"},
		{[]string{"authelia", file}, 2, "", "import knows knocker"},
		{[]string{"knocker", dir + "/none"}, 1, "", "no such file"},
		{[]string{"knocker", file, "--leases", dir + "/none"}, 1, "", "no such file"},
		{[]string{"knocker", leases}, 1, "", "whitelist.json:1: "},
	} {
		var out, errs bytes.Buffer
		c := &console{args: row.args, out: &out, err: &errs, flags: flag.NewFlagSet("akprox import", flag.ContinueOnError)}
		c.flags.SetOutput(&errs)
		if got := runImport(t.Context(), c); got != row.status || !strings.Contains(out.String(), row.out) || !strings.Contains(errs.String(), row.err) {
			t.Errorf("%q: %d\n%s\n%s", row.args, got, out.String(), errs.String())
		}
		if row.status != 0 && out.Len() > 0 {
			t.Errorf("%q: printed a document and failed", row.args)
		}
	}
}

// FuzzImport holds that every document that is printed is one that akprox
// serves, and one that opens nothing wide.
func FuzzImport(f *testing.F) {
	f.Add([]byte(seedYAML), []byte(`{"1.2.3.4": 4000000000}`))
	f.Add([]byte(keysOnly+"security: {excluded_paths: ['/a/../..', metrics], excluded_paths_by_host: {'*': [/x]}}"), []byte(`{"0.0.0.0/0": 4e9}`))
	f.Add([]byte("server: {host: '::1', port: 9300, trusted_proxies: ['::ffff:0:0/95', 1.2.3.4/0.0.0.255]}\n"+keysOnly), []byte(`{"::ffff:1.2.3.4": "4000000000"}`))
	f.Add([]byte("api_keys: [{name: \"\\u2028\\U0001F511\", key: \"a\\\\b\", ttl: 9223372036854775807}]\nlogging: {level: debug}"), []byte(`[]`))
	f.Add([]byte("cors: {allowed_origin: \"x\\n\\ty\"}\n"+keysOnly), []byte(`{"a": null}`))
	f.Fuzz(func(t *testing.T, data, held []byte) {
		text, _, err := knocker.Import("knocker.yaml", data, held, importNow)
		if err != nil {
			if text != "" {
				t.Fatal("a document beside an error")
			}
			return
		}
		s := accepted(t, text)
		for _, l := range s.Leases {
			if l.Address.Addr().Is4() && l.Address.Bits() < 16 || l.Address.Addr().Is6() && l.Address.Bits() < 64 || !l.Expires.After(importNow) {
				t.Fatalf("a lease of %s until %s", l.Address, l.Expires)
			}
		}
		for _, p := range s.Excluded {
			if p == "" || p == "/" || strings.Contains(p, "..") && strings.Contains(p+"/", "/../") {
				t.Fatalf("%q is excluded", p)
			}
		}
	})
}
