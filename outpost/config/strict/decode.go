package strict

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxProblems is how many problems a person is told of one document.
const maxProblems = 500

// Kinds tells which settings go with which kind: for each a function that
// answers a pointer to a new struct with its defaults set. It may be a Checker.
type Kinds map[string]func() any

// Checker is an optional power of the settings of a kind: to report what is
// wrong with them beyond types, by key ("keys[0].hash").
type Checker interface {
	Check(report func(key, problem string))
}

// Reader reads one document and collects its problems: of each key the first,
// since the others mostly follow from it.
type Reader struct {
	File  string                         // what problems call the document
	Kinds Kinds                          // for structs with a kindof field
	Fault func(form, text string) string // what is wrong with a text of a form; "" when nothing is
	Lines Lines                          // where everything was written

	problems Problems
	told     map[string]bool
}

// Read fills the struct that into points to, defaults first. It reports
// whether there was anything to read.
func (r *Reader) Read(data []byte, into any) bool {
	r.Lines, r.told = Lines{}, map[string]bool{}
	root := r.tree(data)
	if root == nil {
		return false
	}
	v := reflect.ValueOf(into).Elem()
	setDefaults(v)
	r.value("", root, v, "")
	return true
}

// Problems answers what is wrong, by line.
func (r *Reader) Problems() Problems {
	r.problems.Sort()
	return r.problems
}

// Told reports whether there is a problem at path.
func (r *Reader) Told(path string) bool { return r.told[path] }

// Within reports whether there is a problem with a key of the mapping at path.
func (r *Reader) Within(path string) bool {
	return slices.ContainsFunc(r.problems, func(p Problem) bool { return strings.HasPrefix(p.Key, path+".") })
}

// Report adds a problem at path.
func (r *Reader) Report(path, format string, args ...any) {
	if !r.told[path] {
		r.told[path] = true
		r.add(r.Lines.Of(path), path, fmt.Sprintf(format, args...))
	}
}

func (r *Reader) add(line int, path, text string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, Problem{File: r.File, Line: line, Key: clip(path), Text: text})
	}
}

// value fills v from a node.
func (r *Reader) value(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	if n.Kind == yaml.AliasNode {
		r.Report(path, "expected a value, got a reference to &%s; write the value here too", clip(n.Value))
		return
	}
	if custom, ok := v.Addr().Interface().(yaml.Unmarshaler); ok {
		if err := custom.UnmarshalYAML(n); err != nil {
			r.Report(path, "%s", err)
		}
		return
	}
	if l, ok := leafOf(v.Type()); ok {
		if r.is(path, n, l.tags, l.words) {
			r.leaf(path, n, v, l, tag)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
		r.value(path, n, v.Elem(), tag)
	case reflect.Struct:
		if r.is(path, n, "!!map", "a mapping of keys to values") {
			r.structure(path, n, v)
		}
	case reflect.Map:
		if r.is(path, n, "!!map", "a mapping of names to values") {
			r.mapping(path, n, v, tag)
		}
	case reflect.Slice:
		r.list(path, n, v, tag)
	default:
		r.Report(path, "this build cannot read a %s", v.Type())
	}
}

// is reports whether n has one of the YAML types in tags, or a problem.
func (r *Reader) is(path string, n *yaml.Node, tags, words string) bool {
	got := n.ShortTag()
	if slices.Contains(strings.Fields(tags), got) {
		return true
	}
	hint := ""
	if words == "a string" && slices.Contains([]string{"!!int", "!!float", "!!bool", "!!timestamp"}, got) {
		hint = "; put it in quotes"
	}
	r.Report(path, "expected %s, got %s%s", words, called(n), hint)
	return false
}

// called says what a node is in words that a person understands.
func called(n *yaml.Node) string {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return "nothing"
	case "!!str":
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return n.Value
	case "!!timestamp":
		return "a date"
	case "!!seq":
		return "a list"
	case "!!map":
		return "a mapping"
	default:
		return "something tagged " + Quote(tag)
	}
}

func (r *Reader) leaf(path string, n *yaml.Node, v reflect.Value, l leaf, tag reflect.StructTag) {
	if err := l.read(n.Value, v); err != nil {
		r.Report(path, "%s", err)
		return
	}
	if enum, ok := tag.Lookup("enum"); ok {
		switch known := strings.Split(enum, ","); {
		case slices.Contains(known, fmt.Sprint(v.Interface())):
		case len(known) == 1:
			r.Report(path, "has to be %s", enum)
		default:
			r.Report(path, "%s is not one of %s%s", Quote(n.Value), strings.Join(known, ", "), Suggest(n.Value, known))
		}
	}
	if tag.Get("positive") != "" && v.Int() <= 0 {
		r.Report(path, "has to be more than 0")
	}
	if tag.Get("required") != "" && n.Value == "" {
		r.Report(path, "is empty")
	}
	if form := tag.Get("form"); form != "" && n.Value != "" && r.Fault != nil {
		if text := r.Fault(form, n.Value); text != "" {
			r.Report(path, "%s", text)
		}
	}
}

// Pairs is a mapping of text to text that keeps the order in which it was
// written; the path of an entry ends with its key.
type Pairs [][2]string

