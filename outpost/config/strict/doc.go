// Package strict reads YAML into Go structs as their tags say: strictly,
// completely, and with every problem at once, each with its line. The same
// tags make the JSON Schema of what it reads. It knows nothing of akprox.
//
// The tags of a field:
//
//	yaml      its key
//	doc       what it is, in a sentence
//	default   its value, in YAML, where the key is missing
//	required  "true": the key has to be there, and not to be empty
//	enum      the values that it, or each of its items, may have
//	form      how its text, or each of its texts, is written; see Reader.Fault
//	positive  "true": a number or a duration above zero
//	filled    "true": a list that says something, if it is there at all
//	kindof    the key of the kind whose settings the field takes, from all keys
//	          that the struct itself does not know; see Reader.Kinds
//
// A field may be a string, bool, int, int64, time.Duration ("1d12h"),
// time.Time, netip.Prefix, anything with UnmarshalText, Pairs; structs,
// pointers to, slices of, and maps from strings to such; or of a type that
// reads itself: UnmarshalYAML(*yaml.Node) error, best with a method
// JSONSchema() map[string]any.
package strict
