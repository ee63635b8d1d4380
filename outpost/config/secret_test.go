package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost/config"
)

func TestSecretIsReadFromWhereItIs(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) config.Secret {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Secret{File: path}
	}
	t.Setenv("AKPROX_TEST_SECRET", "from env\n")
	t.Setenv("AKPROX_TEST_EMPTY", "")
	for name, c := range map[string]struct {
		secret     config.Secret
		want, fail string
	}{
		"value":               {secret: config.NewSecret("here"), want: "here"},
		"file":                {secret: file("a", "in a file"), want: "in a file"},
		"file with newline":   {secret: file("b", "in a file\n"), want: "in a file"},
		"file from Windows":   {secret: file("c", "in a file\r\n"), want: "in a file"},
		"only one line break": {secret: file("d", "a\n\n"), want: "a\n"},
		"as large as allowed": {secret: file("e", strings.Repeat("a", 64<<10)), want: strings.Repeat("a", 64<<10)},
		"too large":           {secret: file("f", strings.Repeat("a", 64<<10+1)), fail: "larger"},
		"empty file":          {secret: file("g", "\n"), fail: "empty"},
		"no file":             {secret: config.Secret{File: filepath.Join(dir, "none")}, fail: "no such file"},
		"a folder":            {secret: config.Secret{File: dir}, fail: "directory"},
		"env":                 {secret: config.Secret{Env: "AKPROX_TEST_SECRET"}, want: "from env\n"},
		"env empty":           {secret: config.Secret{Env: "AKPROX_TEST_EMPTY"}, fail: "AKPROX_TEST_EMPTY"},
		"env not set":         {secret: config.Secret{Env: "AKPROX_TEST_NOT_SET"}, fail: "AKPROX_TEST_NOT_SET"},
		"nothing":             {fail: "no secret"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.secret.Read()
			if c.fail == "" && (err != nil || string(got) != c.want) {
				t.Errorf("got %.40q, %v, want %.40q", got, err, c.want)
			}
			if c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
				t.Errorf("got %v, want an error with %q", err, c.fail)
			}
		})
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	secret := config.NewSecret("hunter2")
	type holder struct {
		S config.Secret
		P *config.Secret
		h config.Secret // fmt calls no methods here
	}
	h := holder{secret, &secret, secret}
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+verb+verb, secret, h, &h)
	}
	js, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	ym, err := yaml.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	all := shown.String() + string(js) + string(ym)
	for _, leak := range []string{"hunter2", "68756e74657232", "[104 117"} {
		if strings.Contains(all, leak) {
			t.Errorf("%s is told: %s", leak, all)
		}
	}
	if !strings.Contains(string(js), "[secret]") || !strings.Contains(string(ym), "[secret]") {
		t.Errorf("got %s %s", js, ym)
	}
}

func TestLooseFilesAreNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got := config.Loose(path); got != want {
			t.Errorf("%o: got %t", mode, got)
		}
	}
	if config.Loose(path + "x") {
		t.Error("a file that is not there is loose")
	}
}
