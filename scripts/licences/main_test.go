package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

func TestLicencesAreKnownByTheirTexts(t *testing.T) {
	bsd := "Redistribution and use in source and\nbinary forms, with or without modification, are permitted."
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"Apache":          {"    Apache License\n   Version 2.0, January 2004\n", []string{"Apache-2.0"}},
		"Apache, short":   {"Licensed under the Apache License, Version 2.0 (the \"License\");", []string{"Apache-2.0"}},
		"MIT":             {"Permission is hereby granted, free of charge, to any person obtaining\na copy of this software and", []string{"MIT"}},
		"ISC":             {"Permission to use, copy, modify, and/or distribute this software for any\npurpose with or without fee is", []string{"ISC"}},
		"BSD, two":        {bsd, []string{"BSD-2-Clause"}},
		"BSD, three":      {bsd + " may be used to\nendorse or promote products", []string{"BSD-3-Clause"}},
		"MPL":             {"Mozilla Public License Version 2.0\n====", []string{"MPL-2.0"}},
		"two in one file": {"Apache License\nVersion 2.0, January 2004\n" + bsd, []string{"Apache-2.0", "BSD-2-Clause"}},
		"another":         {"GNU GENERAL PUBLIC LICENSE Version 3", nil},
		"nothing":         {"", nil},
	} {
		if got := known(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestAnUnknownLicenceIsAnError(t *testing.T) {
	top := t.TempDir()
	inner := filepath.Join(top, "a", "b")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := licencesOf(inner, top); err == nil {
		t.Error("none at all is good")
	}
	put(top, "LICENSE", "Apache License, Version 2.0, January 2004: licensed under the Apache License, Version 2.0")
	put(inner, "COPYING.txt", "Permission is hereby granted, free of charge, to any person obtaining a copy of this software")
	put(inner, "license.go", "package b")
	if got, err := licencesOf(inner, top); err != nil || !slices.Equal(got, []string{"MIT", "Apache-2.0"}) {
		t.Errorf("got %v, %v", got, err)
	}
	put(filepath.Dir(inner), "LICENCE", "all rights reserved")
	if got, err := licencesOf(inner, top); err == nil {
		t.Errorf("an unknown one is good: %v", got)
	}
}

func TestTheBillHoldsEveryModule(t *testing.T) {
	modules := map[string]*module{
		"example.com/one":    {path: "example.com/one", version: "v1.0.0", licences: []string{"MIT"}, uses: []string{"example.com/two"}},
		"example.com/two":    {path: "example.com/two", version: "v2.0.0+x", licences: []string{"MIT", "ISC"}},
		"example.com/akprox": {path: "example.com/akprox", uses: []string{"example.com/one"}},
	}
	info := &buildinfo.BuildInfo{
		GoVersion: "go1.26.0 X:none", Main: debug.Module{Path: "example.com/akprox", Version: "(devel)"},
		Deps: []*debug.Module{{Path: "example.com/one", Version: "v1.0.0", Sum: "h1:x"}, {Path: "example.com/two", Version: "v2.0.0+x"}},
	}
	text, err := billOf(info, modules)
	if err != nil {
		t.Fatal(err)
	}
	var b bill
	if err := json.Unmarshal(text, &b); err != nil || b.Format != "CycloneDX" || b.Spec != "1.5" || len(b.Components) != 3 || len(b.Depends) != 4 {
		t.Errorf("%v: %s", err, text)
	}
	for _, want := range []string{`"pkg:golang/std@1.26.0"`, `"pkg:golang/example.com/one@v1.0.0"`, `"pkg:golang/example.com/two@v2.0.0%2Bx"`, `"MIT AND ISC"`, `"id": "MIT"`, `"pkg:golang/example.com/akprox"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not there: %s", want, text)
		}
	}
	if again, _ := billOf(info, modules); string(again) != string(text) {
		t.Error("the same program has another bill")
	}
	info.Deps[0].Version = "v1.0.1"
	if _, err := billOf(info, modules); err == nil {
		t.Error("the licences are those of another version")
	}
}
