package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/proxy"
	"github.com/akprox/akprox/proxy/dialect"
	"github.com/akprox/akprox/proxy/reverse"
	"github.com/akprox/akprox/proxy/signin"
)

// purposes are what the document's secret is for, and the keys that the one for
// "store" stands for in turn. docs/security.md lists them.
var purposes = map[string][]string{
	"Derive": {"session cookie", "store"},
	"part":   {"id", "seal", "tag"},
}

// TestEachKeyHasOnePurpose finds every key that is made of the secret.
func TestEachKeyHasOnePurpose(t *testing.T) {
	all, _ := house(t)
	found := map[string]map[string]bool{"Derive": {}, "part": {}}
	for _, s := range all {
		if s.test || room(s.pkg) == "bench" {
			continue
		}
		for _, i := range s.file.Imports {
			if i.Path.Value == `"crypto/hkdf"` && s.path != "cmd/akprox/stores/secrets.go" {
				t.Errorf("%s derives keys: cmd/akprox/stores does", s.path)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			name := types.ExprString(call.Fun)
			name = name[strings.LastIndexByte(name, '.')+1:]
			of := found[name]
			if of == nil || name == "part" && s.pkg != "outpost/store/redis/record" {
				return true
			}
			purpose, err := strconv.Unquote(types.ExprString(call.Args[1]))
			if err != nil {
				t.Errorf("%s: the purpose %s is not written out", s.path, types.ExprString(call.Args[1]))
			}
			if name == "part" && of[purpose] {
				t.Errorf("%s: two keys for %q", s.path, purpose)
			}
			of[purpose] = true
			return true
		})
	}
	for name, want := range purposes {
		var got []string
		for purpose := range found[name] {
			got = append(got, purpose)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s makes keys for %q, not %q; each needs a line in docs/security.md", name, got, want)
		}
	}
}

// TestKeysOfOnePurposeTellNothingOfAnother: nor of the secret.
func TestKeysOfOnePurposeTellNothingOfAnother(t *testing.T) {
	secret, other := []byte("the-secret-of-the-document-0123456789"), []byte("another-secret-of-the-document-98765")
	seen := map[string]string{}
	for _, purpose := range append(purposes["Derive"], "") {
		keys, err := stores.Derive([][]byte{secret, other}, purpose)
		if err != nil || len(keys) != 2 {
			t.Fatal(len(keys), err)
		}
		for i, key := range keys {
			name := fmt.Sprint(purpose, " of secret ", i)
			if len(key) != 32 || bytes.Contains(secret, key[:8]) || seen[string(key)] != "" {
				t.Errorf("%s: %d bytes, the same as %q", name, len(key), seen[string(key)])
			}
			seen[string(key)] = name
		}
	}
}

// TestNobodySeesTheSecretItself: what reads it makes keys of it, or compares it
// with what was read before, and that is all.
func TestNobodySeesTheSecretItself(t *testing.T) {
	all, set := house(t)
	readers := map[string]bool{}
	for _, s := range all {
		if s.test || room(s.pkg) != "cmd" {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil || !reads(f.Body) {
				continue
			}
			readers[f.Name.Name] = true
			for _, use := range usesOf(f.Body) {
				t.Errorf("%s: %s uses the secret itself", set.Position(use), f.Name.Name)
			}
		}
	}
	if len(readers) < 3 {
		t.Errorf("only %v read the secret: the test looks for the wrong name", readers)
	}
}

// reads reports whether a function reads the document's secrets.
func reads(body *ast.BlockStmt) (yes bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		yes = yes || ok && slices.Contains([]string{"Secrets", "stores.Secrets"}, types.ExprString(call.Fun))
		return !yes
	})
	return yes
}

