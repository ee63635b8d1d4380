package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/file"
	"github.com/akprox/akprox/proxy/server"
)

// configFlag answers where the document is: --config, else $AKPROX_CONFIG,
// else akprox.yaml here.
func (c *console) configFlag() *string {
	path := os.Getenv("AKPROX_CONFIG")
	if path == "" {
		path = "akprox.yaml"
	}
	return c.flags.String("config", path, "the document; $AKPROX_CONFIG names it too")
}

// readDocument reads and parses the document at path. Problems are printed by
// the caller as they are.
func readDocument(path string) (*config.Document, error) {
	data, err := file.Source{Path: path}.Read()
	if err != nil {
		return nil, fmt.Errorf("read the document: %w (--config or $AKPROX_CONFIG names another)", err)
	}
	doc, problems := config.Parse(data, path, kinds.Settings(), stores.Kinds())
	return doc, problems.Err()
}

func runValidate(_ context.Context, c *console) int {
	path := c.configFlag()
	if _, status, ok := c.parse(); !ok {
		return status
	}
	doc, err := readDocument(*path)
	var b *kinds.Builder
	if err == nil {
		b, err = tryDocument(doc)
	}
	if err != nil {
		fmt.Fprintln(c.err, err)
		return 1
	}
	for _, w := range append(doc.Warnings(), b.Loose(*path)...) {
		fmt.Fprintln(c.err, "warning:", w)
	}
	fmt.Fprintf(c.out, "%s: good: %s, %s\n", *path, count(len(doc.Applications), "application"), count(len(doc.Providers), "provider"))
	return 0
}

func count(n int, word string) string {
	if n != 1 {
		word += "s"
	}
	return fmt.Sprintf("%d %s", n, word)
}

// tryDocument does what a start would do with the document, short of serving:
// its secrets are read, its providers opened, its applications compiled.
func tryDocument(doc *config.Document) (*kinds.Builder, error) {
	b := kinds.New(doc, version)
	if doc.Secret != nil {
		if _, err := stores.Secrets(doc); err != nil {
			b.Problems = append(b.Problems, doc.Problem("secret", err.Error()))
		}
	}
	if err := stores.Check(doc); err != nil {
		b.Problems = append(b.Problems, doc.Problem("store", err.Error()))
	}
	if t := doc.Server.TLS; t.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
			b.Problems = append(b.Problems, doc.Problem("server.tls", err.Error()))
		}
	}
	_, err := b.Applications(nil, nil)
	return b, err
}

func runSchema(_ context.Context, c *console) int {
	if _, status, ok := c.parse(); !ok {
		return status
	}
	schema, err := config.Schema(kinds.Settings(), stores.Kinds()...)
	if err != nil {
		return c.fail(err)
	}
	_, _ = c.out.Write(append(schema, '\n'))
	return 0
}

func runHealthcheck(ctx context.Context, c *console) int {
	path := c.configFlag()
	if _, status, ok := c.parse(); !ok {
		return status
	}
	doc, err := readDocument(*path)
	if err != nil {
		return c.fail(err)
	}
	if doc.Server.Metrics == "" {
		return c.fail(fmt.Errorf("server.metrics is empty, so nobody can be asked"))
	}
	if err := server.Probe(ctx, doc.Server.Metrics); err != nil {
		return c.fail(err)
	}
	fmt.Fprintln(c.out, "ready")
	return 0
}
