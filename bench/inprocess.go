package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// inProcess runs the benchmarks of a whole decision and of its stages.
func inProcess(_ *lab, t trial) ([]row, error) {
	var rows []row
	for _, of := range []struct{ pkg, pattern string }{
		{"./outpost/session", "DecideWithSession"},
		{"./cmd/akprox", "Forward"},
		{"./proxy/dialect", "Read/traefik|Write/allow"},
		{"./outpost", "Find|Rules/2$/none|Rules/(100|1000)$/all|Headers"},
		{"./outpost/session", "IdentifySeen"},
		{"./proxy", "Record"},
	} {
		out, err := exec.Command("go", "test", "-run", "^$", "-bench", of.pattern, "-benchmem", "-benchtime", "200ms", of.pkg).CombinedOutput()
		if err != nil {
			return rows, fmt.Errorf("%w\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			r, nanoseconds, allocations := benchLine(line)
			if r.name == "" {
				continue
			}
			// Both bounds in one number: what is nearer to its own.
			switch {
			case strings.Contains(r.name, "DecideWithSession"):
				r.target, r.value, r.limit = "≤ 2 µs, ≤ 5 allocations", max(nanoseconds/2000, allocations/5), 1
			case strings.HasPrefix(r.name, "Rules/1000/"):
				r.target, r.value, r.limit = "≤ 30 µs, no allocation", max(nanoseconds/30_000, 2*allocations), 1
			case strings.HasPrefix(r.name, "Rules/100/"):
				r.target, r.value, r.limit = "≤ 3 µs, no allocation", max(nanoseconds/3000, 2*allocations), 1
			default:
				r.why = "a part of the CPU time above"
			}
			r.name = t.name + ": " + r.name
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// benchLine reads "BenchmarkName-2  100  12 ns/op  0 B/op  0 allocs/op".
func benchLine(line string) (r row, nanoseconds, allocations float64) {
	f := strings.Fields(line)
	if len(f) < 8 || !strings.HasPrefix(f[0], "Benchmark") {
		return row{}, 0, 0
	}
	nanoseconds, err := strconv.ParseFloat(f[2], 64)
	if err == nil {
		allocations, err = strconv.ParseFloat(f[6], 64)
	}
	if err != nil {
		return row{}, 0, 0
	}
	name := strings.TrimPrefix(f[0][:max(strings.LastIndexByte(f[0], '-'), 0)], "Benchmark")
	return row{name: strings.ReplaceAll(name, "_", " "), akprox: fmt.Sprintf("%s ns, %s allocations", f[2], f[6])}, nanoseconds, allocations
}
