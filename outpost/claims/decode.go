package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Set is a decoded JSON object; numbers are json.Number, so that long ids keep
// their digits. Names are compared byte by byte.
type Set map[string]any

// Decode reads one JSON object, and refuses what two readers could read in two
// ways: a name that occurs twice in any of its objects, a claim called like one
// that decides but in other letters (Go's own decoder would take one for the
// other), bytes that are not UTF-8, anything behind the object.
func Decode(b []byte) (Set, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("it is not UTF-8")
	}
	if !json.Valid(b) {
		return nil, errors.New("it is no JSON")
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var told any
	if err := decoder.Decode(&told); err != nil {
		return nil, errors.New("it is no JSON")
	}
	object, ok := told.(map[string]any)
	if !ok {
		return nil, errors.New("it is no JSON object")
	}
	if members(object) != written(b) {
		return nil, errors.New("it has a name twice")
	}
	if err := unmistakable(object); err != nil {
		return nil, err
	}
	return object, nil
}

// UnmarshalJSON is Decode.
func (s *Set) UnmarshalJSON(b []byte) (err error) {
	*s, err = Decode(b)
	return err
}

// members counts the members of all objects that were decoded, of which the
// last of one name is left.
func members(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, inner := range v {
			n += members(inner)
		}
	case []any:
		for _, inner := range v {
			n += members(inner)
		}
	}
	return n
}

// written counts the members that valid JSON is written with: each has one
// colon outside of texts, and nothing else has one there.
func written(b []byte) (n int) {
	text := false
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == '"':
			text = !text
		case b[i] == '\\': // within a text: skip what is escaped
			i++
		case b[i] == ':' && !text:
			n++
		}
	}
	return n
}

// unmistakable refuses claims that could be taken for those that decide.
func unmistakable(object map[string]any) error {
	for name := range object {
		for _, decides := range []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "at_hash", "email_verified"} {
			if name != decides && strings.EqualFold(name, decides) {
				return fmt.Errorf("a claim is called %q, which could be taken for %q", name, decides)
			}
		}
	}
	return nil
}