// list fills a slice; the tag is about each of its elements.
func (r *Reader) list(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	if v.Type() == reflect.TypeFor[Pairs]() {
		r.pairs(path, n, v)
		return
	}
	words := "a list"
	if l, ok := leafOf(v.Type().Elem()); ok {
		words = "a list of " + l.many
	}
	if !r.is(path, n, "!!seq", words) {
		return
	}
	if len(n.Content) == 0 && tag.Get("filled") != "" {
		r.Report(path, "is an empty list, which says nothing; leave the key out")
	}
	all := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		r.Lines[at] = item.Line
		setDefaults(all.Index(i))
		if r.value(at, item, all.Index(i), tag); item.ShortTag() == "!!str" && item.Value == "" {
			r.Report(at, "is empty")
		}
	}
	v.Set(all)
}

func (r *Reader) pairs(path string, n *yaml.Node, v reflect.Value) {
	if !r.is(path, n, "!!map", "a mapping of names to strings") {
		return
	}
	for _, e := range r.entries(path, n) {
		pair := [2]string{e.key}
		r.value(join(path, e.key), e.node, reflect.ValueOf(&pair[1]).Elem(), "")
		v.Set(reflect.Append(v, reflect.ValueOf(pair)))
	}
}

func (r *Reader) mapping(path string, n *yaml.Node, v reflect.Value, tag reflect.StructTag) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range r.entries(path, n) {
		item := reflect.New(v.Type().Elem()).Elem()
		setDefaults(item)
		r.value(join(path, e.key), e.node, item, tag)
		v.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), item)
	}
}

// entry is a key of a mapping, and its value.
type entry struct {
	key  string
	node *yaml.Node
}

// entries answers the entries of a mapping and records their lines. A key that
// is no plain word, or stands a second time, is a problem.
func (r *Reader) entries(path string, n *yaml.Node) []entry {
	var all []entry
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		at := join(path, key.Value)
		if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" || key.ShortTag() == "!!null" {
			r.add(key.Line, path, "a key has to be a plain word")
			continue
		}
		if first := seen[key.Value]; first != 0 {
			r.add(key.Line, at, fmt.Sprintf("stands here a second time; the first is on line %d", first))
			continue
		}
		seen[key.Value] = key.Line
		r.Lines[at] = key.Line
		all = append(all, entry{key.Value, n.Content[i+1]})
	}
	return all
}

// structure fills a struct, and the settings of its kind where it has any.
func (r *Reader) structure(path string, n *yaml.Node, v reflect.Value) {
	known, all := fieldsOf(v.Type()), r.entries(path, n)
	settings, key := settingsOf(v.Type())
	if key == "" {
		r.fields(path, all, v)
		return
	}
	var head, rest []entry
	for _, e := range all {
		if _, ok := known[e.key]; ok {
			head = append(head, e)
		} else {
			rest = append(rest, e)
		}
	}
	r.fields(path, head, v)
	kind := v.FieldByIndex(known[key].Index).String()
	fresh, ok := r.Kinds[kind]
	if !ok {
		kinds := slices.Sorted(maps.Keys(r.Kinds))
		r.Report(join(path, key), "%s is not a kind that this build has (%s)%s", Quote(kind), strings.Join(kinds, ", "), Suggest(kind, kinds))
		return
	}
	made := reflect.ValueOf(fresh())
	v.FieldByIndex(settings.Index).Set(made)
	setDefaults(made.Elem())
	r.fields(path, rest, made.Elem(), slices.Collect(maps.Keys(known))...)
	if c, ok := made.Interface().(Checker); ok {
		c.Check(func(key, problem string) { r.Report(join(path, key), "%s", problem) })
	}
}

// fields fills a struct, strictly and completely. Keys in others are known too.
func (r *Reader) fields(path string, entries []entry, v reflect.Value, others ...string) {
	known := fieldsOf(v.Type())
	given := map[string]bool{}
	for _, e := range entries {
		at := join(path, e.key)
		f, ok := known[e.key]
		if !ok {
			names := append(slices.Sorted(maps.Keys(known)), others...)
			r.Report(at, "unknown key %s%s", Quote(e.key), Suggest(e.key, names))
			continue
		}
		given[e.key] = true
		r.value(at, e.node, v.FieldByIndex(f.Index), f.Tag)
	}
	for name, f := range known {
		if f.Tag.Get("required") != "" && !given[name] {
			r.Report(join(path, name), "is missing")
		}
	}
}

// fieldsOf answers the fields of a struct that the document can set, by key.
func fieldsOf(t reflect.Type) map[string]reflect.StructField {
	known := map[string]reflect.StructField{}
	for i := range t.NumField() {
		f := t.Field(i)
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" && key != "-" {
			known[key] = f
		}
	}
	return known
}

// settingsOf answers the field that takes the settings of a kind, and the key
// under which the kind is written; "" for a struct that has no kinds.
func settingsOf(t reflect.Type) (reflect.StructField, string) {
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("kindof"); key != "" {
			return t.Field(i), key
		}
	}
	return reflect.StructField{}, ""
}

// setDefaults gives every field that has a default tag, however deep, its
// value. A test holds that they all can be read.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		text, ok := f.Tag.Lookup("default")
		var n yaml.Node
		if ok && yaml.Unmarshal([]byte(text), &n) == nil {
			scratch := Reader{Lines: Lines{}, told: map[string]bool{}}
			scratch.value("", n.Content[0], v.Field(i), "")
		} else if f.IsExported() {
			setDefaults(v.Field(i))
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
