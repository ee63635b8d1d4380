package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) == 2 && os.Args[1] == "floor" {
		serveFloor()
		return
	}
	only := flag.String("case", os.Getenv("CASE"), "only the cases whose name holds this")
	rounds := flag.Int("rounds", 5, "rounds of each pair")
	requests := flag.Int("requests", 50_000, "requests of a round")
	flag.Parse()
	if err := run(*only, *rounds, *requests); err != nil {
		log.Fatal(err)
	}
}

func run(only string, rounds, requests int) error {
	dir, err := os.MkdirTemp("", "akprox-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "akprox")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./cmd/akprox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	w, err := newWorld(dir, binary)
	if err != nil {
		return err
	}
	defer w.stop()
	fmt.Printf("%s/%s, %d processors, %s, commit %s, %s, %d rounds of %d requests\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), commit(), time.Now().UTC().Format(time.DateOnly), rounds, requests)
	fmt.Println("| case | floor µs | akprox µs | ratio | target |\n|---|---|---|---|---|")
	for _, c := range cases(filepath.Join(dir, "store")) {
		if !strings.Contains(c.name, only) {
			continue
		}
		if err := w.measure(c, rounds, requests); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// measure prints one case: floor and akprox in turn, medians and their ratio.
func (w *world) measure(c benchCase, rounds, requests int) error {
	floor, err := w.startFloor(c)
	if err != nil {
		return err
	}
	defer floor.kill()
	akprox, err := w.startAkprox(c)
	if err != nil {
		return err
	}
	defer akprox.kill()
	request, err := c.request(w, akprox)
	if err != nil {
		return err
	}
	if err := drive(akprox.addr, request, c.status, requests/5); err != nil {
		return err
	}
	if err := drive(floor.addr, request, c.status, requests/5); err != nil {
		return err
	}
	var floors, ours, ratios []float64
	for range rounds {
		f, err := cost(floor, request, c.status, requests)
		if err != nil {
			return err
		}
		a, err := cost(akprox, request, c.status, requests)
		if err != nil {
			return err
		}
		floors, ours, ratios = append(floors, f), append(ours, a), append(ratios, a/f)
	}
	fmt.Printf("| %s | %.1f | %.1f | %.2f | %s |\n", c.name, median(floors), median(ours), median(ratios), c.target)
	return nil
}

// cost answers CPU microseconds of the server per request.
func cost(s *server, request []byte, status string, requests int) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := drive(s.addr, request, status, requests); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return float64((after - before).Microseconds()) / float64(requests), err
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}
