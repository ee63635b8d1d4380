package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost/config"
	signin "github.com/akprox/akprox/proxy/signin/words"
)

// These tests hold the pages to the program. AKPROX_UPDATE_DOCS=1 copies the
// golden files into the pages that quote them.

const root = "../../"

// pages answers the text of every page, by its path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	paths := []string{"README.md", "CHANGELOG.md", "helm/README.md", "helm/akprox/README.md", "manifests/README.md"}
	err := filepath.WalkDir(root+"docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, strings.TrimPrefix(filepath.ToSlash(path), root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		all[path] = read(t, path)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fence is a fenced block of a page, without the indentation of a list.
type fence struct {
	lang, text string
	line       int
}

func fences(page string) []fence {
	var found []fence
	var open *fence
	indent := ""
	for i, line := range strings.Split(page, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case open == nil && strings.HasPrefix(trimmed, "```"):
			indent = line[:len(line)-len(trimmed)]
			open = &fence{lang: strings.TrimPrefix(trimmed, "```"), line: i + 1}
		case open != nil && trimmed == "```":
			found, open = append(found, *open), nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		}
	}
	return found
}

func TestDocsQuoteTheGoldenFiles(t *testing.T) {
	quote := regexp.MustCompile("(?s)<!-- golden: (\\S+) -->\n```(\\w*)\n(.*?)```\n")
	quoted := map[string]bool{}
	for path, page := range pages(t) {
		for _, m := range quote.FindAllStringSubmatch(page, -1) {
			golden := read(t, m[1])
			quoted[m[1]] = true
			if m[3] != golden && os.Getenv("AKPROX_UPDATE_DOCS") == "" {
				t.Errorf("%s does not quote %s as it is; AKPROX_UPDATE_DOCS=1 go test -run %s ./cmd/akprox", path, m[1], t.Name())
			}
			page = strings.Replace(page, m[0], "<!-- golden: "+m[1]+" -->\n```"+m[2]+"\n"+golden+"```\n", 1)
		}
		if os.Getenv("AKPROX_UPDATE_DOCS") != "" {
			if err := os.WriteFile(root+path, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if n := strings.Count(page, "<!-- golden:"); n != len(quote.FindAllString(page, -1)) {
			t.Errorf("%s: a golden file is named without a block after it", path)
		}
	}
	files, err := filepath.Glob(root + "proxy/dialect/testdata/snippets/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if name := strings.TrimPrefix(filepath.ToSlash(file), root); !quoted[name] {
			t.Errorf("no page quotes %s", name)
		}
	}
}

func TestDocsLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	for path, page := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(code.ReplaceAllString(page, ""), -1) {
			u, err := url.Parse(m[1])
			if err != nil || u.Scheme != "" {
				continue
			}
			target := path
			if u.Path != "" {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), u.Path))
			}
			if _, err := os.Stat(root + target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			} else if u.Fragment != "" && !slices.Contains(anchors(all[target]), u.Fragment) {
				t.Errorf("%s links to %s: there is no such heading", path, m[1])
			}
		}
	}
}

// anchors answers what the headings of a page are linked by.
func anchors(page string) []string {
	var list []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		slug := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		list = append(list, strings.ReplaceAll(slug, " ", "-"))
	}
	return list
}

// standalone is a document of a page with files of the test in the place of
// those that it names.
func standalone(t *testing.T, text string) string {
	t.Helper()
	secret := regexp.MustCompile(`\{ (?:file|env): ([^} ]*) \}`)
	text = secret.ReplaceAllString(text, `{ value: "a-secret-that-is-long-enough-and-not-that-of-others:$1" }`)
	dir := t.TempDir()
	if strings.Contains(text, "cert_file: /") {
		cert, key := certificate(t, dir)
		text = regexp.MustCompile(`cert_file: /[^ ,]*`).ReplaceAllString(text, "cert_file: "+cert)
		text = regexp.MustCompile(`key_file: /[^ ,}]*`).ReplaceAllString(text, "key_file: "+key)
		text = regexp.MustCompile(`ca_file: /[^ ,}]*`).ReplaceAllString(text, "ca_file: "+cert)
	}
	for key, content := range map[string]string{"users_file": "users: []\n", "htpasswd_file": "# nobody\n"} {
		file := filepath.Join(dir, key)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(key+`: [^ ,}\n]+`).ReplaceAllString(text, key+": "+file)
	}
	return text
}

// certificate makes a certificate and its key in dir.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{}, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: public}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestDocsDocumentsAreGood(t *testing.T) {
	n := 0
	for path, page := range pages(t) {
		for _, f := range fences(page) {
			if f.lang != "yaml" || !strings.HasPrefix(f.text, "version: 1\n") {
				continue
			}
			n++
			name := fmt.Sprintf("%s:%d", path, f.line)
			doc, problems := config.Parse([]byte(standalone(t, f.text)), name, kinds.Settings(), stores.Kinds())
			if len(problems) > 0 {
				t.Error(problems)
				continue
			}
			if _, err := tryDocument(doc); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d documents were found", n)
	}
}

// TestDocsCommandsAnswerAsWritten runs every console block with the document
// that stands above it.
func TestDocsCommandsAnswerAsWritten(t *testing.T) {
	for path, page := range pages(t) {
		document := ""
		for _, f := range fences(page) {
			if f.lang == "yaml" {
				document = f.text
			}
			if f.lang != "console" {
				continue
			}
			t.Run(fmt.Sprintf("%s:%d", path, f.line), func(t *testing.T) { runConsole(t, document, f.text) })
		}
	}
}

