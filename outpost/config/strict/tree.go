package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDocument is how large a document may be, in bytes.
const maxDocument = 8 << 20

// tree answers the root of the only YAML document in data; nil after a problem.
func (r *Reader) tree(data []byte) *yaml.Node {
	if len(data) > maxDocument {
		r.Report("", "the document is larger than %d MiB", maxDocument>>20)
		return nil
	}
	if !utf8.Valid(data) {
		for i, line := range bytes.Split(data, []byte("\n")) {
			if !utf8.Valid(line) {
				r.add(i+1, "", "this line is not UTF-8")
			}
		}
		return nil
	}
	root, second, err := load(data)
	switch {
	case err != nil:
		r.notYAML(data, err)
	case root == nil:
		r.Report("", "the document is empty")
	case second != 0:
		r.add(second, "", "only one document is read; this line begins a second one")
		return nil
	}
	return root
}

// load answers the root of the first YAML document in data, nil when there is
// nothing, and the line on which a second one begins.
func load(data []byte) (root *yaml.Node, second int, err error) {
	var first, next yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err = decoder.Decode(&first); err == nil {
		err = decoder.Decode(&next)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if len(first.Content) == 1 && first.Content[0].ShortTag() != "!!null" {
		root = first.Content[0]
	}
	return root, next.Line, nil
}

// notYAML reports a syntax error. The line that the library tells is that of
// the block around it, or none; it is the last of the shortest beginning of
// data that is wrong in the same way.
func (r *Reader) notYAML(data []byte, err error) {
	line, words := syntax(err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	line += sort.Search(len(lines)-line, func(more int) bool {
		_, _, err := load(bytes.Join(lines[:line+more], nil))
		if err == nil {
			return false
		}
		_, same := syntax(err)
		return same == words
	})
	for _, hint := range [][2]string{
		{"anchor", "a text that begins with * or & has to stand in quotes"},
		{"alphabetic", "a text that begins with * or & has to stand in quotes"},
		{"expected '-' indicator", "look at the indentation of this line, and of the one above"},
		{"expected key", "look at the indentation of this line, and of the one above"},
		{"mapping values", "look at the indentation of this line, and of the one above; a text that holds a colon and a space has to stand in quotes"},
	} {
		if strings.Contains(words, hint[0]) {
			words += " (" + hint[1] + ")"
			break
		}
	}
	r.add(line, "", "this is not YAML: "+words)
}

// syntax takes "yaml: line 3: words" apart.
func syntax(err error) (line int, words string) {
	words = strings.TrimPrefix(err.Error(), "yaml: ")
	if _, err := fmt.Sscanf(words, "line %d:", &line); err != nil || line < 1 {
		return 1, words
	}
	_, words, _ = strings.Cut(words, ": ")
	return line, words
}
