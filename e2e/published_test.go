package e2e_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

const composed = "../manifests/compose/"

// inCompose says what the printed configurations call by loopback addresses.
var inCompose = strings.NewReplacer("127.0.0.1:9000", "akprox:9000", "127.0.0.1:8080", "program:8080")

// published runs akprox as the compose files do, with their variables set.
func published(t *testing.T, words ...string) string {
	t.Helper()
	cmd := exec.Command(parts.AkproxPath(t), words...)
	cmd.Env = append(os.Environ(), "AKPROX_SECRET="+strings.Repeat("s3cret-", 7), "CLIENT_SECRET=x", "PHONE_KEY="+strings.Repeat("f00d", 10))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("akprox %v: %v\n%s", words, err, out)
	}
	return string(out)
}

// TestComposeFiles holds the published compose files to what akprox prints for
// their documents, and to keeping the program away from everybody. Traefik's
// has a certificate made for each router, too; see TestComposeTraefik.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	folders, err := os.ReadDir(composed)
	if err != nil || len(folders) != 3 {
		t.Fatalf("%d folders, %v", len(folders), err)
	}
	for _, folder := range folders {
		t.Run(folder.Name(), func(t *testing.T) {
			dir := composed + folder.Name() + "/"
			if said := published(t, "validate", "--config", dir+"akprox.yaml"); strings.Contains(said, "warning") {
				t.Errorf("not careful: %s", said)
			}
			compose := readYAML(t, readFile(t, dir+"compose.yaml"))
			separate(t, compose)
			if _, err := os.Stat(dir + "Caddyfile"); err == nil {
				holdCaddyfile(t, dir)
				return
			}
			printed := readYAML(t, published(t, "snippet", "traefik-labels", "--config", dir+"akprox.yaml"))
			for _, service := range []string{"akprox", "program"} {
				want := printed["services"].(map[string]any)[service].(map[string]any)["labels"].(map[string]any)
				got := compose["services"].(map[string]any)[service].(map[string]any)["labels"].(map[string]any)
				maps.DeleteFunc(got, func(label string, _ any) bool {
					return label == "traefik.docker.network" || strings.HasSuffix(label, ".tls.certresolver")
				})
				if !maps.Equal(got, want) {
					t.Errorf("%s has the labels\n%v\nand not the printed\n%v", service, got, want)
				}
			}
		})
	}
}

// separate fails unless the program publishes no port, and shares a network
// with the proxy alone.
func separate(t *testing.T, compose map[string]any) {
	t.Helper()
	services := compose["services"].(map[string]any)
	if services["program"].(map[string]any)["ports"] != nil || services["akprox"].(map[string]any)["ports"] != nil {
		t.Error("only the proxy may publish ports")
	}
	networks := func(service string) []any { return services[service].(map[string]any)["networks"].([]any) }
	for _, network := range networks("program") {
		if slices.Contains(networks("akprox"), network) {
			t.Errorf("program and akprox share the network %v, where the program is believed as a proxy", network)
		}
	}
}

func holdCaddyfile(t *testing.T, dir string) {
	t.Helper()
	lines := func(text string) []string { return strings.Split(text, "\n")[2:] } // without the two that say what to put where
	got, want := lines(readFile(t, dir+"Caddyfile")), lines(inCompose.Replace(published(t, "snippet", "caddy", "--config", dir+"akprox.yaml")))
	if !slices.Equal(got, want) {
		t.Errorf("the Caddyfile is not the printed one:\n%s", strings.Join(got, "\n"))
	}
	caddysTake(t, dir+"Caddyfile")
}

// TestSystemdUnit has systemd itself read the unit, as it is and with the lines
// for ports below 1024 that it shows.
func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	// The program has to be where the unit says, or systemd complains of that.
	unit := strings.ReplaceAll(readFile(t, "../manifests/systemd/akprox.service"), "/usr/local/bin/akprox", parts.AkproxPath(t))
	_, shown, _ := strings.Cut(unit, "#   [Service]\n")
	shown, _, _ = strings.Cut(shown, "\nCapabilityBoundingSet=\n")
	low := "[Service]\n" + strings.ReplaceAll(shown, "#   ", "") + "\n"
	for dropIn, threshold := range map[string]string{"": "15", low: "20"} {
		file := filepath.Join(t.TempDir(), "akprox.service")
		if err := os.Mkdir(file+".d", 0o700); err != nil {
			t.Fatal(err)
		}
		for path, text := range map[string]string{file: unit, file + ".d/override.conf": dropIn} {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"verify", file}, {"security", "--offline=true", "--threshold=" + threshold, "--no-pager", file}} {
			out, err := exec.Command(parts.Path(t, "systemd-analyze"), args...).CombinedOutput()
			if err != nil || args[0] == "verify" && len(out) > 0 {
				t.Errorf("systemd-analyze %v: %v\n%s", args, err, out)
			}
			if args[0] == "verify" {
				continue
			}
			// A capability in a user namespace of its own opens none of the machine's ports.
			for _, line := range []string{"✗ AmbientCapabilities=", "✗ CapabilityBoundingSet=~CAP_NET_(BIND_SERVICE", "✗ PrivateUsers="} {
				if got := strings.Contains(string(out), line); got != (dropIn != "") {
					t.Errorf("%q: %s is %t\n%s", dropIn, line, got, out)
				}
			}
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
