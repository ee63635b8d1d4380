package strict_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/config/strict"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour,
		"1d12h": 36 * time.Hour, "90d": 90 * 24 * time.Hour, "0d": 0, "250ms": 250 * time.Millisecond,
	} {
		if got, err := strict.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "60", "-5m", "-1d", "d", "1.5d", "1d-2h", "1d2d", "1w", "99999d99999999h", "106751d24h", "70000d", "NaN", " 1s"} {
		if got, err := strict.ParseDuration(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::1/128", "::/0": "::/0",
		"::ffff:0:0/96": "0.0.0.0/0", "::ffff:10.0.0.0/104": "10.0.0.0/8", "::ffff:192.0.2.1": "192.0.2.1/32",
	} {
		if got, err := strict.ParseNetwork(text); err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("%q: got %v, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.1/8": "10.0.0.0/8", "2001:db8::1/64": "2001:db8::/64", "::ffff:10.0.0.1/104": "10.0.0.0/8",
		"fe80::1%eth0": "zone", "fe80::%eth0/64": "zone", "10/8": "expected a network",
		"010.0.0.1": "expected a network", "1.2.3.4/": "expected a network", "": "expected a network", "::/129": "expected a network",
	} {
		if got, err := strict.ParseNetwork(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestSuggestions(t *testing.T) {
	known := []string{"groups", "gate", "user", "users", "rules"}
	for word, want := range map[string]string{
		"groupes": "groups", "grups": "groups", "usrs": "users", "Rules": "rules", "user": "user",
		"zebra": "", "": "", "x": "", strings.Repeat("groups", 20): "",
	} {
		if want != "" {
			want = fmt.Sprintf("; did you mean %q?", want)
		}
		if got := strict.Suggest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}

type sample struct {
	Name    string            `yaml:"name,omitempty" required:"true"`
	Small   int               `yaml:"small" default:"7"`
	Addr    netip.Addr        `yaml:"addr"`
	When    time.Time         `yaml:"when"`
	Labels  map[string]string `yaml:"labels"`
	Nested  *nested           `yaml:"nested"`
	List    []nested          `yaml:"list" filled:"true"`
	ByName  map[string]nested `yaml:"by_name"`
	Ratio   float64           `yaml:"ratio"`
	Ignored string            `yaml:"-"`
}

type nested struct {
	For time.Duration `yaml:"for" default:"5m"`
	On  bool          `yaml:"on" default:"true"`
}

func read(text string) (sample, strict.Problems) {
	var s sample
	r := strict.Reader{File: "f"}
	r.Read([]byte(text), &s)
	return s, r.Problems()
}

func TestEveryTypeIsRead(t *testing.T) {
	got, problems := read(`
name: a
small: 0x10
addr: "::1"
when: 2027-12-31T08:00:00Z
labels: { a.b: c }
nested: {}
list: [ { on: false }, {} ]
by_name: { x: { for: 0 } }
`)
	want := sample{
		Name: "a", Small: 16, Addr: netip.IPv6Loopback(), When: time.Date(2027, 12, 31, 8, 0, 0, 0, time.UTC),
		Labels: map[string]string{"a.b": "c"}, Nested: &nested{5 * time.Minute, true},
		List:   []nested{{5 * time.Minute, false}, {5 * time.Minute, true}},
		ByName: map[string]nested{"x": {0, true}},
	}
	if len(problems) > 0 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, problems, want)
	}
}

func TestEveryProblemIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nratio: 1.5":                   "f:2: ratio: this build cannot read a float64",
		"name: a\nsmall: 99999999999999999999":  "f:2: small: expected a whole number, got a number",
		"name: a\nsmall: 18446744073709551615":  "f:2: small: expected a whole number that is not as large",
		"name: a\nsmall: 1.5":                   "f:2: small: expected a whole number, got a number",
		"name: a\nnested: 1":                    "f:2: nested: expected a mapping of keys to values, got a number",
		"name: a\nlabels: [a]":                  "f:2: labels: expected a mapping of names to values, got a list",
		"name: a\nlabels: { a: { b: c } }":      "f:2: labels.a: expected a string, got a mapping",
		"name: a\nlabels: { ~: a }":             "f:2: labels: a key has to be a plain word",
		"name: a\nlist: []":                     "f:2: list: is an empty list, which says nothing; leave the key out",
		"name: a\nlist: [ ~ ]":                  "f:2: list[0]: expected a mapping of keys to values, got nothing",
		"name: a\nprivate: x":                   "f:2: private: unknown key \"private\"",
		"name: a\nIgnored: x":                   "f:2: Ignored: unknown key \"Ignored\"",
		"name: a\naddr: 10.0.0":                 "f:2: addr: ParseAddr(\"10.0.0\"): IPv4 address too short",
		"name: a\nsmall: &x 1\nlabels: {a: *x}": "f:3: labels.a: expected a value, got a reference to &x; write the value here too",
		"name: ''":                              "f:1: name: is empty",
		"name: ~":                               "f:1: name: expected a string, got nothing",
		"{":                                     "f:1: this is not YAML: did not find expected node content",
		"a: [1\nb: [2]":                         "f:1: this is not YAML: did not find expected ',' or ']'",
		"\xff":                                  "f:1: this line is not UTF-8",
		"\"a\\nb\": 1\nname: a":                 `f:1: a\nb: unknown key "a\nb"`,
	} {
		_, problems := read(text)
		if got := problems.Error(); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", text, got, want)
		}
	}
}

func TestSchemaOfEveryType(t *testing.T) {
	got := strict.Schema(sample{}, nil)
	properties, ok := got["properties"].(map[string]any)
	if !ok || len(properties) != len([]string{"name", "small", "addr", "when", "labels", "nested", "list", "by_name", "ratio"}) {
		t.Fatalf("got %v", got)
	}
	for key, want := range map[string]string{
		"name": "string", "small": "integer", "addr": "string", "labels": "object", "nested": "object", "list": "array",
	} {
		if p, ok := properties[key].(map[string]any); !ok || p["type"] != want {
			t.Errorf("%s: got %v, want type %s", key, properties[key], want)
		}
	}
	if p, ok := properties["small"].(map[string]any); !ok || p["default"] != 7 {
		t.Errorf("default: got %v", properties["small"])
	}
}
