package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// openDocument is what the chart makes of a document in which anybody may see
// one path, with addresses of this machine.
func openDocument(t *testing.T, path, server, metrics string) string {
	t.Helper()
	values := readYAML(t, wikiValues)
	wiki := at(t, values, "document", "applications", 0).(map[string]any)
	wiki["rules"] = []any{map[string]any{"paths": []any{path}, "allow": "anyone"}}
	values["document"].(map[string]any)["server"] = map[string]any{"trusted_proxies": []any{"127.0.0.0/8"}}
	list := chartTemplate(t, "--set", "store.kind=memory", "--values", valuesFile(t, values))
	text := at(t, find(list, "ConfigMap/akprox"), "data", "akprox.yaml").(string)
	return strings.NewReplacer("http: :9000", "http: "+server, "metrics: :9300", "metrics: "+metrics).Replace(text)
}

// mount puts a document where a kubelet does: in a new folder, to which a link
// is turned.
func mount(t *testing.T, dir, document string) {
	t.Helper()
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(dir, "..data_tmp")
	for _, err := range []error{
		os.WriteFile(filepath.Join(version, "akprox.yaml"), []byte(document), 0o600),
		os.Symlink(filepath.Base(version), next),
		os.Rename(next, filepath.Join(dir, "..data")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestMountedDocument: a pod follows its ConfigMap; and with a bad document it
// serves on by the old one, and the probes of the chart leave it alone.
func TestMountedDocument(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	server, metrics := fmt.Sprintf("127.0.0.1:%d", parts.Port(t)), fmt.Sprintf("127.0.0.1:%d", parts.Port(t))
	dir := t.TempDir()
	// What is mounted beside it stays the same, as it would in a pod.
	beside := mounted(t, openDocument(t, "/PATH/**", server, metrics))
	open := func(path string) string { return strings.Replace(beside, "/PATH/**", path, 1) }
	mount(t, dir, open("/one/**"))
	if err := os.Symlink("..data/akprox.yaml", filepath.Join(dir, "akprox.yaml")); err != nil {
		t.Fatal(err)
	}
	parts.Start(t, parts.Cmd{
		Name: "akprox", Path: parts.AkproxPath(t), Args: []string{"run", "--config", filepath.Join(dir, "akprox.yaml")},
		ReadyURL: "http://" + metrics + "/readyz", Timeout: time.Minute,
	})
	status := func(url, path string) int {
		req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{"Host": "wiki.example.com", "Proto": "https", "Uri": path, "Method": "GET", "For": "192.0.2.1"} {
			req.Header.Set("X-Forwarded-"+name, value)
		}
		resp, err := parts.Client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	passes := func(path string) bool { return status("http://"+server+"/akprox/auth/traefik", path) == http.StatusOK }
	if !passes("/one/x") || passes("/two/x") {
		t.Fatal("the first document is not in force")
	}
	mount(t, dir, open("/two/**"))
	eventually(t, "the second document is never in force", func() bool { return passes("/two/x") && !passes("/one/x") })

	mount(t, dir, open("/three/**")+"\nnonsense: true\n")
	eventually(t, "nobody is told that a document is bad", func() bool {
		return status("http://"+metrics+"/readyz", "") == http.StatusServiceUnavailable
	})
	if !passes("/two/x") || passes("/three/x") {
		t.Error("a bad document changed something")
	}
	pod := at(t, find(chartTemplate(t), "Deployment/akprox"), "spec", "template", "spec", "containers", 0)
	for _, probe := range []string{"readinessProbe", "livenessProbe"} {
		path := at(t, pod, probe, "httpGet", "path").(string)
		if got := status("http://"+metrics+path, ""); got != http.StatusOK {
			t.Errorf("%s finds %d, and would take every pod out", probe, got)
		}
	}
	mount(t, dir, open("/one/**"))
	eventually(t, "a good document does not mend it", func() bool {
		return passes("/one/x") && status("http://"+metrics+"/readyz", "") == http.StatusOK
	})
}

// TestChartJobRefuses: what no schema sees, the job before an upgrade does.
func TestChartJobRefuses(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for change, sentence := range map[string]string{
		`document.applications[0].credentials={nobody}`:                       `"nobody" is not the name of a provider`,
		`document.applications[0].external_url=https://wiki.example.com/?a=b`: "external_url",
		`document.applications[0].mode=proxy`:                                 "upstream",
	} {
		list := chartTemplate(t, "--values", valuesFile(t, readYAML(t, wikiValues)), "--set", change)
		config := writeDocument(t, at(t, find(list, "ConfigMap/akprox-validate"), "data", "akprox.yaml").(string))
		out, err := exec.Command(parts.AkproxPath(t), "validate", "--config", config).CombinedOutput() // #nosec G204
		if err == nil || !strings.Contains(string(out), sentence) || !strings.Contains(string(out), "akprox.yaml:") {
			t.Errorf("%s: %v %s", change, err, out)
		}
	}
}
