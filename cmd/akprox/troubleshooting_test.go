package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// explained answers whether a row of the troubleshooting page fits a message:
// its text, in which "…" and words in capitals stand for anything.
func explained(page, message string) bool {
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(page, -1) {
		pattern := regexp.MustCompile(`\b[A-Z]+\b|…`).ReplaceAllString(regexp.QuoteMeta(m[1]), `.*`)
		if strings.ContainsAny(m[1], " ") && regexp.MustCompile(`(?s)`+pattern).MatchString(message) {
			return true
		}
	}
	return false
}

// TestDocsExplainWhatKeepsItFromStarting starts akprox with one thing wrong at
// a time.
func TestDocsExplainWhatKeepsItFromStarting(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	page := read(t, "docs/troubleshooting.md")
	for name, row := range map[string]struct {
		document string
		files    map[string]string
		want     string // a part of the message, so that the row tests what it says
	}{
		"the address is taken":         {`server: { http: "` + taken.Addr().String() + `", metrics: "" }`, nil, "already in use"},
		"the address is not ours":      {`server: { http: "192.0.2.1:9000", metrics: "" }`, nil, "assign requested address"},
		"a file where the socket goes": {`server: { http: "unix:{dir}/plain", metrics: "" }`, map[string]string{"plain": "x"}, "no socket"},
		"a short secret":               {`secret: { file: "{dir}/short" }`, map[string]string{"short": "x"}, "32 or more"},
		"a kept secret that is none":   {`store: { kind: disk, path: "{dir}/store" }`, map[string]string{"store/secret": "x"}, "no secret of ours"},
		"a damaged store":              {`store: { kind: disk, path: "{dir}/store" }`, map[string]string{"store/akprox.db": strings.Repeat("not a store\n", 4096)}, "damaged"},
		"no certificate":               {`server: { http: "127.0.0.1:0", https: "127.0.0.1:0", metrics: "", tls: { cert_file: "{dir}/none", key_file: "{dir}/none" } }`, nil, "none"},
		"an unknown key":               {`nonsense: 1`, nil, "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range row.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			text := "version: 1\n" + strings.ReplaceAll(row.document, "{dir}", dir) + "\n"
			if !strings.Contains(text, "server:") {
				text += "server: { http: \"127.0.0.1:0\", metrics: \"\" }\n"
			}
			if !strings.Contains(text, "store:") {
				text += "store: { kind: memory }\n"
			}
			file := filepath.Join(dir, "akprox.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			message := startError(t, file)
			if !strings.Contains(message, row.want) {
				t.Errorf("it says %q", message)
			}
			if !explained(page, message) {
				t.Errorf("docs/troubleshooting.md does not explain %q", message)
			}
		})
	}
}

// startError answers what `akprox run` says when it does not start.
func startError(t *testing.T, file string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out, errs bytes.Buffer
	if status := run(ctx, []string{"run", "--config", file}, nil, &out, &errs); status != 1 {
		t.Fatalf("exit status %d: %s%s", status, out.String(), errs.String())
	}
	return errs.String()
}

// TestDocsExplainEveryMessage: every text that is logged is on the page, as
// far as it does not change.
func TestDocsExplainEveryMessage(t *testing.T) {
	page := read(t, "docs/troubleshooting.md") + read(t, "docs/operation.md")
	logged := regexp.MustCompile(`[lL]og[A-Za-z.()]*(?:\.With\w+\([^"]*(?:"[^"]*"[^"]*)*\))*\.(?:Info|Warn|Error)f?\(("[^"]+")`)
	all, _ := house(t)
	n := 0
	for _, s := range all {
		if s.test || strings.HasPrefix(s.pkg, "cmd/akprox/demo") || slices.Contains([]string{"e2e", "bench"}, room(s.pkg)) {
			continue
		}
		for _, m := range logged.FindAllStringSubmatch(read(t, s.path), -1) {
			n++
			for _, part := range regexp.MustCompile(`%[a-z]`).Split(strings.Trim(m[1], `"`), -1) {
				if part = strings.Trim(part, ": "); len(part) > 3 && !strings.Contains(page, part) {
					t.Errorf("%s logs %s, which docs/troubleshooting.md does not explain", s.path, m[1])
				}
			}
		}
	}
	if n < 8 {
		t.Errorf("only %d messages were found", n)
	}
}
