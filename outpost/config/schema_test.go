package config_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost/config"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := config.Schema(kinds(), storeKinds()...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("akprox.json", data); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("akprox.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// editor answers a document as an editor's YAML server hands it to a
// validator: a date is a string there.
func editor(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	text := strings.ReplaceAll(string(data), "2027-12-31", `"2027-12-31"`)
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchemaTakesGoodDocuments(t *testing.T) {
	s := compiled(t)
	for _, path := range files(t, "testdata/good/*.yaml") {
		if err := s.Validate(editor(t, read(t, path))); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What is wrong by its type, its key or its range is wrong in an editor too.
func TestSchemaRefusesBadDocuments(t *testing.T) {
	s := compiled(t)
	for name := range strings.FieldsSeq(`null list-at-top version-missing version-unknown version-string key-unknown
		key-unknown-nested type-list type-mapping type-string type-bool enum store-typo secret-two
		secret-none secret-string secret-unknown secret-number secret-empty provider-missing provider-kind provider-key
		app-missing mode-unknown headers-preset duration-bad session-bad rate-limit rule-allow rule-empty-list
		everything-at-once`) {
		if err := s.Validate(editor(t, read(t, filepath.Join("testdata/bad", name+".yaml")))); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestSchemaTellsWhatAnEditorShows(t *testing.T) {
	text, err := config.Schema(kinds(), storeKinds()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"https://json-schema.org/draft/2020-12/schema"`, `"description": "The issuer."`, `"const": "knock"`,
		`"default": ":9000"`, `"forward_domain"`, `"memory"`, `"additionalProperties": false`,
	} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
	again, err := config.Schema(kinds(), storeKinds()...)
	if err != nil || !bytes.Equal(text, again) {
		t.Errorf("another schema at the second time, %v", err)
	}
}
