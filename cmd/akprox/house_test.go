package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/akprox/akprox/"

// source is one file of the house.
type source struct {
	path, pkg string // pkg is the folder, slashes
	test      bool
	file      *ast.File
	lines     int
}

// house parses every Go file of the module.
func house(t *testing.T) ([]source, *token.FileSet) {
	t.Helper()
	var all []source
	set := token.NewFileSet()
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "testdata" || d.Name() == "scripts") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(set, path, text, parser.ParseComments)
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, "../../"))
		all = append(all, source{rel, filepath.ToSlash(filepath.Dir(rel)), strings.HasSuffix(path, "_test.go"), f, codeLines(string(text))})
		return nil
	})
	if err != nil || len(all) < 20 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	return all, set
}

// codeLines counts lines that are neither blank nor comment.
func codeLines(text string) (n int) {
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			n++
		}
	}
	return n
}

// room answers the top-level folder, and for a provider its own.
func room(pkg string) string {
	parts := strings.Split(pkg, "/")
	if parts[0] == "providers" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

func ours(s source) []string {
	var list []string
	for _, i := range s.file.Imports {
		if pkg, ok := strings.CutPrefix(strings.Trim(i.Path.Value, `"`), module); ok {
			list = append(list, pkg)
		}
	}
	return list
}

// TestTheOneArrow holds the picture in docs/architecture.md: cmd knows all,
// proxy and providers know outpost, outpost knows itself.
func TestTheOneArrow(t *testing.T) {
	all, _ := house(t)
	for _, s := range all {
		from := room(s.pkg)
		if s.test || from == "cmd" || from == "e2e" || from == "bench" {
			continue
		}
		for _, to := range ours(s) {
			if room(to) != from && room(to) != "outpost" {
				t.Errorf("%s imports %s: %s may know outpost and itself alone", s.path, to, from)
			}
		}
	}
}

func TestEachLibraryHasItsHome(t *testing.T) {
	homes := map[string][]string{
		"github.com/gorilla/mux":                 {"proxy"},
		"github.com/gorilla/sessions":            {"outpost/session"},
		"github.com/gorilla/securecookie":        {"outpost/session"},
		"github.com/coreos/go-oidc":              {"providers/oidc", "providers/token"},
		"golang.org/x/oauth2":                    {"providers/oidc", "providers/token"},
		"google.golang.org/grpc":                 {"proxy/extauthz"},
		"github.com/envoyproxy/go-control-plane": {"proxy/extauthz"},
		"go.etcd.io/bbolt":                       {"outpost/store/disk"},
		"github.com/redis/rueidis":               {"outpost/store/redis"},
		"go.yaml.in/yaml":                        {"outpost/config", "providers/apikey", "providers/password", "cmd/akprox"},
	}
	all, _ := house(t)
	for _, s := range all {
		if s.test || room(s.pkg) == "e2e" || room(s.pkg) == "bench" || strings.HasPrefix(s.pkg, "cmd/akprox/demo") {
			continue
		}
		for _, i := range s.file.Imports {
			path := strings.Trim(i.Path.Value, `"`)
			if room(s.pkg) == "outpost" && strings.Contains(path, "sirupsen/logrus") {
				t.Errorf("%s imports logrus: outpost writes no log", s.path)
			}
			for library, rooms := range homes {
				if strings.HasPrefix(path, library) && !slices.ContainsFunc(rooms, func(r string) bool { return s.pkg == r || strings.HasPrefix(s.pkg, r+"/") }) {
					t.Errorf("%s imports %s, whose home is %s", s.path, library, rooms)
				}
			}
		}
	}
}

func TestNoPackageIsNamedAfterAPattern(t *testing.T) {
	all, _ := house(t)
	for _, s := range all {
		for _, word := range strings.Split(s.pkg, "/") {
			if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "manager", "service", "controller", "middleware", "internal"}, word) {
				t.Errorf("%s", s.path)
			}
		}
	}
}

func TestImportsAreAtMostFiveDeep(t *testing.T) {
	all, _ := house(t)
	imports := map[string][]string{}
	for _, s := range all {
		if !s.test {
			imports[s.pkg] = append(imports[s.pkg], ours(s)...)
		}
	}
	var depth func(pkg string, on []string) int
	depth = func(pkg string, on []string) int {
		if slices.Contains(on, pkg) {
			t.Fatalf("a cycle: %v", append(on, pkg))
		}
		most := 0
		for _, to := range imports[pkg] {
			most = max(most, depth(to, append(on, pkg)))
		}
		return most + 1
	}
	if got := depth("cmd/akprox", nil); got > 6 { // itself and five below
		t.Errorf("the imports of cmd/akprox are %d deep", got-1)
	}
}

