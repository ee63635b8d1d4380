package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost/config/strict"
)

const (
	maxSecret = 64 << 10
	hidden    = "[secret]"
)

// Secret is where a secret is: in the document, in a file or in a variable of
// the environment. It never prints what it holds.
type Secret struct {
	File string // a path, read at every Read
	Env  string // the name of a variable

	value *string // behind a pointer, which no verb of fmt follows
}

// NewSecret answers a secret that holds value itself.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Read answers the secret, without a line break at its end when it is in a
// file. It is an error when there is none.
func (s Secret) Read() ([]byte, error) {
	switch {
	case s.value != nil:
		return []byte(*s.value), nil
	case s.File != "":
		return readSecret(s.File)
	case s.Env != "":
		if v := os.Getenv(s.Env); v != "" {
			return []byte(v), nil
		}
		return nil, fmt.Errorf("the environment variable %s is not set, or empty, where akprox runs", s.Env)
	}
	return nil, errors.New("no secret is given")
}

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, from(path))
	}
	defer f.Close() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"); {
	case err != nil:
		return nil, err
	case len(data) > maxSecret:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxSecret)
	case text == "":
		return nil, fmt.Errorf("%s is empty; write the secret into it", path)
	default:
		return []byte(text), nil
	}
}

// from ends a sentence about a file that is not there with where a relative
// path begins.
func from(path string) string {
	here, err := os.Getwd()
	if filepath.IsAbs(path) || err != nil {
		return ""
	}
	return "; the path is relative to the folder that akprox was started in, " + here
}

// Loose reports whether the file at path can be read by every user of this
// machine, which deserves a warning when it holds a secret.
func Loose(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// String hides the secret.
func (Secret) String() string { return hidden }

// GoString hides the secret.
func (Secret) GoString() string { return hidden }

// MarshalJSON hides the secret.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }

// MarshalYAML hides the secret.
func (Secret) MarshalYAML() (any, error) { return hidden, nil }

// UnmarshalYAML reads {value: …}, {file: …} or {env: …}. No error repeats a
// text that may be the secret.
func (s *Secret) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		return errors.New("expected one of {value: …}, {file: …} and {env: …}")
	}
	key, value := n.Content[0].Value, n.Content[1]
	if key != "value" && key != "file" && key != "env" { // it may be the secret: {hunter2} is a key, too
		return errors.New("unknown key; expected value, file or env")
	}
	if value.ShortTag() != "!!str" || value.Value == "" {
		return fmt.Errorf("expected a string for %s", strict.Quote(key))
	}
	switch key {
	case "value":
		*s = NewSecret(value.Value)
	case "file":
		*s = Secret{File: value.Value}
	case "env":
		*s = Secret{Env: value.Value}
	}
	return nil
}

// JSONSchema answers how a secret is written.
func (*Secret) JSONSchema() map[string]any {
	text := func(doc string) map[string]any {
		return map[string]any{"type": "string", "minLength": 1, "description": doc}
	}
	return map[string]any{
		"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
		"properties": map[string]any{
			"value": text("The secret itself."),
			"file":  text("The file that holds it; read again on every reload."),
			"env":   text("The environment variable that holds it."),
		},
	}
}

// Secrets is one secret or a list of them: the first writes, all read. nil
// means that none was written.
type Secrets []Secret

// UnmarshalYAML reads one secret, or a list of at least one.
func (s *Secrets) UnmarshalYAML(n *yaml.Node) error {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	if len(nodes) == 0 {
		return errors.New("is an empty list, which says nothing; leave the key out")
	}
	all := make(Secrets, len(nodes))
	for i, item := range nodes {
		if err := all[i].UnmarshalYAML(item); err != nil {
			if len(nodes) > 1 {
				err = fmt.Errorf("number %d, on line %d: %w", i+1, item.Line, err)
			}
			return err
		}
	}
	*s = all
	return nil
}

// JSONSchema answers how one secret, or a list of them, is written.
func (*Secrets) JSONSchema() map[string]any {
	one := (*Secret)(nil).JSONSchema()
	return map[string]any{"oneOf": []any{one, map[string]any{"type": "array", "minItems": 1, "items": one}}}
}