func runConsole(t *testing.T, document, block string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "akprox.yaml")
	if err := os.WriteFile(file, []byte(standalone(t, document)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AKPROX_CONFIG", file)
	for _, part := range strings.Split("\n"+block, "\n$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		args := strings.Fields(command)
		if args[0] != "akprox" {
			t.Fatalf("%s: only akprox is run here", command)
		}
		for i := range args {
			if args[i] == "knocker.yaml" { // what akprox import reads
				args[i] = file
			}
		}
		var out bytes.Buffer
		run(t.Context(), args[1:], nil, &out, &out)
		got := regexp.MustCompile(`(?m) +$`).ReplaceAllString(out.String(), "")
		if strings.TrimSpace(got) != strings.TrimSpace(want) {
			t.Errorf("$ %s\ngot\n%s\nthe page says\n%s", command, got, want)
		}
	}
}

// keys adds every key of a schema, with its default, to found.
func keys(schema map[string]any, at string, found map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	for name, v := range properties {
		property, ok := v.(map[string]any)
		if !ok { // a key that is told elsewhere
			continue
		}
		key := strings.TrimPrefix(at+"."+name, ".")
		found[key] = property["default"]
		if property["maxProperties"] != nil { // a secret: value, file or env
			continue
		}
		keys(property, key, found)
		if items, ok := property["items"].(map[string]any); ok {
			keys(items, key+"[]", found)
		}
	}
}

func TestDocsListEveryKey(t *testing.T) {
	text, err := config.Schema(kinds.Settings(), stores.Kinds()...)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	rest := read(t, "docs/configuration.md")
	providers := schema["properties"].(map[string]any)["providers"].(map[string]any)["items"].(map[string]any)
	for _, c := range providers["allOf"].([]any) {
		c := c.(map[string]any)
		kind := c["if"].(map[string]any)["properties"].(map[string]any)["kind"].(map[string]any)["const"].(string)
		section := regexp.MustCompile("(?s)\n### kind: " + kind + "\n.*?\n(##)").FindStringSubmatchIndex(rest)
		if section == nil {
			t.Errorf("docs/configuration.md has no section for kind: %s", kind)
			continue
		}
		want := map[string]any{}
		keys(c["then"].(map[string]any), "providers[]", want)
		listed(t, kind, rest[section[0]:section[2]], want)
		rest = rest[:section[0]+1] + rest[section[2]:]
	}
	want := map[string]any{}
	keys(schema, "", want)
	listed(t, "the document", rest, want)
}

// listed holds the tables of a section to the keys that are to be there.
func listed(t *testing.T, what, section string, want map[string]any) {
	t.Helper()
	rows := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]*\\|([^|]*)\\|").FindAllStringSubmatch(section, -1) {
		rows[m[1]] = m[2]
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		row, ok := rows[key]
		if !ok {
			t.Errorf("docs/configuration.md, %s: %s is not listed", what, key)
		}
		if d := want[key]; ok && d != nil && !strings.Contains(row, "`"+written(d)+"`") {
			t.Errorf("docs/configuration.md, %s: the default of %s is %s, not%s", what, key, written(d), row)
		}
		delete(rows, key)
	}
	for key := range rows {
		t.Errorf("docs/configuration.md, %s: %s is listed, and is no key", what, key)
	}
}

func written(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = fmt.Sprint(w)
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// words answers the first group of every match of pattern in a file.
func words(t *testing.T, path, pattern string) []string {
	t.Helper()
	var list []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, path), -1) {
		list = append(list, m[1])
	}
	if len(list) == 0 {
		t.Fatalf("%s holds nothing like %s", path, pattern)
	}
	return list
}

func TestDocsExplainEveryReason(t *testing.T) {
	page := read(t, "docs/troubleshooting.md")
	reasons := words(t, "outpost/errors.go", `(?m)^\s+Reason\w+\s+Reason = "(\w+)"`)
	reasons = append(reasons, words(t, "outpost/canon/doc.go", `(?m)^\s+\w+\s+= "(\w+)"`)...)
	if len(reasons) < 25 {
		t.Errorf("only %d reasons were found", len(reasons))
	}
	for _, word := range append(reasons, signin.All()...) {
		if !strings.Contains(page, "\n| `"+word+"` |") {
			t.Errorf("docs/troubleshooting.md does not explain %s", word)
		}
	}
	proxied := read(t, "docs/proxy-mode.md")
	for _, word := range words(t, "proxy/reverse/errors.go", `return "(\w+)"`) {
		if !strings.Contains(proxied, "\n| `"+word+"` |") {
			t.Errorf("docs/proxy-mode.md does not explain %s", word)
		}
	}
}

func TestDocsListEveryMetric(t *testing.T) {
	var metrics []string
	all, _ := house(t)
	for _, s := range all {
		if text := read(t, s.path); !s.test && strings.Contains(text, "client_golang/prometheus\"") {
			for _, m := range regexp.MustCompile(`"(akprox_[a-z_]+)"`).FindAllStringSubmatch(text, -1) {
				metrics = append(metrics, m[1])
			}
		}
	}
	if len(metrics) < 8 {
		t.Fatalf("only %v were found", metrics)
	}
	page := read(t, "docs/operation.md")
	for _, name := range metrics {
		if !strings.Contains(page, "\n| `"+name+"` |") {
			t.Errorf("docs/operation.md does not list %s", name)
		}
	}
	for _, m := range regexp.MustCompile("`(akprox_[a-z_]+)").FindAllStringSubmatch(page, -1) {
		if !slices.Contains(metrics, m[1]) {
			t.Errorf("docs/operation.md names %s, which is no metric", m[1])
		}
	}
}

func TestDocsListEveryCommand(t *testing.T) {
	page := read(t, "docs/operation.md")
	for name := range verbs() {
		if !strings.Contains(page, "\n| `akprox "+name) {
			t.Errorf("docs/operation.md does not list akprox %s", name)
		}
	}
}