// TestTheNumbers holds those of the numbers in docs/architecture.md that a
// parser can count.
func TestTheNumbers(t *testing.T) {
	all, set := house(t)
	size, documented := map[string]int{}, map[string]bool{}
	for _, s := range all {
		if s.test || room(s.pkg) == "e2e" || room(s.pkg) == "bench" {
			continue
		}
		size[s.pkg] += s.lines
		documented[s.pkg] = documented[s.pkg] || s.file.Doc != nil
		if s.lines > 450 {
			t.Errorf("%s has %d lines", s.path, s.lines)
		}
		for _, d := range s.file.Decls {
			checkDeclaration(t, set, s, d)
		}
	}
	for pkg, lines := range size {
		if lines > 1200 {
			t.Errorf("package %s has %d lines", pkg, lines)
		}
		if !documented[pkg] {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

func checkDeclaration(t *testing.T, set *token.FileSet, s source, d ast.Decl) {
	t.Helper()
	switch d := d.(type) {
	case *ast.FuncDecl:
		if n := set.Position(d.End()).Line - set.Position(d.Pos()).Line + 1; n > 80 {
			t.Errorf("%s: %s has %d lines", s.path, d.Name.Name, n)
		}
		if d.Name.Name == "init" && d.Recv == nil {
			t.Errorf("%s: has an init", s.path)
		}
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exportedReceiver(d)) {
			t.Errorf("%s: %s has no doc comment", s.path, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
					t.Errorf("%s: %s has no doc comment", s.path, spec.Name.Name)
				}
				if i, ok := spec.Type.(*ast.InterfaceType); ok && len(i.Methods.List) > 5 {
					t.Errorf("%s: interface %s has %d methods", s.path, spec.Name.Name, len(i.Methods.List))
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	e := d.Recv.List[0].Type
	if star, ok := e.(*ast.StarExpr); ok {
		e = star.X
	}
	id, ok := e.(*ast.Ident)
	return ok && id.IsExported()
}

// TestNoPackageVariableIsWritten finds assignments to package variables, but
// for the version, which only the linker sets.
func TestNoPackageVariableIsWritten(t *testing.T) {
	all, set := house(t)
	vars := map[string]map[*ast.Object]bool{} //nolint:staticcheck // without types, this resolution is what there is
	for _, s := range all {
		if s.test || room(s.pkg) == "e2e" || room(s.pkg) == "bench" {
			continue
		}
		for _, d := range s.file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, spec := range g.Specs {
					for _, n := range spec.(*ast.ValueSpec).Names {
						if vars[s.pkg] == nil {
							vars[s.pkg] = map[*ast.Object]bool{} //nolint:staticcheck // as above
						}
						vars[s.pkg][n.Obj] = true
					}
				}
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			var written []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				written = n.Lhs
			case *ast.IncDecStmt:
				written = []ast.Expr{n.X}
			}
			for _, e := range written {
				if id, ok := e.(*ast.Ident); ok && id.Obj != nil && vars[s.pkg][id.Obj] {
					t.Errorf("%s: %s is written", set.Position(id.Pos()), id.Name)
				}
			}
			return true
		})
	}
}

// TestEachFuzzTargetHasItsCorpus: what was found, and what is worth a try, is
// run by every go test; and no corpus is left of a target that is gone.
func TestEachFuzzTargetHasItsCorpus(t *testing.T) {
	all, _ := house(t)
	targets := map[string]bool{}
	for _, s := range all {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") {
				targets[filepath.Join("../..", s.pkg, "testdata/fuzz", f.Name.Name)] = true
			}
		}
	}
	if len(targets) < 30 {
		t.Fatalf("%d fuzz targets", len(targets))
	}
	for folder := range targets {
		if corpus, err := os.ReadDir(folder); err != nil || len(corpus) == 0 {
			t.Errorf("%s: %d files, %v", folder, len(corpus), err)
		}
	}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasSuffix(filepath.ToSlash(filepath.Dir(path)), "testdata/fuzz") && !targets[path] {
			t.Errorf("%s: there is no such target", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestTheHopsExist holds docs/architecture.md to the code: each hop that it
// names is there.
func TestTheHopsExist(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	hops := regexp.MustCompile("(?m)^[0-9]+\\. `([a-z/_<>]+\\.go)` `([A-Za-z.]+)`").FindAllStringSubmatch(string(text), -1)
	if len(hops) < 15 {
		t.Fatalf("docs/architecture.md names %d hops; eight of a request and seven of a sign-in are meant to be there", len(hops))
	}
	for _, hop := range hops {
		code, err := os.ReadFile("../../" + hop[1])
		if err != nil {
			t.Errorf("%s: %v", hop[0], err)
			continue
		}
		name := hop[2][strings.LastIndexByte(hop[2], '.')+1:]
		if !regexp.MustCompile(`func (\([^)]*\) )?` + name + `\(`).Match(code) {
			t.Errorf("%s: no such function", hop[0])
		}
	}
}
