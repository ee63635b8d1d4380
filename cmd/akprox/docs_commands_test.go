package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost/config"
)

// Every shell command of the pages is run here, or listed in elsewhere with
// the reason why not. Commands stand in indented blocks, in sh blocks, and
// after "$ " in console blocks, which TestDocsCommandsAnswerAsWritten runs.

// elsewhere are the commands that are not run here, by page and beginning; an
// empty page is any.
var elsewhere = []struct{ page, begins, why string }{
	{"", "make ", "continuous integration runs them, and a release does"},
	{"docs/performance.md", "CASE='signed in' make bench", "minutes of load; make bench is run by hand"},
	{"docs/kubernetes.md", "kubectl exec ", "kwok, the kubelet of the tests, runs no container; the program's verbs are run here"},
	{"docs/kubernetes.md", "kubectl ", "e2e/kubernetes_docs_test.go runs the whole page in a real cluster"},
	{"", "helm ", "e2e/kubernetes_docs_test.go and kubernetes_test.go install and upgrade the chart in a real cluster"},
	{"manifests/README.md", "kubectl ", "e2e/kubernetes_manifests_test.go applies every overlay to a real API server"},
	{"docs/containers.md", "docker ", "there is no Docker; e2e/published_test.go holds the files"},
	{"docs/containers.md", "sudo ", "changes the machine; e2e/published_test.go has systemd read the unit"},
	{"docs/getting-started.md", "sudo ", "changes the machine"},
	{"docs/monitoring.md", "promtool ", "e2e/monitoring_test.go runs promtool, and a real Prometheus, on these files"},
	{"docs/doctor.md", "akprox doctor ", "it needs a site; e2e/doctor_test.go runs it against sites with each fault, through real proxies"},
	{"docs/operation.md", "kill ", "it would end every akprox here; TestReload and e2e send SIGHUP to their own"},
	{"docs/sign-out.md", "akprox sessions end ", "sessions_test.go runs it against a running akprox that has such sessions"},
	{"docs/users-without-an-issuer.md", "curl -u ann ", "curl asks for the password on a terminal; e2e/person_test.go and credentials_test.go send Basic"},
}

// general serves the commands of pages that show no document of their own.
const general = `version: 1
server: { http: "127.0.0.1:9000", nginx_original_url: true }
providers:
  - { name: company, kind: oidc, issuer: https://id.example.com, client_id: akprox }
applications:
  - { name: wiki, mode: forward_single, external_url: https://wiki.example.com, credentials: [company] }
`

// TestMain lets the test be the program: bash finds it as akprox.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "akprox" {
		main()
	}
	os.Exit(m.Run())
}

// typed is a command of a page, and what the page says that it prints.
type typed struct {
	text, want string
	line       int
	document   string // the nearest above it, else the first below
}

// begins fits a line that could be typed: a word, then one blank and more.
var begins = regexp.MustCompile(`^(\$ )?(\(|[A-Z_]+=\S+ |[A-Z_]+='[^']*' )?[a-z][\w./-]*( [^ ─]|$)`)

// typedIn answers the commands of a page, and the lines of fences without a
// language, of which nobody can tell what they are.
func typedIn(page string) (commands []typed, nameless []int) {
	var documents []fence
	for _, f := range fences(page) {
		switch {
		case f.lang == "yaml" && strings.HasPrefix(f.text, "version: 1\n"):
			documents = append(documents, f)
		case f.lang == "sh":
			commands = append(commands, cut(f.text, f.line+1)...)
		case f.lang == "" && !regexp.MustCompile(`<!-- golden: \S+ -->\s*$`).MatchString(above(page, f.line)):
			nameless = append(nameless, f.line)
		}
	}
	commands = append(commands, indented(page)...)
	for i := range commands {
		for _, d := range documents {
			if commands[i].document == "" || d.line < commands[i].line {
				commands[i].document = d.text
			}
		}
		commands[i].document = cmp.Or(commands[i].document, general)
	}
	return commands, nameless
}

// above answers what stands before a line of a page.
func above(page string, line int) string {
	return strings.Join(strings.Split(page, "\n")[:line-1], "\n")
}

