package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// command runs a program and answers what it wrote.
func command(t *testing.T, path string, args ...string) string {
	t.Helper()
	var errs strings.Builder
	run := exec.Command(path, args...) // #nosec G204 -- the test's own
	run.Stderr = &errs
	out, err := run.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", path, strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

// TestChartSchema: values.schema.json knows every value, explains it, refuses
// others, and has the document's own schema in it. AKPROX_UPDATE_DOCS=1 copies
// the latter.
func TestChartSchema(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	file := chartFolder + "/values.schema.json"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	schema := decode(t, text)
	values, err := os.ReadFile(chartFolder + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	explained(t, "", schema, readYAML(t, string(values)))
	want := chartDefinitions(t)
	if got := schema["$defs"]; reflect.DeepEqual(got, want) {
		return
	}
	if os.Getenv("AKPROX_UPDATE_DOCS") == "" {
		t.Fatalf("%s has not the document's own schema; AKPROX_UPDATE_DOCS=1 go test -run %s ./e2e", file, t.Name())
	}
	schema["$defs"] = want
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil { // #nosec G306 -- a source file
		t.Fatal(err)
	}
}

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

// explained: the schema has a sentence for each value, and refuses others.
func explained(t *testing.T, path string, schema, values map[string]any) {
	t.Helper()
	if schema["additionalProperties"] != false {
		t.Errorf("values.schema.json lets anything pass under %q", path)
	}
	properties := schema["properties"].(map[string]any)
	for key := range properties {
		if _, ok := values[key]; !ok && key != "global" {
			t.Errorf("values.schema.json has %s.%s, values.yaml does not", path, key)
		}
	}
	for key, value := range values {
		below, ok := properties[key].(map[string]any)
		if !ok {
			t.Errorf("values.schema.json lacks %s.%s", path, key)
			continue
		}
		if deeper, ok := value.(map[string]any); ok && below["properties"] != nil {
			explained(t, path+"."+key, below, deeper)
		} else if text, _ := below["description"].(string); text == "" {
			t.Errorf("values.schema.json does not explain %s.%s", path, key)
		}
	}
}

// chartDefinitions is the schema that akprox prints, without what the chart
// writes itself, and what it says about a store of kind redis.
func chartDefinitions(t *testing.T) map[string]any {
	t.Helper()
	document := decode(t, []byte(command(t, parts.AkproxPath(t), "schema")))
	for _, key := range []string{"$schema", "title", "required"} {
		delete(document, key)
	}
	properties := document["properties"].(map[string]any)
	redis := map[string]any{"type": "object", "additionalProperties": false, "properties": properties["store"].(map[string]any)["properties"]}
	for _, key := range []string{"kind", "path"} {
		delete(redis["properties"].(map[string]any), key)
	}
	// The templates refuse these, with a sentence.
	for _, key := range []string{"version", "store", "secret"} {
		properties[key] = true
	}
	server := properties["server"].(map[string]any)["properties"].(map[string]any)
	for _, key := range []string{"http", "https", "metrics", "tls", "grpc"} {
		server[key] = true
	}
	required(document)
	return map[string]any{"document": document, "redis": redis}
}

// required drops empty lists, which say nothing.
func required(node any) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			required(child)
		}
	case map[string]any:
		if list, ok := n["required"].([]any); ok && len(list) == 0 {
			delete(n, "required")
		}
		for key := range n {
			required(n[key])
		}
	}
}
