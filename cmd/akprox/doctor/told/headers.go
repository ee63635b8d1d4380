package told

import (
	"regexp"
	"slices"
	"strings"
)

// Value answers the value of a header in a text that shows headers, whatever
// its form: "Name: value", JSON, or NAME=value with "_" for "-".
func Value(text, name string) string {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(name), "-", "[-_]")
	m := regexp.MustCompile(`(?im)(?:^|["'\s,{]|http_)` + pattern + `["']?[ \t]*[:=][ \t]*(?:\[\s*)?["']?([^"'\r\n\]]*)`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return strings.TrimSpace(m[1])
}

// Spellings answers a name as programs may read it.
func Spellings(name string) []string {
	twins := []string{name, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(name, "-", ".")}
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		twins = append(twins, name[:i]+"_"+name[i+1:])
	}
	slices.Sort(twins)
	return slices.Compact(twins)
}
