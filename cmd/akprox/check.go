package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/check"
	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
)

func runCheck(ctx context.Context, c *console) int {
	path := c.configFlag()
	var q check.Question
	c.flags.StringVar(&q.URL, "url", "", "the absolute URL that a client asks for")
	c.flags.StringVar(&q.Method, "method", "GET", "its method")
	c.flags.StringVar(&q.User, "user", "", "who is signed in; nobody without it")
	c.flags.StringVar(&q.Groups, "groups", "", "the person's groups, by commas")
	c.flags.StringVar(&q.Scopes, "scopes", "", "the token's scopes, by commas")
	c.flags.StringVar(&q.IP, "ip", "", "the client's address")
	asJSON := c.flags.Bool("json", false, "print JSON")
	expect := c.flags.String("expect", "", "exit 1 unless the outcome is this one")
	if _, status, ok := c.parse(); !ok {
		return status
	}
	outcomes := outpost.Outcomes()
	if *expect != "" && !slices.Contains(outcomes[:], *expect) {
		fmt.Fprintf(c.err, "akprox: --expect: there is no outcome %q; there are %s\n", *expect, strings.Join(outcomes[:], ", "))
		return 2
	}
	if q.URL == "" {
		fmt.Fprintln(c.err, "akprox: --url is missing; write the absolute URL that a client asks for")
		return 2
	}
	doc, err := readDocument(*path)
	if err != nil {
		return c.fail(err)
	}
	a, err := decide(ctx, doc, q)
	if err != nil {
		return c.fail(err)
	}
	a.Print(c.out, *asJSON)
	if *expect != "" && *expect != a.Outcome {
		fmt.Fprintf(c.err, "akprox: expected %s, got %s\n", *expect, a.Outcome)
		return 1
	}
	return 0
}

// standIns compiles doc with providers that vouch for the person of q. It needs
// no secret, so it does without those that are on another machine.
func standIns(doc *config.Document, q check.Question) (*outpost.Applications, error) {
	b := kinds.New(doc, version)
	b.Elsewhere = true
	opened := b.Open(nil)
	if err := b.Problems.Err(); err != nil {
		return nil, err
	}
	apps, problems := config.Compile(doc, config.Making{Providers: q.Vouching(opened), Version: version})
	return apps, problems.Err()
}

func decide(ctx context.Context, doc *config.Document, q check.Question) (check.Verdict, error) {
	apps, err := standIns(doc, q)
	if err != nil {
		return check.Verdict{}, err
	}
	return q.Decide(ctx, doc, apps)
}
