package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// kubernetesPage runs the commands of docs/kubernetes.md in their order, with
// the files that it shows.
func kubernetesPage(t *testing.T, c *parts.Cluster) {
	page, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"helm", "manifests"} {
		if err := os.Symlink(filepath.Join(repository(t), name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	bin := t.TempDir()
	for _, name := range []string{"helm", "kubectl"} {
		if err := os.Symlink(parts.Path(t, name), filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	block := regexp.MustCompile("(?ms)(?:^( *)<!-- file: (\\S+) -->\n)?^( *)```(sh|yaml)\n(.*?)^ *```$")
	for _, m := range block.FindAllStringSubmatch(string(page), -1) {
		text := regexp.MustCompile("(?m)^"+m[3]).ReplaceAllString(m[5], "")
		if m[4] == "yaml" {
			if m[2] == "" {
				t.Errorf("nothing says which file this is:\n%s", text)
			} else if err := os.WriteFile(filepath.Join(dir, m[2]), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		run := exec.Command("sh", "-euc", text) // #nosec G204 -- the page's own
		run.Dir = dir
		run.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "KUBECONFIG="+c.Kubeconfig)
		if out, err := run.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s\nof\n%s", err, out, text)
		}
		ran++
	}
	if ran < 6 {
		t.Errorf("the page has %d blocks of commands", ran)
	}
	if got := c.Kubectl("get", "networkpolicy", "akprox", "--namespace", "akprox", "--output", "name"); !strings.Contains(got, "akprox") {
		t.Errorf("after the last command there is %s", got)
	}
}
