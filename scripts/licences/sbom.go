package main

import (
	"cmp"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
)

// bill is a bill of materials by CycloneDX 1.5. It says nothing of the time and
// place where it was made: two builds of the same have the same one.
type bill struct {
	Schema     string       `json:"$schema"`
	Format     string       `json:"bomFormat"`
	Spec       string       `json:"specVersion"`
	Serial     string       `json:"serialNumber"`
	Version    int          `json:"version"`
	Metadata   metadata     `json:"metadata"`
	Components []component  `json:"components"`
	Depends    []dependency `json:"dependencies"`
}

type metadata struct {
	Component  component  `json:"component"`
	Properties []property `json:"properties,omitempty"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Licences   []licence  `json:"licenses"`
	URL        string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

// licence is one licence, or an expression of several.
type licence struct {
	One *struct {
		ID string `json:"id"`
	} `json:"license,omitempty"`
	Expression string `json:"expression,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn,omitempty"`
}

// billOf makes the bill of a program, whose modules have the licences that
// modules tells.
func billOf(info *buildinfo.BuildInfo, modules map[string]*module) ([]byte, error) {
	std := component{
		Type: "library", Name: "std", Version: "go" + goVersion(info),
		Ref: "pkg:golang/std@" + goVersion(info), URL: "pkg:golang/std@" + goVersion(info), Licences: licences([]string{"BSD-3-Clause"}),
	}
	refs, parts := map[string]string{}, []component{std}
	for _, d := range info.Deps {
		held := *d
		if d.Replace != nil {
			held = *d.Replace
		}
		m := modules[d.Path]
		if m == nil || m.version != held.Version {
			return nil, fmt.Errorf("it holds %s %s, and ./cmd/akprox does not; build it again", d.Path, held.Version)
		}
		c := component{
			Type: "library", Name: held.Path, Version: held.Version, Ref: address(held), URL: address(held), Licences: licences(m.licences),
		}
		if held.Sum != "" {
			c.Properties = []property{{"go:sum", held.Sum}}
		}
		refs[d.Path], parts = c.Ref, append(parts, c)
	}
	main := component{
		Type: "application", Name: "akprox", Version: info.Main.Version, Ref: address(info.Main), URL: address(info.Main), Licences: licences([]string{"Apache-2.0"}),
	}
	refs[info.Main.Path] = main.Ref
	b := bill{
		Schema: "http://cyclonedx.org/schema/bom-1.5.schema.json", Format: "CycloneDX", Spec: "1.5", Version: 1,
		Serial: serial(info), Metadata: metadata{Component: main}, Components: parts, Depends: depends(refs, std.Ref, modules),
	}
	for _, s := range info.Settings {
		b.Metadata.Properties = append(b.Metadata.Properties, property{"go:build:" + s.Key, s.Value})
	}
	text, err := json.MarshalIndent(b, "", "  ")
	return append(text, '\n'), err
}

func address(m debug.Module) string {
	version := ""
	if m.Version != "" && m.Version != "(devel)" {
		version = "@" + strings.ReplaceAll(m.Version, "+", "%2B")
	}
	return "pkg:golang/" + m.Path + version
}

func licences(ids []string) []licence {
	if len(ids) != 1 {
		return []licence{{Expression: strings.Join(ids, " AND ")}}
	}
	l := licence{}
	l.One = &struct {
		ID string `json:"id"`
	}{ids[0]}
	return []licence{l}
}

// serial is a name that is the same for the same program.
func serial(info *buildinfo.BuildInfo) string {
	h := sha256.Sum256([]byte(info.String()))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // version 8, of one's own making (RFC 9562, section 5.8)
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// depends says which of the parts uses which.
func depends(refs map[string]string, std string, modules map[string]*module) []dependency {
	all := []dependency{{Ref: std}}
	for path, ref := range refs {
		d := dependency{Ref: ref, On: []string{std}}
		if m := modules[path]; m != nil {
			for _, to := range m.uses {
				if refs[to] != "" {
					d.On = append(d.On, refs[to])
				}
			}
		}
		slices.Sort(d.On)
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b dependency) int { return cmp.Compare(a.Ref, b.Ref) })
	return all
}
