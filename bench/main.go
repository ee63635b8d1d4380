package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	if err := command(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func command(args []string) error {
	if len(args) > 0 && args[0] == "floor" {
		return serveFloor()
	}
	if len(args) > 0 && args[0] == "generate" {
		flags := flag.NewFlagSet("generate", flag.ExitOnError)
		dir := flags.String("dir", "", "folder of the disk store that is made")
		sessions := flags.Int("sessions", 1_000_000, "how many sessions")
		_ = flags.Parse(args[1:])
		return generate(*dir, *sessions)
	}
	flags := flag.NewFlagSet("bench", flag.ExitOnError)
	only := flags.String("case", os.Getenv("CASE"), "only the lines whose name holds this")
	rounds := flags.Int("rounds", 5, "rounds of each pair")
	requests := flags.Int("requests", 50_000, "requests of a round")
	sessions := flags.Int("sessions", 1_000_000, "sessions of the large store")
	markdown := flags.String("markdown", "", "file that the table is written to as well")
	profiles := flags.String("profile", "", "folder that a CPU profile of each kind of request is written to")
	_ = flags.Parse(args)
	l, err := newLab(*rounds, *requests, *sessions, *profiles)
	if err != nil {
		return err
	}
	defer l.close()
	return l.run(*only, *markdown)
}

// trial is one line of the table, or a few that are measured together.
type trial struct {
	name string
	run  func(l *lab, t trial) ([]row, error)
	cpu  *cpuTrial // what run measures, of the usual kind
}

func (l *lab) run(only, markdown string) error {
	var text strings.Builder
	print := func(line string) {
		fmt.Println(line)
		fmt.Fprintln(&text, line)
	}
	print(fmt.Sprintf("%s, commit %s, %s, %d rounds of %s requests.\n", machine(), commit(), time.Now().UTC().Format(time.DateOnly), l.rounds, thousands(l.requests)))
	print(tableHead)
	var failed []error
	for _, t := range trials() {
		if !strings.Contains(t.name, only) {
			continue
		}
		rows, err := t.run(l, t)
		if errors.Is(err, errMissing) {
			rows, err = []row{{name: t.name, missing: err.Error()}}, nil
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t.name, err))
			log.Print(failed[len(failed)-1])
		}
		for _, r := range rows {
			print(r.String())
		}
	}
	if markdown != "" {
		failed = append(failed, os.WriteFile(markdown, []byte(text.String()), 0o600))
	}
	return errors.Join(failed...)
}
