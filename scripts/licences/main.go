// Command licences lists the licences of everything that is linked into akprox.
// Run it from the root of the repository:
//
//	go run ./scripts/licences                              writes docs/licences.md
//	go run ./scripts/licences -sbom build/sbom.json FILE   writes what the program FILE holds, as CycloneDX 1.5
//
// A licence that it does not know is an error: somebody has to read it. It
// needs no network but for modules that are not in the module cache.
package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

const page = "docs/licences.md"

func main() {
	sbom := flag.String("sbom", "", "write the bill of materials of a program to this file")
	flag.Parse()
	if err := run(*sbom, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(sbom, program string) error {
	modules, err := linked("./cmd/akprox")
	if err != nil {
		return err
	}
	if sbom == "" {
		return os.WriteFile(page, []byte(listed(modules)), 0o644) // #nosec G306 -- a page
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	bill, err := billOf(info, modules)
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	if err := os.MkdirAll(filepath.Dir(sbom), 0o750); err != nil {
		return err
	}
	return os.WriteFile(sbom, bill, 0o644) // #nosec G306 -- for everybody
}

// module is one that is linked.
type module struct {
	path, version string
	licences      []string // SPDX identifiers
	uses          []string // the paths of the modules that its packages import
}

// linked answers the modules of a program for Linux, which is what we publish,
// without the main one.
func linked(program string) (map[string]*module, error) {
	list := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Imports,Standard,Module", program) // #nosec G204 -- ours
	list.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	list.Stderr = os.Stderr
	text, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	packages := map[string]listedPackage{}
	for d := json.NewDecoder(bytes.NewReader(text)); ; {
		var p listedPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		packages[p.ImportPath] = p
	}
	return modulesOf(packages)
}

// listedPackage is what go list says of a package.
type listedPackage struct {
	ImportPath, Dir string
	Imports         []string
	Standard        bool
	Module          *listedModule
}

type listedModule struct {
	Path, Version, Dir string
	Main               bool
	Replace            *listedModule
}

func modulesOf(packages map[string]listedPackage) (map[string]*module, error) {
	all := map[string]*module{}
	var problems []error
	for _, p := range packages {
		if p.Standard || p.Module == nil {
			continue
		}
		told := *p.Module
		if told.Replace != nil {
			told.Version, told.Dir = told.Replace.Version, told.Replace.Dir
		}
		m := all[told.Path]
		if m == nil {
			m = &module{path: told.Path, version: told.Version}
			all[told.Path] = m
		}
		for _, i := range p.Imports {
			if to := packages[i].Module; to != nil && to.Path != told.Path {
				m.uses = append(m.uses, to.Path)
			}
		}
		ids, err := licencesOf(p.Dir, told.Dir)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", p.ImportPath, err))
		}
		m.licences = append(m.licences, ids...)
	}
	for _, m := range all {
		for _, s := range []*[]string{&m.licences, &m.uses} {
			slices.Sort(*s)
			*s = slices.Compact(*s)
		}
	}
	return all, errors.Join(problems...)
}

// licencesOf answers the licences of a package: those in its folder and in
// those above it, up to its module's.
func licencesOf(dir, top string) (ids []string, err error) {
	for {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.IsDir() || !namesLicence(e.Name()) {
				continue
			}
			file := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			found := known(string(text))
			if len(found) == 0 {
				return nil, fmt.Errorf("%s holds no licence that is known here; read it, and add it to scripts/licences", file)
			}
			ids = append(ids, found...)
		}
		if dir == top || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("no licence in %s", top)
	}
	return ids, nil
}

func namesLicence(file string) bool {
	name := strings.ToLower(file)
	switch filepath.Ext(name) {
	case ".go", ".header", ".docs", ".sh":
		return false
	}
	return strings.HasPrefix(name, "license") || strings.HasPrefix(name, "licence") || strings.HasPrefix(name, "copying")
}

// texts are phrases of each licence that no other one has, in lower case and
// with single spaces.
var texts = map[string][][]string{
	"Apache-2.0": {{"apache license version 2.0, january 2004"}, {"licensed under the apache license, version 2.0"}},
	"MPL-2.0":    {{"mozilla public license version 2.0"}, {"mozilla public license, version 2.0"}},
	"MIT":        {{"permission is hereby granted, free of charge, to any person obtaining a copy of this software"}},
	"ISC": {
		{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"},
		{"permission to use, copy, modify, and distribute this software for any purpose with or without fee"},
	},
	"BSD-3-Clause": {{"redistribution and use in source and binary forms", "endorse or promote products"}},
	"BSD-2-Clause": {{"redistribution and use in source and binary forms"}},
}

// known answers the licences in a text.
func known(text string) (ids []string) {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for id, ways := range texts {
		if slices.ContainsFunc(ways, func(phrases []string) bool {
			return !slices.ContainsFunc(phrases, func(p string) bool { return !strings.Contains(text, p) })
		}) {
			ids = append(ids, id)
		}
	}
	if slices.Contains(ids, "BSD-3-Clause") {
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == "BSD-2-Clause" })
	}
	slices.Sort(ids)
	return ids
}

// sorted answers the modules by path, without the main one.
func sorted(modules map[string]*module) []*module {
	var all []*module
	for _, m := range modules {
		if m.version != "" {
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b *module) int { return strings.Compare(a.path, b.path) })
	return all
}

// listed is the page.
func listed(modules map[string]*module) string {
	var b strings.Builder
	b.WriteString(`# Licences

akprox is under the Apache License 2.0: [LICENSE](../LICENSE). Its program holds these modules, too. ` + "`make licences`" + ` writes
this page, and a test holds it to what is linked. ` + "`make sbom`" + ` writes the same for machines, as CycloneDX.

| module | version | licence |
|---|---|---|
`)
	for _, m := range sorted(modules) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.path, m.version, strings.Join(m.licences, " and "))
	}
	b.WriteString("\nThe standard library of Go is under BSD-3-Clause.\n")
	return b.String()
}

// goVersion is that of the standard library in a program.
func goVersion(info *buildinfo.BuildInfo) string {
	version, _, _ := strings.Cut(strings.TrimPrefix(info.GoVersion, "go"), " ")
	if version == "" {
		return strings.TrimPrefix(runtime.Version(), "go")
	}
	return version
}