// usesOf answers where a function uses the secrets, called so, for anything but
// what is allowed.
func usesOf(body *ast.BlockStmt) (bad []token.Pos) {
	good := map[*ast.Ident]bool{}
	mark := func(e ast.Expr) {
		switch e := e.(type) {
		case *ast.Ident:
			good[e] = true
		case *ast.SelectorExpr:
			good[e.Sel] = true
		}
	}
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt: // that it is read, and kept for the next comparison
			for _, e := range n.Lhs {
				mark(e)
			}
			if len(n.Rhs) == 1 && types.ExprString(n.Lhs[0]) == "rt.secrets" {
				mark(n.Rhs[0])
			}
		case *ast.BinaryExpr:
			if types.ExprString(n.Y) == "nil" {
				mark(n.X)
			}
		case *ast.CallExpr:
			switch types.ExprString(n.Fun) {
			case "Derive", "stores.Derive", "slices.EqualFunc":
				for _, e := range n.Args {
					mark(e)
				}
			}
		}
		return true
	})
	ast.Inspect(body, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Name == "secrets" && !good[id] {
			bad = append(bad, id.Pos())
		}
		return true
	})
	return bad
}

// secretive finds the names of values that must be compared in constant time.
var secretive = regexp.MustCompile(`(?i)(secret|password|passwd|token|nonce|state|verifier|binding|apikey|presented|digest|hash|mac|cookie|code)$|^(key|sum)$`)

// compared are the comparisons of such values that take no constant time, and
// why they may.
var compared = map[string]string{
	"e.record.Cookie != cookie":       "the names of cookies",
	"h.Key == other.Key":              "the names of keys",
	"h.Key == k.Name":                 "the names of keys",
	"presented != apiKey[0]":          "both are the client's own",
	"token.RefreshToken == g.Refresh": "both are the issuer's, one of them an answer of its own",
	"before.set.digest != set.digest": "both are of the issuer's public keys",
}

// TestSecretsAreComparedInConstantTime reads every comparison where secrets of
// clients are looked at.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	all, set := house(t)
	used, looked := map[string]bool{}, 0
	for _, s := range all {
		if s.test || room(s.pkg) == "e2e" || room(s.pkg) == "bench" {
			continue
		}
		if top, _, _ := strings.Cut(s.pkg, "/"); top != "providers" && top != "proxy" && s.pkg != "outpost/session" && s.pkg != "cmd/akprox/demo" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			e, operands := comparison(n)
			if e == nil {
				return true
			}
			looked++
			if text := types.ExprString(e); compared[text] != "" {
				used[text] = true
			} else if slices.ContainsFunc(operands, isSecret) {
				t.Errorf("%s: %s: crypto/subtle, or say in this test why not", set.Position(n.Pos()), text)
			}
			return true
		})
	}
	for text := range compared {
		if !used[text] {
			t.Errorf("%s is nowhere", text)
		}
	}
	if looked < 50 {
		t.Errorf("only %d comparisons", looked)
	}
}

// comparison answers n and its operands, if it compares two values and none of
// them is written there.
func comparison(n ast.Node) (ast.Expr, []ast.Expr) {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op != token.EQL && n.Op != token.NEQ || writtenOut(n.X) || writtenOut(n.Y) {
			return nil, nil
		}
		return n, []ast.Expr{n.X, n.Y}
	case *ast.CallExpr:
		switch types.ExprString(n.Fun) {
		case "bytes.Equal", "bytes.Compare", "bytes.EqualFold", "strings.EqualFold", "strings.Compare", "slices.Equal", "reflect.DeepEqual", "cmp.Compare":
			if !slices.ContainsFunc(n.Args, writtenOut) {
				return n, n.Args
			}
		}
	}
	return nil, nil
}

func writtenOut(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return true
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "true" || e.Name == "false"
	case *ast.CompositeLit:
		return len(e.Elts) == 0
	case *ast.SelectorExpr:
		return types.ExprString(e.X) == "http" // http.StatusOK and the like
	}
	return false
}

func isSecret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretive.MatchString(e.Name)
	case *ast.SelectorExpr:
		return secretive.MatchString(e.Sel.Name)
	case *ast.IndexExpr:
		return isSecret(e.X)
	case *ast.SliceExpr:
		return isSecret(e.X)
	case *ast.ParenExpr:
		return isSecret(e.X)
	case *ast.CallExpr: // a conversion
		return len(e.Args) == 1 && slices.Contains([]string{"string", "[]byte"}, types.ExprString(e.Fun)) && isSecret(e.Args[0])
	}
	return false
}