// indented answers the commands in blocks that are indented by four or more
// and begin like a command.
func indented(page string) []typed {
	var found []typed
	block, first, fenced, blank := "", 0, false, true
	for i, line := range append(strings.Split(page, "\n"), "") {
		text := strings.TrimLeft(line, " ")
		if strings.HasPrefix(text, "```") {
			fenced = !fenced
		}
		inside := !fenced && text != "" && len(line)-len(text) >= 4
		switch {
		case inside && block == "" && blank:
			block, first = line+"\n", i+1
		case inside && block != "":
			block += line + "\n"
		case block != "":
			margin := block[:len(block)-len(strings.TrimLeft(block, " "))]
			if block = strings.TrimPrefix(strings.ReplaceAll("\n"+block, "\n"+margin, "\n"), "\n"); begins.MatchString(block) {
				found = append(found, cut(block, first)...)
			}
			block = ""
		}
		blank = text == ""
	}
	return found
}

// cut makes commands of a block: with prompts, what follows is what they
// print; else every line is one, but for those that go on.
func cut(block string, line int) []typed {
	if strings.HasPrefix(block, "$ ") {
		text, want, _ := strings.Cut(strings.TrimPrefix(block, "$ "), "\n")
		return []typed{{text: text, want: want, line: line}}
	}
	var list []typed
	for i, text := range strings.Split(strings.TrimSuffix(block, "\n"), "\n") {
		if n := len(list); n > 0 && strings.HasSuffix(list[n-1].text, "\\") {
			list[n-1].text += "\n" + text
		} else if text != "" && !strings.HasPrefix(text, "#") {
			list = append(list, typed{text: text, line: line + i})
		}
	}
	return list
}

func TestDocsCommandsAreRunOrListed(t *testing.T) {
	used := map[int]bool{}
	all := pages(t)
	ran := 0
	for _, path := range slices.Sorted(maps.Keys(all)) {
		dir := t.TempDir() // of a page, because one command makes what another reads
		commands, nameless := typedIn(all[path])
		for _, line := range nameless {
			t.Errorf("%s:%d: name the language of this block (sh for commands), or the golden file", path, line)
		}
		for _, c := range commands {
			listed := slices.IndexFunc(elsewhere, func(e struct{ page, begins, why string }) bool {
				return (e.page == "" || e.page == path) && strings.HasPrefix(c.text, e.begins)
			})
			if used[listed] = true; listed < 0 {
				ran++
				t.Run(fmt.Sprintf("%s:%d", path, c.line), func(t *testing.T) { c.run(t, dir) })
			}
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands were run", ran)
	}
	for i, e := range elsewhere {
		if _, err := os.Stat(root + e.page); !used[i] && err == nil {
			t.Errorf("no command of %s begins with %q any more", e.page, e.begins)
		}
	}
}

// docsKey is what the pages call $KEY, $TOKEN and a password.
const docsKey = "a-key-of-the-pages-0123456789-0123456789"

// run has bash do what the page says, in dir, with the page's document there.
func (c typed) run(t *testing.T, dir string) {
	t.Helper()
	document := c.here(t)
	if err := os.WriteFile(filepath.Join(dir, "akprox.yaml"), []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "akprox")); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(c.text, "curl ") {
		serveCurl(t, document, dir)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", c.text) // #nosec G204 -- the page's own
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(docsKey+"\n")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "CURL_HOME="+dir, "EDITOR=true", "KEY="+docsKey, "TOKEN="+docsKey, "AKPROX_CONFIG=akprox.yaml")
	if strings.HasPrefix(c.text, "akprox run") {
		servesAndStops(t, cmd)
		return
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("$ %s\n%v\n%s", c.text, err, out)
	}
	want := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(c.want)), "…", ".+")
	if c.want != "" && !regexp.MustCompile("^"+want+"$").Match(bytes.TrimSpace(out)) {
		t.Errorf("$ %s\ngot\n%s\nthe page says\n%s", c.text, out, c.want)
	}
}

