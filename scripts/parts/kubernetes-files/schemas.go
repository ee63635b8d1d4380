// Command schemas makes the schemas that kubeconform reads, one file for each
// kind, of the OpenAPI 2 description of the Kubernetes API.
//
//	go run . swagger.json FOLDER
//	kubeconform -strict -schema-location 'FOLDER/{{.ResourceKind}}{{.KindSuffix}}.json' FILE
//
// A field that the API does not know is an error, as in strict validation by
// the API server.
package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

type object = map[string]any

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: schemas swagger.json FOLDER")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var api struct {
		Definitions map[string]struct {
			Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
		}
	}
	var raw struct{ Definitions object }
	for _, into := range []any{&api, &raw} {
		if err := json.Unmarshal(text, into); err != nil {
			log.Fatal(err)
		}
	}
	tighten(raw.Definitions)
	folder := os.Args[2]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		log.Fatal(err)
	}
	write(filepath.Join(folder, "all.json"), object{"definitions": raw.Definitions})
	for name, d := range api.Definitions {
		if len(d.Kinds) != 1 { // options that many groups share
			continue
		}
		k := d.Kinds[0]
		version, file := k.Version, k.Kind+"-"+k.Version
		if k.Group != "" {
			group, _, _ := strings.Cut(k.Group, ".")
			version, file = k.Group+"/"+k.Version, k.Kind+"-"+group+"-"+k.Version
		}
		write(filepath.Join(folder, strings.ToLower(file)+".json"), object{
			"type":     "object",
			"required": []string{"apiVersion", "kind"},
			"allOf": []object{
				{"$ref": "all.json#/definitions/" + name},
				{"properties": object{"apiVersion": object{"const": version}, "kind": object{"const": k.Kind}}},
			},
		})
	}
}

// tighten makes JSON Schema of OpenAPI 2, in place.
func tighten(node any) {
	switch n := node.(type) {
	case []any:
		for _, child := range n {
			tighten(child)
		}
	case object:
		if ref, ok := n["$ref"].(string); ok {
			n["$ref"] = "all.json" + ref
		}
		if n["format"] == "int-or-string" {
			n["type"] = []string{"integer", "string"}
		}
		if format, ok := n["format"].(string); ok && format != "" {
			delete(n, "format")
		}
		fields, ok := n["properties"].(object)
		if !ok {
			for _, child := range n {
				tighten(child)
			}
			return
		}
		if n["additionalProperties"] == nil && n["x-kubernetes-preserve-unknown-fields"] == nil {
			n["additionalProperties"] = false
		}
		required, _ := n["required"].([]any)
		for name, field := range fields {
			tighten(field)
			if !slices.Contains(required, any(name)) { // may be null
				fields[name] = object{"anyOf": []any{field, object{"type": "null"}}}
			}
		}
	}
}

func write(path string, schema any) {
	text, err := json.Marshal(schema)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}
