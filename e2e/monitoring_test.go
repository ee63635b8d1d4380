package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

const monitoring = "../manifests/monitoring/"

// TestAlertRules has the alert rules checked by promtool, and their unit tests
// run.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for _, args := range [][]string{
		{"check", "rules", monitoring + "akprox-alerts.yaml"},
		{"test", "rules", monitoring + "akprox-alerts-test.yaml"},
	} {
		if out, err := exec.Command(parts.Path(t, "promtool"), args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// monitored is a small outpost whose metrics are scraped.
const monitored = `version: 1
server: { http: "127.0.0.1:%d", https: "", metrics: "127.0.0.1:%d" }
store: { kind: disk, path: data }
providers:
  - { name: people, kind: password, users: [ { username: john, password: %q } ] }
applications:
  - { name: wiki, mode: forward_single, external_url: "http://wiki.example.com", credentials: [people] }
`

// TestMonitoring has a real Prometheus scrape an outpost, load the alert rules
// and answer every query of the dashboard.
func TestMonitoring(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, metrics := parts.Port(t), parts.Port(t)
	akprox := parts.Akprox(t, fmt.Sprintf(monitored, port, metrics, strings.TrimSpace(tell(t, "correct horse battery", "hash", "password"))), port, "")
	prometheus := startPrometheus(t, metrics)
	ask := func() {
		if answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", metrics)); err == nil { // asks the store
			_ = answer.Body.Close()
		}
		for _, password := range []string{"correct horse battery", "wrong", ""} {
			r, err := http.NewRequest(http.MethodGet, "http://"+akprox.Addr()+"/akprox/auth/caddy", nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range map[string]string{"Proto": "http", "Host": "wiki.example.com", "Uri": "/", "Method": "GET"} {
				r.Header.Set("X-Forwarded-"+name, value)
			}
			if password != "" {
				r.SetBasicAuth("john", password)
			}
			answer, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
		}
	}
	for title, exprs := range dashboard(t) {
		for _, expr := range exprs {
			t.Run(title, func(t *testing.T) {
				mayBeEmpty := strings.Contains(expr, "_errors_total") || strings.Contains(expr, "akprox_token_cache") || strings.Contains(expr, "akprox_sign_ins_total") || strings.Contains(expr, "akprox_issuer_")
				eventually(t, "Prometheus has no series for "+expr, func() bool {
					ask()
					n, err := query(prometheus, expr)
					if err != nil {
						t.Fatal(err)
					}
					return n > 0 || mayBeEmpty
				})
			})
		}
	}
}

func startPrometheus(t *testing.T, metrics int) *parts.Process {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs(monitoring + "akprox-alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("global: { scrape_interval: 1s, evaluation_interval: 1s }\nrule_files: [%q]\nscrape_configs:\n- { job_name: akprox, static_configs: [ { targets: ['127.0.0.1:%d'] } ] }\n", rules, metrics)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	port := parts.Port(t)
	return parts.Start(t, parts.Cmd{
		Name: "prometheus", Path: parts.Path(t, "prometheus"), Dir: dir, Port: port,
		Args: []string{
			"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"),
			"--web.listen-address=127.0.0.1:" + strconv.Itoa(port),
		},
		ReadyURL: fmt.Sprintf("http://127.0.0.1:%d/-/ready", port),
	})
}

// query answers how many series expr has now.
func query(prometheus *parts.Process, expr string) (int, error) {
	answer, err := http.PostForm("http://"+prometheus.Addr()+"/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	var said struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return 0, err
	}
	if said.Status != "success" {
		return 0, fmt.Errorf("%s: %s", expr, said.Error)
	}
	return len(said.Data.Result), nil
}

// dashboard answers the queries of each panel, with the dashboard's variables
// as Grafana would fill them in.
func dashboard(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(monitoring + "akprox-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type targets []struct{ Expr string }
	var board struct {
		Panels []struct {
			Title   string
			Targets targets
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$job", "akprox", "$instance", ".*", "$application", ".*", "$__rate_interval", "10s")
	found, n := map[string][]string{}, 0
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			found[panel.Title] = append(found[panel.Title], fill.Replace(target.Expr))
			n++
		}
	}
	if n < 20 {
		t.Fatalf("the dashboard has %d queries only", n)
	}
	return found
}

// TestMonitoringNamesMetrics holds the dashboard and the alert rules to the
// metrics that the operation page lists, which another test holds to the
// program.
func TestMonitoringNamesMetrics(t *testing.T) {
	t.Parallel()
	listed, err := os.ReadFile("../docs/operation.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"akprox-dashboard.json", "akprox-alerts.yaml", "akprox-alerts-test.yaml"} {
		text, err := os.ReadFile(monitoring + file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`akprox_[a-z_]+[a-z]`).FindAllString(string(text), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, name := range names {
			base := name
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				base = strings.TrimSuffix(base, part)
			}
			if !strings.Contains(string(listed), "`"+name+"`") && !strings.Contains(string(listed), "`"+base+"`") {
				t.Errorf("%s asks for %s, which there is not", file, name)
			}
		}
	}
}
