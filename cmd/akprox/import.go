package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/akprox/akprox/cmd/akprox/knocker"
	"github.com/akprox/akprox/outpost/config/strict"
)

// runImport prints the document that serves what another program served.
func runImport(_ context.Context, c *console) int {
	leases := c.flags.String("leases", "", "Knocker's whitelist.json; its leases are brought along")
	words, status, ok := c.parse("knocker", "FILE")
	if !ok {
		return status
	}
	if words[0] != "knocker" {
		fmt.Fprintf(c.err, "akprox: import knows knocker, not %s\n", strict.Quote(words[0]))
		return 2
	}
	data, err := os.ReadFile(words[1])
	if err != nil {
		return c.fail(err)
	}
	var held []byte
	if *leases != "" {
		if held, err = os.ReadFile(*leases); err != nil {
			return c.fail(err)
		}
	}
	text, warnings, err := knocker.Import(words[1], data, held, time.Now())
	for _, w := range warnings {
		fmt.Fprintln(c.err, "akprox: "+w)
	}
	if err != nil {
		fmt.Fprintln(c.err, err)
		return 1
	}
	fmt.Fprint(c.out, text)
	return 0
}
