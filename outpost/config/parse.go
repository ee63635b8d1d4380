package config

import (
	"encoding/json"

	"github.com/akprox/akprox/outpost/config/strict"
)

// Parse reads a document, or says everything that is wrong with it. name is
// what problems call it. It reads nothing but data: files and variables that
// the document names are the business of who uses them.
func Parse(data []byte, name string, kinds Kinds, storeKinds []string) (*Document, Problems) {
	doc := &Document{name: name}
	r := &strict.Reader{File: name, Kinds: kinds, Fault: fault}
	if r.Read(data, doc) {
		doc.lines = r.Lines
		c := checker{r}
		c.document(doc, storeKinds)
	}
	if problems := r.Problems(); len(problems) > 0 {
		return nil, problems
	}
	return doc, nil
}

// Schema answers the JSON Schema (2020-12) of the document, for editors. It
// lists the kinds of stores if it is told any.
func Schema(kinds Kinds, storeKinds ...string) ([]byte, error) {
	root := strict.Schema(Document{}, kinds)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "akprox.yaml"
	if len(storeKinds) > 0 {
		property(root, "store", "kind")["enum"] = storeKinds
	}
	return json.MarshalIndent(root, "", "  ")
}

// property answers the schema of the key to which keys lead.
func property(schema map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		properties, _ := schema["properties"].(map[string]any)
		schema, _ = properties[key].(map[string]any)
	}
	return schema
}
