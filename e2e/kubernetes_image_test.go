package e2e_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/akprox/akprox/e2e/parts"
)

// TestImage runs the line of the Dockerfile that builds the program, twice, in
// two places, and for each architecture.
func TestImage(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	line, sources := buildLine(t), t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "cmd", "outpost", "providers", "proxy"} {
		command(t, "cp", "-r", filepath.Join("..", name), sources)
	}
	first, path := buildImage(t, line, sources, "amd64")
	if second, _ := buildImage(t, line, sources, "amd64"); !bytes.Equal(first, second) {
		t.Error("two builds differ")
	}
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		text := first
		if arch != "amd64" {
			text, _ = buildImage(t, line, sources, arch)
		}
		program, err := elf.NewFile(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if program.Machine != machine {
			t.Errorf("%s: the program is for %v", arch, program.Machine)
		}
		for _, segment := range program.Progs {
			if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: the program needs libraries, and there are none in the image", arch)
			}
		}
		if bytes.Contains(text, []byte(filepath.Dir(sources))) {
			t.Errorf("%s: the program knows where it was built", arch)
		}
	}
	if got := command(t, path, "version"); !strings.Contains(got, "akprox v1.2.3 ") {
		t.Errorf("it calls itself %s", got)
	}
}

func repository(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildLine is the command from CGO_ENABLED on to the package.
func buildLine(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?s)CGO_ENABLED=0 .*?go build .*? \./cmd/akprox`).FindString(string(text))
	for _, want := range []string{"-trimpath", "-buildid=", "-mod=readonly", "GOOS=$TARGETOS", "GOARCH=$TARGETARCH", "/image/akprox"} {
		if !strings.Contains(line, want) {
			t.Fatalf("the Dockerfile does not build with %s: %s", want, line)
		}
	}
	for _, want := range []string{"FROM scratch", "USER 65532:65532", `HEALTHCHECK`, `CMD ["/akprox", "healthcheck"]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the Dockerfile has no %s", want)
		}
	}
	return line
}

// buildImage answers the program that the line makes of a copy of the sources,
// and where it is.
func buildImage(t *testing.T, line, sources, arch string) (text []byte, built string) {
	t.Helper()
	dir := t.TempDir()
	command(t, "cp", "-r", sources+"/.", dir)
	built = filepath.Join(dir, "built")
	run := exec.Command("sh", "-c", strings.ReplaceAll(line, "/image/akprox", built)) // #nosec G204 -- the Dockerfile's own
	run.Dir = dir
	run.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+arch, "VERSION=v1.2.3", "GOFLAGS=", "GOWORK=off")
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", arch, err, out)
	}
	text, err := os.ReadFile(built) // #nosec G304
	if err != nil {
		t.Fatal(err)
	}
	return text, built
}