// TestWhatIsKeptIsClosedToOthers looks at all that a running akprox has put
// into its store's folder, whatever the umask is.
func TestWhatIsKeptIsClosedToOthers(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	dir := filepath.Join(t.TempDir(), "store")
	doc, problems := config.Parse(fmt.Appendf(nil, `version: 1
store: { kind: disk, path: %q }
providers: [ { name: services, kind: apikey, keys: [ { name: ci, hash: "sha256:%s" } ] } ]
applications: [ { name: a, mode: forward_single, external_url: "https://a.example.com", credentials: [services] } ]
`, dir, strings.Repeat("0f", 32)), "akprox.yaml", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	st, err := stores.Open(doc)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if _, err := newRunning(t.Context(), logrus.New(), doc, st); err != nil {
		t.Fatal(err)
	}
	modes := map[string]os.FileMode{}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			modes[filepath.Base(path)] = info.Mode().Perm()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"akprox.db", "secret"} {
		if _, ok := modes[name]; !ok {
			t.Errorf("%s is not there: %v", name, modes)
		}
	}
	for name, mode := range modes {
		if mode&0o077 != 0 {
			t.Errorf("%s has the mode %v", name, mode)
		}
	}
}

// TestAPanicTellsNoSecret lets a credential kind panic, with everything that a
// client sends in the value and in the request, and searches the log.
func TestAPanicTellsNoSecret(t *testing.T) {
	const marker = "planted-0123456789-abcdef"
	for name, do := range map[string]func() (*outpost.Identity, error){
		"with a text":       func() (*outpost.Identity, error) { panic("the cookie was " + marker) },
		"with an error":     func() (*outpost.Identity, error) { panic(fmt.Errorf("the token was %s", marker)) },
		"with a value":      func() (*outpost.Identity, error) { panic(struct{ Key string }{marker}) },
		"of the runtime":    func() (*outpost.Identity, error) { return nil, map[string]error{}[[]string{marker}[len(os.Args)+7]] },
		"of a wrong type":   func() (*outpost.Identity, error) { return any(marker).(*outpost.Identity), nil },
		"with a long stack": func() (*outpost.Identity, error) { return deep(40, marker) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var apps []*outpost.Application
			for _, a := range w.live.Applications().All() {
				changed := *a
				changed.Credentials = []outpost.Named{{Provider: "planted", Credential: planted{do}}}
				apps = append(apps, &changed)
			}
			w.live.Swap(proxy.New(proxy.Options{
				Applications: outpost.NewApplications(apps), Prefixes: []string{"/akprox"}, Recorder: w.recorder,
				Edge:      &dialect.Edge{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, NginxOriginalURL: true},
				Forwarder: reverse.New(reverse.Options{}), SignIn: signin.New(signin.Options{}),
			}))
			resp, body := w.do(w.browser(), "GET", "http://legacy.test/page?code="+marker+"&state="+marker,
				"Cookie: akprox_01234567="+marker, "Authorization: Bearer "+marker, "X-Api-Key: "+marker, "Referer: http://legacy.test/?code="+marker)
			if resp.StatusCode < 500 || strings.Contains(body, marker) {
				t.Errorf("the answer: %d %s", resp.StatusCode, body)
			}
			for end := time.Now().Add(20 * time.Second); !strings.Contains(w.log.String(), "internal error"); time.Sleep(50 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("nothing broke: %s", w.log.String())
				}
			}
			if log := w.log.String(); strings.Contains(log, marker) {
				t.Errorf("the log holds what was sent: %s", log)
			}
		})
	}
}

func deep(n int, value string) (*outpost.Identity, error) {
	if n == 0 {
		panic([]byte(value))
	}
	return deep(n-1, value)
}

// TestEveryLinkedModuleIsListed holds docs/licences.md to what is linked.
func TestEveryLinkedModuleIsListed(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} | {{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}{{end}}{{end}}", ".") // #nosec G204 -- ours
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOPROXY=off")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, out)
	}
	linked := slices.Compact(slices.Sorted(slices.Values(strings.Fields(strings.ReplaceAll(string(out), " | ", "|")))))
	page, err := os.ReadFile("../../docs/licences.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+\.\S+) \| (v\S+) \| \S.* \|$`).FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, row[1]+"|"+row[2])
	}
	slices.Sort(listed)
	if len(linked) < 10 || !slices.Equal(linked, listed) {
		t.Errorf("docs/licences.md is not of what is linked; run make licences\nlinked %v\nlisted %v", linked, listed)
	}
}
