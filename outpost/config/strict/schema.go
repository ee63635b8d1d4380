package strict

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Schema answers the JSON Schema of the documents that a Reader with these
// kinds reads into the type of v. It is made of the same tags and leaves, so
// that both agree.
func Schema(v any, kinds Kinds) map[string]any {
	return schema{kinds}.plain(reflect.TypeOf(v), "")
}

type schema struct{ kinds Kinds }

// of answers the schema of a type, with what a field's tag says.
func (s schema) of(t reflect.Type, tag reflect.StructTag) map[string]any {
	m := s.plain(t, tag)
	if text := tag.Get("doc"); text != "" {
		m["description"] = text
	}
	var value any
	if text, ok := tag.Lookup("default"); ok && yaml.Unmarshal([]byte(text), &value) == nil {
		m["default"] = value
	}
	return m
}

func (s schema) plain(t reflect.Type, tag reflect.StructTag) map[string]any {
	if own, ok := reflect.New(t).Interface().(interface{ JSONSchema() map[string]any }); ok {
		return own.JSONSchema()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[yaml.Unmarshaler]()) {
		return map[string]any{}
	}
	if l, ok := leafOf(t); ok {
		return constrained(t, l, tag)
	}
	if t == reflect.TypeFor[Pairs]() {
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.plain(t.Elem(), tag)
	case reflect.Slice:
		m := map[string]any{"type": "array", "items": s.plain(t.Elem(), tag)}
		if tag.Get("filled") != "" {
			m["minItems"] = 1
		}
		return m
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": s.plain(t.Elem(), tag)}
	case reflect.Struct:
		return s.object(t)
	default:
		return map[string]any{}
	}
}

// constrained answers the schema of a leaf with its tag's enum and bounds.
func constrained(t reflect.Type, l leaf, tag reflect.StructTag) map[string]any {
	m := maps.Clone(l.schema)
	integer := m["type"] == "integer"
	if enum := tag.Get("enum"); enum != "" {
		var values []any
		for word := range strings.SplitSeq(enum, ",") {
			v := reflect.New(t).Elem()
			if l.read(word, v) == nil {
				values = append(values, v.Interface())
			}
		}
		m["enum"] = values
	}
	if tag.Get("positive") != "" && integer {
		m["minimum"] = 1
	}
	if tag.Get("required") != "" && m["type"] == "string" {
		m["minLength"] = 1
	}
	return m
}

func (s schema) object(t reflect.Type) map[string]any {
	properties := s.properties(t)
	if _, key := settingsOf(t); key != "" {
		return s.kindOf(t, key, properties)
	}
	return map[string]any{"type": "object", "properties": properties, "required": requiredOf(t), "additionalProperties": false}
}

func (s schema) properties(t reflect.Type) map[string]any {
	all := map[string]any{}
	for key, f := range fieldsOf(t) {
		all[key] = s.of(f.Type, f.Tag)
	}
	return all
}

func requiredOf(t reflect.Type) []string {
	required := []string{}
	for key, f := range fieldsOf(t) {
		if f.Tag.Get("required") != "" {
			required = append(required, key)
		}
	}
	slices.Sort(required)
	return required
}

// kindOf answers the schema of a struct whose kind, under key, tells which
// other keys it has.
func (s schema) kindOf(t reflect.Type, key string, head map[string]any) map[string]any {
	cases := []any{}
	kinds := slices.Sorted(maps.Keys(s.kinds))
	for _, kind := range kinds {
		settings := reflect.TypeOf(s.kinds[kind]()).Elem()
		properties := s.properties(settings)
		for known := range head {
			properties[known] = true
		}
		cases = append(cases, map[string]any{
			"if":   map[string]any{"required": []string{key}, "properties": map[string]any{key: map[string]any{"const": kind}}},
			"then": map[string]any{"properties": properties, "required": requiredOf(settings), "additionalProperties": false},
		})
	}
	m := map[string]any{"type": "object", "properties": head, "required": requiredOf(t)}
	if len(cases) > 0 {
		m["allOf"] = cases
		head[key] = map[string]any{"enum": kinds, "description": fieldsOf(t)[key].Tag.Get("doc")}
	}
	return m
}
