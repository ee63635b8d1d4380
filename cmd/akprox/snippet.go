package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/check"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/dialect"
)

func runSnippet(_ context.Context, c *console) int {
	path := c.configFlag()
	name := c.flags.String("app", "", "the application; not needed where there is only one")
	words, status, ok := c.parse("DIALECT: " + strings.Join(dialect.Snippets(), ", "))
	if !ok {
		return status
	}
	if !slices.Contains(dialect.Snippets(), words[0]) {
		fmt.Fprintf(c.err, "akprox: no snippet for %q; there are %s\n", words[0], strings.Join(dialect.Snippets(), ", "))
		return 2
	}
	doc, err := readDocument(*path)
	if err != nil {
		return c.fail(err)
	}
	apps, err := standIns(doc, check.Question{})
	if err != nil {
		return c.fail(err)
	}
	app, err := pick(apps.All(), *name)
	if err != nil {
		return c.fail(err)
	}
	text, err := dialect.Snippet(words[0], dialect.Site{
		App: app, Listen: doc.Server.HTTP, GRPC: doc.Server.GRPC, GRPCTLS: doc.Server.GRPCTLS, Prefix: doc.Server.Prefix,
		Others: apps.All(),
	})
	if err != nil {
		return c.fail(err)
	}
	if !doc.Server.NginxOriginalURL && strings.HasSuffix(words[0], "nginx") {
		fmt.Fprintf(c.err, "akprox: %s has to say   server: { nginx_original_url: true }   for this, or no rule about paths or methods can be judged\n", *path)
	}
	fmt.Fprint(c.out, text)
	return 0
}

// pick answers the application of that name, or the only one there is.
func pick(apps []*outpost.Application, name string) (*outpost.Application, error) {
	if name == "" && len(apps) == 1 {
		return apps[0], nil
	}
	names := make([]string, len(apps))
	for i, app := range apps {
		names[i] = app.Name
	}
	switch i := slices.Index(names, name); {
	case i >= 0:
		return apps[i], nil
	case name == "":
		return nil, fmt.Errorf("which application? --app is one of %s", strings.Join(names, ", "))
	}
	return nil, fmt.Errorf("there is no application %q; there are %s", name, strings.Join(names, ", "))
}
