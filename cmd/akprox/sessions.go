package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/control"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store/disk"
)

func runSessions(ctx context.Context, c *console) int {
	path, q := c.configFlag(), control.Query{}
	c.flags.StringVar(&q.Subject, "subject", "", "whose: the subject that the provider has for somebody")
	c.flags.StringVar(&q.Provider, "provider", "", "signed in by this provider alone")
	c.flags.BoolVar(&q.JSON, "json", false, "print JSON")
	words, status, ok := c.parse("list or end")
	if !ok {
		return status
	}
	q.Verb = words[0]
	if err := q.Check(); err != nil {
		fmt.Fprintln(c.err, "akprox: "+err.Error())
		return 2
	}
	doc, err := readDocument(*path)
	if err != nil {
		return c.fail(err)
	}
	names := make([]string, len(doc.Providers))
	for i, p := range doc.Providers {
		names[i] = p.Name
	}
	if q.Provider != "" && !slices.Contains(names, q.Provider) {
		return c.fail(fmt.Errorf("--provider: there is no %q; the document has %s", q.Provider, strings.Join(names, ", ")))
	}
	s, done, err := openSessions(ctx, doc, names)
	if err != nil {
		return c.fail(err)
	}
	defer done()
	if err := q.Run(ctx, s, c.out); err != nil {
		return c.fail(err)
	}
	return 0
}

// openSessions finds the sessions of doc: in the akprox that has the store
// open, or in the store itself.
func openSessions(ctx context.Context, doc *config.Document, providers []string) (s control.Sessions, done func(), err error) {
	switch doc.Store.Kind {
	case "memory":
		return nil, nil, errors.New("store.kind is memory: sessions are in the memory of the running akprox alone, and a restart ends them all; disk and redis can be asked")
	case "disk":
		s, err := control.Dial(ctx, doc.Store.Path)
		if !errors.Is(err, control.ErrNobody) {
			return s, func() {}, err
		}
		file := filepath.Join(doc.Store.Path, disk.FileName)
		if _, err := os.Stat(file); err != nil {
			return nil, nil, fmt.Errorf("no akprox runs, and there is no store to read: %w (a relative store.path counts from where akprox runs)", err)
		}
	}
	st, err := stores.Open(doc)
	if err != nil {
		return nil, nil, err
	}
	own := control.Own{
		Store: st, Sessions: session.New(st, [][]byte{make([]byte, stores.MinSecret)}, session.Options{}), // no cookie is read here
		Providers: func() []string { return providers },
	}
	return own, func() { _ = st.Close() }, nil
}

// control lets `akprox sessions` ask this process, where it has the store for
// itself.
func (rt *running) control(doc *config.Document) (stop func()) {
	if doc.Store.Kind != "disk" {
		return func() {}
	}
	providers := func() []string {
		rt.mu.Lock()
		defer rt.mu.Unlock()
		return slices.Collect(maps.Keys(rt.parties))
	}
	stop, err := control.Serve(doc.Store.Path, control.Own{Store: rt.store, Sessions: rt.sessions, Providers: providers}, rt.log)
	if err != nil {
		rt.log.Warnf("akprox sessions cannot ask this process: %v", err)
		return func() {}
	}
	return stop
}