// here is the page's document with what a test can have: files of its own, a
// free port, no metrics, a store in memory, $KEY among the keys.
func (c typed) here(t *testing.T) string {
	t.Helper()
	text := c.document
	if app := regexp.MustCompile(`--app (\S+)`).FindStringSubmatch(c.text); app != nil && !strings.Contains(text, "name: "+app[1]) {
		text = general
	}
	text = standalone(t, text)
	if key := regexp.MustCompile(`key: \{ value: "([^"]*)" \}`).FindStringSubmatch(text); key != nil { // the first knocks
		text = strings.Replace(text, key[1], docsKey, 1)
	}
	digest := sha256.Sum256([]byte(docsKey))
	if at := strings.LastIndex(text, `"sha256:`); at >= 0 {
		at += len(`"sha256:`)
		text = text[:at] + hex.EncodeToString(digest[:]) + text[at+2*sha256.Size:]
	}
	if strings.HasPrefix(c.text, "akprox run") {
		text = regexp.MustCompile(`http: "[^"]*"`).ReplaceAllString(text, `http: "127.0.0.1:0", metrics: ""`)
	}
	return text
}

// servesAndStops waits until akprox serves, and stops it as a service manager
// does.
func servesAndStops(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stdin = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for buf := make([]byte, 4096); !bytes.Contains(said, []byte(`"serving"`)); {
		n, err := out.Read(buf)
		if said = append(said, buf[:n]...); err != nil {
			t.Fatalf("it ended: %v\n%s", err, said)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s%s", err, said, rest)
	}
}

// serveCurl stands behind every address that curl asks in dir: a proxy that
// asks akprox with the page's document as Caddy does.
func serveCurl(t *testing.T, document, dir string) {
	t.Helper()
	if !strings.Contains(document, "\nstore:") {
		document += "store: { kind: memory }\n"
	}
	doc, problems := config.Parse([]byte(document), "page", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	rt, err := start(t.Context(), log, doc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rt.close)
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{"Method": r.Method, "Proto": "https", "Host": r.Host, "Uri": r.URL.RequestURI(), "For": "203.0.113.7"} {
			r.Header.Set("X-Forwarded-"+name, value)
		}
		if strings.HasPrefix(r.URL.Path, "/akprox/") {
			rt.live.ServeHTTP(w, r)
			return
		}
		question := httptest.NewRequest(http.MethodGet, "/akprox/auth/caddy", nil)
		question.Header, question.RemoteAddr = r.Header, r.RemoteAddr
		answer := httptest.NewRecorder()
		if rt.live.ServeHTTP(answer, question); answer.Code != http.StatusOK {
			w.WriteHeader(answer.Code)
		}
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(front.Close)
	settings := fmt.Sprintf("insecure\nsilent\nshow-error\nfail\nmax-time = 30\nnoproxy = \"*\"\nconnect-to = \"::%s\"\n", front.Listener.Addr())
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDocsIndex: the index leads to every page.
func TestDocsIndex(t *testing.T) {
	index := read(t, "docs/README.md")
	for path := range pages(t) {
		if name, ok := strings.CutPrefix(path, "docs/"); ok && name != "README.md" && !strings.Contains(index, "]("+name) {
			t.Errorf("docs/README.md does not lead to %s", path)
		}
	}
	if !strings.Contains(read(t, "README.md"), "](docs/README.md)") {
		t.Error("README.md does not lead to docs/README.md")
	}
}

func TestDocsExplainEveryAlert(t *testing.T) {
	page := read(t, "docs/monitoring.md")
	alerts := words(t, "manifests/monitoring/akprox-alerts.yaml", `- alert: (\w+)`)
	for _, name := range alerts {
		if !strings.Contains(page, "\n| `"+name+"` |") {
			t.Errorf("docs/monitoring.md does not explain %s", name)
		}
	}
	for _, name := range words(t, "docs/monitoring.md", "`(Akprox\\w+)`") {
		if !slices.Contains(alerts, name) {
			t.Errorf("docs/monitoring.md explains %s, which is no alert", name)
		}
	}
}
