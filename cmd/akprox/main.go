// Command akprox is a forward-auth outpost: any reverse proxy asks it whether
// a request may pass. This package is the wiring, the flags and the verbs; it
// alone knows which kinds of providers and stores there are.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
)

// version is set by the build: -ldflags "-X main.version=v1.2.3".
var version = "dev" //nolint:gochecknoglobals // only the linker writes it

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// verb is one command: its part of the usage text, and what it does. The exit
// status is 0, 1 for "no", 2 for wrong usage.
type verb struct {
	args, does string
	run        func(ctx context.Context, c *console) int
}

// console is what a verb talks to.
type console struct {
	args     []string
	in       io.Reader
	out, err io.Writer
	flags    *flag.FlagSet
}

func verbs() map[string]verb {
	return map[string]verb{
		"run":         {"[--config akprox.yaml]", "serve", runServe},
		"demo":        {"[--listen 127.0.0.1:9000]", "show the main job with nothing installed", runDemo},
		"validate":    {"[--config F]", "print every problem of the document", runValidate},
		"check":       {"--url U [flags]", "say what would be decided, and why", runCheck},
		"doctor":      {"--url U [flags]", "ask a site as a browser and an attacker; say what is wrong", runDoctor},
		"snippet":     {"DIALECT [--app NAME] [--config F]", "print a reverse proxy's configuration", runSnippet},
		"import":      {"knocker FILE [--leases F]", "print the document that serves what a knocker.yaml served", runImport},
		"hash":        {"password | key", "print the hash of what is typed", runHash},
		"generate":    {"key", "print a new API key and its hash", runGenerate},
		"healthcheck": {"[--config F]", "exit 0 when the running server is ready", runHealthcheck},
		"sessions":    {"list | end --subject S [flags]", "show or end who is signed in", runSessions},
		"schema":      {"", "print the document's JSON Schema", runSchema},
		"version":     {"", "print version, commit and Go version", runVersion},
	}
}

// run is the program without the process: tests call it too.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(out)
		return boolStatus(len(args) > 0, 2)
	}
	v, ok := verbs()[args[0]]
	if !ok {
		fmt.Fprintf(errs, "akprox: there is no command %q\n\n", args[0])
		usage(errs)
		return 2
	}
	c := &console{args: args[1:], in: in, out: out, err: errs, flags: flag.NewFlagSet("akprox "+args[0], flag.ContinueOnError)}
	c.flags.SetOutput(errs)
	c.flags.Usage = func() {
		fmt.Fprintf(errs, "usage: akprox %s %s\n%s\n", args[0], v.args, v.does)
		c.flags.PrintDefaults()
	}
	return v.run(ctx, c)
}

// parse reads flags and positional arguments in any order; it answers the
// latter, and false when they are wrong, of which the person has been told.
func (c *console) parse(names ...string) ([]string, int, bool) {
	var words []string
	rest := c.args
	for {
		if err := c.flags.Parse(rest); err != nil {
			return nil, boolStatus(errors.Is(err, flag.ErrHelp), 2), false
		}
		if rest = c.flags.Args(); len(rest) == 0 {
			break
		}
		words, rest = append(words, rest[0]), rest[1:]
	}
	if len(words) != len(names) {
		switch {
		case len(words) > len(names):
			fmt.Fprintf(c.err, "akprox: %q is one word too many%s\n", words[len(names)], c.meant(words[len(names)]))
		default:
			fmt.Fprintf(c.err, "akprox: a word is missing: %s\n", names[len(words)])
		}
		c.flags.Usage()
		return nil, 2, false
	}
	return words, 0, true
}

// meant ends a sentence about a word too many that looks like a document.
func (c *console) meant(word string) string {
	if c.flags.Lookup("config") == nil || !strings.HasSuffix(word, ".yaml") && !strings.HasSuffix(word, ".yml") {
		return ""
	}
	return "; the document is named by --config " + word
}

// fail prints err for a person and answers status 1.
func (c *console) fail(err error) int {
	fmt.Fprintln(c.err, "akprox: "+err.Error())
	return 1
}

func boolStatus(good bool, bad int) int {
	if good {
		return 0
	}
	return bad
}

func usage(w io.Writer) {
	fmt.Fprint(w, "akprox answers reverse proxies that ask: may this request pass?\n\n")
	all := verbs()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(w, "  %-12s %-36s %s\n", name, all[name].args, all[name].does)
	}
	fmt.Fprint(w, "\nThe document is akprox.yaml, or what --config or $AKPROX_CONFIG names.\n")
}

func runVersion(_ context.Context, c *console) int {
	if _, status, ok := c.parse(); !ok {
		return status
	}
	fmt.Fprintf(c.out, "akprox %s commit %s %s %s/%s\n", version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return 0
}

func commit() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
