package main

import (
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

//go:embed profiled.go.txt
var profiled string

// overlay answers the flags with which akprox is built to write profiles; none
// where nobody wants one.
func (l *lab) overlay() ([]string, error) {
	if l.profiles == "" {
		return nil, nil
	}
	if err := os.MkdirAll(l.profiles, 0o750); err != nil {
		return nil, err
	}
	file, err := l.write("profiled.go", profiled)
	if err != nil {
		return nil, err
	}
	here, err := filepath.Abs("cmd/akprox/profiled.go")
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {here: file}})
	if err != nil {
		return nil, err
	}
	list, err := l.write("overlay.json", string(text))
	return []string{"-overlay", list}, err
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// profile writes a CPU profile of akprox under the load of a trial.
func (l *lab) profile(name string, c contestant) error {
	if l.profiles == "" {
		return nil
	}
	if err := syscall.Kill(c.pid(), syscall.SIGUSR1); err != nil {
		return err
	}
	if err := c.at.drive(c.asking, 4*l.requests); err != nil {
		return err
	}
	if err := syscall.Kill(c.pid(), syscall.SIGUSR1); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	file := filepath.Join(l.profiles, notInNames.ReplaceAllString(strings.ToLower(name), "-")+".pprof")
	return os.Rename(filepath.Join(l.dir, "profile"), file)
}
