package config_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/config/strict"
)

var update = flag.Bool("update", false, "write what is said of testdata/bad into it")

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(found), err)
	}
	return found
}

// parse reads what has to be good.
func parse(t *testing.T, data []byte) *config.Document {
	t.Helper()
	doc, problems := config.Parse(data, "good.yaml", kinds(), storeKinds())
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every file in testdata/bad is a mistake; its last lines are what is said of it.
func TestEveryMistakeIsSaidWithItsLine(t *testing.T) {
	for _, path := range files(t, "testdata/bad/*.yaml") {
		name := filepath.Base(path)
		t.Run(strings.TrimSuffix(name, ".yaml"), func(t *testing.T) {
			body, want, _ := strings.Cut(string(read(t, path)), "# want: ")
			doc, problems := config.Parse([]byte(body), name, kinds(), storeKinds())
			if doc != nil || len(problems) == 0 {
				t.Fatalf("got %v and no problem", doc)
			}
			got := strings.ReplaceAll(problems.Error(), name+":", "# want: ") + "\n"
			if *update {
				if err := os.WriteFile(path, []byte(body+got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if want = "# want: " + want; got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			if strings.Contains(got, "hunter2") {
				t.Error("a problem tells a secret")
			}
		})
	}
}

func TestEveryGoodDocumentIsRead(t *testing.T) {
	for _, path := range files(t, "testdata/good/*.yaml") {
		t.Run(filepath.Base(path), func(t *testing.T) { parse(t, read(t, path)) })
	}
}

func TestLeastDocumentHasTheContractsDefaults(t *testing.T) {
	doc := parse(t, []byte("version: 1\napplications:\n- {name: a, mode: proxy, external_url: https://a.example.com/, upstream: http://b, rate_limit: {requests: 1}}"))
	want := config.Server{
		HTTP: ":9000", HTTPS: ":9443", Metrics: "127.0.0.1:9300", Prefix: "/akprox",
		PrefixAliases:  []string{"/outpost.goauthentik.io"},
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
	}
	if !reflect.DeepEqual(doc.Server, want) {
		t.Errorf("server: got %+v, want %+v", doc.Server, want)
	}
	if got, want := doc.Store, (config.Store{Kind: "disk", Path: "akprox-data"}); !reflect.DeepEqual(got, want) {
		t.Errorf("store: got %+v, want %+v", got, want)
	}
	if got, want := doc.Log, (config.Log{Level: "info", Format: "json", Decisions: "all"}); got != want {
		t.Errorf("log: got %+v, want %+v", got, want)
	}
	if doc.Secret != nil {
		t.Error("secret: got one")
	}
	app := doc.Applications[0]
	if got, want := app.Session, (config.Session{Idle: 8 * time.Hour, Absolute: 24 * time.Hour, Refresh: 5 * time.Minute}); got != want {
		t.Errorf("session: got %+v, want %+v", got, want)
	}
	if app.Headers.Preset != "akprox" || *app.RateLimit != (config.RateLimit{Requests: 1, Per: time.Minute}) || app.ExternalURL != "https://a.example.com" {
		t.Errorf("got %+v", app)
	}
}

func TestContractsDocumentIsReadAsWritten(t *testing.T) {
	doc := parse(t, read(t, "testdata/good/contract.yaml"))
	people, ok := doc.Providers[1].Settings.(*password)
	if !ok || people.Users[0].Username != "john" || people.Throttle.Ban != 5*time.Minute {
		t.Errorf("password: got %+v", doc.Providers[1])
	}
	services, ok := doc.Providers[2].Settings.(*apikey)
	if !ok || !services.Keys[0].Expires.Equal(time.Date(2027, 12, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("apikey: got %+v", doc.Providers[2])
	}
	if tokens, ok := doc.Providers[3].Settings.(*jwt); !ok || tokens.Audience[0] != "api" || tokens.Leeway != 30*time.Second {
		t.Errorf("jwt: got %+v", doc.Providers[3])
	}
	if len(doc.Secret) != 1 || doc.Secret[0].File != "/etc/akprox/secret" {
		t.Errorf("secret: got %v", doc.Secret)
	}
	wiki := doc.Applications[0]
	if wiki.Rules[0].Allow != "anyone" || wiki.Rules[1].Allow != "" {
		t.Error("whether allow was written is lost")
	}
	if got := wiki.Rules[3].Networks; len(got) != 1 || got[0] != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("networks: got %v", got)
	}
	if doc.Applications[1].CookieDomain != "example.com" {
		t.Errorf("cookie_domain: got %q", doc.Applications[1].CookieDomain)
	}
}

func TestMappedNetworksBecomeIPv4AndLeadingDotsGo(t *testing.T) {
	doc := parse(t, read(t, "testdata/good/odd.yaml"))
	want := []netip.Prefix{
		netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("::/0"),
	}
	if got := doc.Server.TrustedProxies; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := doc.Applications[2].CookieDomain; got != "lab.home.arpa" {
		t.Errorf("got %q", got)
	}
	if got := doc.Server.PrefixAliases; got == nil || len(got) != 0 {
		t.Errorf("an empty list: got %v", got)
	}
	if all, err := strict.ParseNetwork("::ffff:0:0/96"); err != nil || all != netip.MustParsePrefix("0.0.0.0/0") {
		t.Errorf("all of IPv4: got %v, %v", all, err)
	}
}

func TestSetKeepsItsOrderAndEveryLineIsKnown(t *testing.T) {
	doc := parse(t, []byte(`version: 1
applications:
  - name: a
    mode: forward_single
    external_url: https://a.example.com
    headers:
      set:
        X-B: text:prod
        X-A: claims.department
    rules:
      - paths:
        - /a
        - /b
        groups: [admin]
`))
	want := strict.Pairs{{"X-B", "text:prod"}, {"X-A", "claims.department"}}
	if got := doc.Applications[0].Headers.Set; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for path, line := range map[string]int{
		"": 1, "version": 1, "applications[0]": 3, "applications[0].headers.set.X-A": 9,
		"applications[0].rules[0].paths[1]": 13, "applications[0].rules[0].groups[0]": 14,
		"applications[0].rules[0].scopes": 11, "applications[0].session.idle": 3, "server.http": 1,
	} {
		if got := doc.Line(path); got != line {
			t.Errorf("%s: got line %d, want %d", path, got, line)
		}
	}
	if got, want := doc.Problem("applications[0].rules", "is odd").String(), "good.yaml:10: applications[0].rules: is odd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBoundsHold(t *testing.T) {
	one := func(problems config.Problems) string {
		t.Helper()
		if len(problems) != 1 {
			t.Fatalf("got %d problems", len(problems))
		}
		return problems[0].Text
	}
	_, problems := config.Parse(bytes.Repeat([]byte("#"), 8<<20+1), "big", kinds(), storeKinds())
	if got := one(problems); !strings.Contains(got, "8 MiB") {
		t.Errorf("too large: got %q", got)
	}
	deep := "version: 1\nproviders: " + strings.Repeat("[", 20000)
	_, problems = config.Parse([]byte(deep), "deep", kinds(), storeKinds())
	if got := one(problems); !strings.Contains(got, "depth") {
		t.Errorf("too deep: got %q", got)
	}
	many := "version: 1\nserver: { compat: [" + strings.Repeat("1,", 100000) + "] }"
	if _, problems = config.Parse([]byte(many), "many", kinds(), storeKinds()); len(problems) > 1000 {
		t.Errorf("too many problems: got %d", len(problems))
	}
	long := "version: 1\n" + strings.Repeat("k", 100000) + ": 1\n"
	if _, problems = config.Parse([]byte(long), "long", kinds(), storeKinds()); len(problems.Error()) > 1000 {
		t.Errorf("a problem of %d bytes", len(problems.Error()))
	}
}

func TestNoProblemsAreNoError(t *testing.T) {
	if err := config.Problems(nil).Err(); err != nil {
		t.Errorf("got %v", err)
	}
	err := config.Problems{{File: "f", Line: 2, Key: "a", Text: "x"}, {File: "f", Line: 3, Text: "y"}}.Err()
	if got, want := fmt.Sprint(err), "f:2: a: x\nf:3: y"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, problems := config.Parse(data, "fuzz", kinds(), storeKinds())
		if (doc == nil) == (len(problems) == 0) {
			t.Errorf("got document %t and %d problems", doc != nil, len(problems))
		}
		lines := 1
		for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // those of YAML 1.1
			lines += bytes.Count(data, []byte(end))
		}
		for _, p := range problems {
			if s := p.String(); p.Line < 1 || p.Line > lines+1 || strings.ContainsAny(s, "\n\x00") {
				t.Errorf("of %d lines: %q", lines, s)
			}
		}
	})
}
