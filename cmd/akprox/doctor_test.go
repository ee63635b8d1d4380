package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctorThatCannotExamineSaysWhy: status 2 is for what was never looked at.
func TestDoctorThatCannotExamineSaysWhy(t *testing.T) {
	const nobody = "127.0.0.1:1"
	t.Chdir(t.TempDir()) // where no akprox.yaml is
	for _, row := range []struct {
		name, in, says string
		args           []string
	}{
		{"no URL", "", "--url is no absolute URL", nil},
		{"a URL without a host", "", "--url is no absolute URL", []string{"--url", "/app"}},
		{"nobody answers", "", "does not answer", []string{"--url", "http://" + nobody + "/"}},
		{"another address", "", "does not answer", []string{"--url", "http://wiki.example.test/", "--resolve", "wiki.example.test:80:" + nobody}},
		{"a bad address", "", "host:port:address", []string{"--url", "http://" + nobody, "--resolve", "wiki"}},
		{"no such document", "", "read the document", []string{"--url", "http://" + nobody, "--config", filepath.Join(t.TempDir(), "none.yaml")}},
		{"no such proxy", "", "there are nginx", []string{"--url", "http://" + nobody, "--proxy", "apache"}},
		{"no password", "", "standard input", []string{"--url", "http://" + nobody, "--user", "alice"}},
		{"two secrets", "x", "one of --user", []string{"--url", "http://" + nobody, "--user", "alice", "--cookie", "akprox_00000000"}},
		{"no authority", "", "no such file", []string{"--url", "http://" + nobody, "--ca", "none.pem"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			status := run(t.Context(), append([]string{"doctor"}, row.args...), strings.NewReader(row.in), &out, &errs)
			if status != 2 || !strings.Contains(errs.String(), row.says) || out.Len() > 0 {
				t.Errorf("status %d: %s%s", status, out.String(), errs.String())
			}
		})
	}
}
