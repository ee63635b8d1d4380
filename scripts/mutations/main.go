// Command mutations weakens the product on purpose, one edit at a time, in a
// copy of the tree, and demands that a test fails for each. Run it from the
// root of the repository:
//
//	go run ./scripts/mutations [-run word] [-list]
//
// Without -list it takes some minutes. It ends with status 1 when an edit does
// not apply exactly once or when the tests pass all the same.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	only := flag.String("run", "", "do only those whose name holds this")
	list := flag.Bool("list", false, "print the list as a table, and check that each applies; run nothing")
	flag.Parse()
	if err := run(".", *only, *list); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(root, only string, list bool) error {
	tree := root
	if !list {
		dir, err := os.MkdirTemp("", "mutations-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		if err := copyTree(root, dir); err != nil {
			return err
		}
		tree = dir
	}
	if !list {
		if err := sound(tree, only); err != nil {
			return err
		}
	}
	fmt.Println("| weakening | file | exact edit | caught by |\n|---|---|---|---|")
	var wrong []error
	for _, m := range mutations {
		if !strings.Contains(m.name, only) {
			continue
		}
		caught, err := m.try(tree, list)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", m.name, err))
			caught = "**" + err.Error() + "**"
		}
		fmt.Printf("| %s | `%s` | %s | %s |\n", m.name, m.file, m.edit(), caught)
	}
	return errors.Join(wrong...)
}

// sound demands that every test that is to fail passes before.
func sound(tree, only string) error {
	done := map[mutation]bool{}
	for _, m := range mutations {
		same := mutation{pkg: m.pkg, tests: m.tests}
		if done[same] || !strings.Contains(m.name, only) {
			continue
		}
		done[same] = true
		if out, err := m.test(tree); err != nil {
			return fmt.Errorf("without any edit, in %s:\n%s", m.pkg, out)
		}
	}
	return nil
}

// test runs the tests of m.
func (m mutation) test(tree string) ([]byte, error) {
	cmd := exec.Command("go", "test", "-count=1", "-vet=off", "-timeout", "5m", "-run", "^("+m.tests+")$", "./"+m.pkg) // #nosec G204 -- of the list
	cmd.Dir = tree
	return cmd.CombinedOutput()
}

// try applies m, runs the tests that have to fail, and takes it back.
func (m mutation) try(tree string, list bool) (caught string, err error) {
	path := filepath.Join(tree, filepath.FromSlash(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("the edit applies %d times, not once", n)
	}
	if list {
		return "`" + m.pkg + "` " + m.tests, nil
	}
	if err := os.WriteFile(path, bytes.Replace(text, []byte(m.old), []byte(m.new), 1), 0o600); err != nil { // #nosec G703 -- of the list below
		return "", err
	}
	defer func() { err = errors.Join(err, os.WriteFile(path, text, 0o600)) }() // #nosec G703
	began := time.Now()
	out, err := m.test(tree)
	fmt.Fprintf(os.Stderr, "%s: %.1fs\n", m.name, time.Since(began).Seconds())
	if err == nil {
		return "", errors.New("every test passes")
	}
	failed := failures.FindAllSubmatch(out, -1)
	if len(failed) == 0 {
		return "", fmt.Errorf("no test failed, but go test did:\n%s", out)
	}
	last := failed[len(failed)-1]
	for _, f := range failed { // the first that is most exact
		if bytes.Count(f[1], []byte("/")) > bytes.Count(last[1], []byte("/")) {
			last = f
		}
	}
	return "`" + m.pkg + "` `" + string(last[1]) + "`", nil
}

var failures = regexp.MustCompile(`--- FAIL: (\S+)`)

// edit answers the edit as the table shows it.
func (m mutation) edit() string {
	line := func(s string) string {
		return "`" + strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`) + "`"
	}
	return line(m.old) + " → " + line(m.new)
}

// copyTree copies everything that go test reads.
func copyTree(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		at := filepath.Join(from, e.Name())
		switch {
		case e.Name() == ".git", e.Name() == "bin", e.Name() == "build":
		case e.IsDir():
			err = os.CopyFS(filepath.Join(to, e.Name()), os.DirFS(at))
		default:
			var text []byte
			if text, err = os.ReadFile(at); err == nil {
				err = os.WriteFile(filepath.Join(to, e.Name()), text, 0o600) // #nosec G703 -- a folder made for it
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
