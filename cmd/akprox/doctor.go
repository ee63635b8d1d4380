package main

import (
	"context"
	"flag"
	"net/http"
	"os"

	"github.com/akprox/akprox/cmd/akprox/check"
	"github.com/akprox/akprox/cmd/akprox/doctor"
	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
)

func runDoctor(ctx context.Context, c *console) int {
	path, v := c.configFlag(), doctor.Flags(c.flags)
	if _, status, ok := c.parse(); !ok {
		return status
	}
	named := os.Getenv("AKPROX_CONFIG") != ""
	c.flags.Visit(func(f *flag.Flag) { named = named || f.Name == "config" })
	return v.Run(ctx, doctor.Means{
		Read: readDocument,
		Parse: func(text string) (*config.Document, error) {
			doc, problems := config.Parse([]byte(text), "the flags", kinds.Settings(), stores.Kinds())
			return doc, problems.Err()
		},
		Applications: func(doc *config.Document) (*outpost.Applications, error) {
			return standIns(doc, check.Question{})
		},
		Decide: func(doc *config.Document, url string) string {
			told, err := decide(ctx, doc, check.Question{URL: url, Method: http.MethodGet})
			if err != nil {
				return ""
			}
			return told.Outcome
		},
		Line: c.line,
	}, *path, named, c.out, c.err)
}
