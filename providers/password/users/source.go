package users

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/akprox/akprox/outpost/config/strict"
)

const (
	maxFile     = 8 << 20 // bytes
	maxProblems = 100     // that are told of an htpasswd file
)

// Source is where the users of one provider are written.
type Source struct {
	Provider     string // its name, which identities carry
	Users        []User // of the document
	UsersFile    string // "" for none
	HtpasswdFile string // "" for none
}

// Load reads all users there are now. The error names everything that is
// wrong, in files with lines, and holds no password and no hash.
func (s *Source) Load() (*Set, error) {
	var problems []error
	b := newBuilder(s.Provider)
	b.add(s.Users, list{
		func(i int) string { return fmt.Sprintf("users[%d]", i) },
		func(i int, key, problem string) {
			problems = append(problems, fmt.Errorf("users[%d].%s: %s", i, key, problem))
		},
	})
	problems = append(problems, addFile(b, s.UsersFile, addYAML), addFile(b, s.HtpasswdFile, addHtpasswd))
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return b.finish(), nil
}

func addFile(b *builder, path string, add func(b *builder, path string, data []byte) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d MiB", path, maxFile>>20)
	}
	if err != nil {
		return err
	}
	return add(b, path, data)
}

// addYAML reads a document that has the list of users under the key users.
func addYAML(b *builder, path string, data []byte) error {
	var doc struct {
		Users []User `yaml:"users" required:"true"`
	}
	r := strict.Reader{File: path}
	if r.Read(data, &doc) {
		b.add(doc.Users, list{
			func(i int) string { return fmt.Sprintf("line %d of %s", r.Lines.Of(fmt.Sprintf("users[%d]", i)), path) },
			func(i int, key, problem string) { r.Report(fmt.Sprintf("users[%d].%s", i, key), "%s", problem) },
		})
	}
	return r.Problems().Err()
}

// addHtpasswd reads lines of the form name:hash, as htpasswd -B writes them.
// What follows a second colon is a comment, as is a line that begins with #.
func addHtpasswd(b *builder, path string, data []byte) error {
	var users []User
	var lines []int
	var problems strict.Problems
	report := func(line int, key, problem string) {
		if len(problems) < maxProblems {
			problems = append(problems, strict.Problem{File: path, Line: line, Key: key, Text: problem})
		}
	}
	number := 0
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, ":")
		hashed, _, _ := strings.Cut(rest, ":")
		if hashed == "" {
			report(number, "", "expected a line of the form name:hash")
			continue
		}
		users, lines = append(users, User{Username: name, Password: hashed}), append(lines, number)
	}
	b.add(users, list{
		func(i int) string { return fmt.Sprintf("line %d of %s", lines[i], path) },
		func(i int, key, problem string) { report(lines[i], key, problem) },
	})
	problems.Sort()
	return problems.Err()
}
