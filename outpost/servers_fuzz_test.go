package outpost

import (
	"context"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost/canon"
)

// serverReadings is a model of how servers read the path of a request: not of
// ours, and each in a few plain steps in the order in which that server takes
// them. "" is a request that this server refuses.
var serverReadings = map[string]func(raw string) string{
	"as it came":                           func(raw string) string { return letter.ReplaceAllStringFunc(raw, unescaped) },
	"nginx":                                func(raw string) string { return dots(merged(before(unescaped(raw), "\x00"))) },
	"nginx, merge_slashes off":             func(raw string) string { return dots(unescaped(raw)) },
	"Go, net/http":                         unescaped,
	"Go, ServeMux":                         func(raw string) string { return cleaned(unescaped(raw)) },
	"PHP, built in":                        func(raw string) string { return dots(unescaped(before(raw, "?"))) },
	"PHP behind Apache":                    func(raw string) string { return dots(merged(unescaped(raw))) },
	"PHP, a router that decodes by itself": func(raw string) string { return before(unescaped(unescaped(raw)), "?") },
	"Tomcat":                               func(raw string) string { return dots(merged(unescaped(noParameters(raw)))) },
	"Tomcat, decoded again":                func(raw string) string { return dots(merged(unescaped(noParameters(unescaped(raw))))) },
	"Jetty":                                func(raw string) string { return noParameters(dots(unescaped(raw))) },
	"Spring":                               func(raw string) string { return merged(noParameters(unescaped(raw))) },
	"IIS":                                  func(raw string) string { return dots(merged(strings.ReplaceAll(unescaped(raw), `\`, "/"))) },
	"a proxy that decodes, then Tomcat": func(raw string) string {
		return dots(merged(noParameters(strings.ReplaceAll(unescaped(unescaped(raw)), `\`, "/"))))
	},
	"a proxy that cuts, then Go": func(raw string) string { return cleaned(before(before(unescaped(raw), "#"), "?")) },
}

// cleaned is where ServeMux sends whoever asks for another form.
func cleaned(p string) string {
	if p == "" {
		return ""
	}
	clean := path.Clean(p)
	if clean != "/" && strings.HasSuffix(p, "/") {
		clean += "/"
	}
	return clean
}

// letter is an escape of a sign that has no meaning in a path: servers take
// it for that sign (RFC 3986 6.2.2.2), whatever they make of the others.
var letter = regexp.MustCompile(`(?i)%(2[0-146-9a-d]|3[0-9ac-e]|[46][0-9a-f]|5[0-9abd-f]|7[0-9a-e])`)

func unescaped(p string) string {
	plain, err := url.PathUnescape(p)
	if err != nil {
		return ""
	}
	return plain
}

func before(p, sign string) string { p, _, _ = strings.Cut(p, sign); return p }

func merged(p string) string {
	for strings.Contains(p, "//") {
		p = strings.Replace(p, "//", "/", 1)
	}
	return p
}

func noParameters(p string) string {
	var out strings.Builder
	skip := false
	for _, c := range []byte(p) {
		skip = c == ';' || skip && c != '/'
		if !skip {
			out.WriteByte(c)
		}
	}
	return out.String()
}

// dots resolves dot segments from the left, as all of them do.
func dots(p string) string {
	if p == "" {
		return "" // refused before
	}
	for done := ""; ; {
		segment, rest, more := strings.Cut(strings.TrimPrefix(p, "/"), "/")
		switch segment {
		case "..":
			done = done[:max(0, strings.LastIndexByte(done, '/'))]
		case ".":
		default:
			done += "/" + segment
		}
		if !more {
			if segment == "." || segment == ".." {
				done += "/"
			}
			return done
		}
		p = "/" + rest
	}
}

// pieces are what hostile paths are made of; a fuzzer's byte picks one.
var pieces = []string{
	"/", "/", "/public", "/admin", "/old", "/a", "..", ".", "/..", "/.", "%2f", "%2F", "%5c", `\`, ";", ";x=1", "%3b", "//", "%2e", "%2e%2e", "%252f", "%252e",
	"%25", "#", "%23", "?", "%3f", "%253f", "%00", "%2500", "%0a", "%c3%a9", "%ff", "%c0%ae", "public", "admin", "x", " ", "%20", "+", "%61", "%70ublic", "&", "=", ":", "@",
}

// ruleOf makes a rule of a byte, and answers beside it what it says, for the model.
func ruleOf(b byte) (Rule, string, Admission) {
	where := []string{"/public/**", "/public", "/admin/**", "/admin", "/old/**", "/a/**", "/**", "/public/admin/**", "/", "/x"}[int(b)%10]
	admit := []Admission{Anyone, Anyone, SignedIn, Nobody}[int(b)/10%4]
	return Rule{Name: where, Paths: []canon.Glob{canon.NewGlob(where)}, Admit: admit}, where, admit
}

// admits is the model of the rules: what the first that fits says of a path.
func admits(where []string, says []Admission, p string) Admission {
	if p != "/" {
		p = strings.TrimSuffix(p, "/")
	}
	for i, w := range where {
		dir, subtree := strings.CutSuffix(w, "/**")
		if p == w || subtree && (p == dir || strings.HasPrefix(p, dir+"/")) {
			return says[i]
		}
	}
	return SignedIn
}

// FuzzPathsAsServersReadThem: whatever the rules and the path, nobody passes
// when some server would read a path out of it that is not for everybody; and
// somebody who is known does not when it is one that is for nobody.
func FuzzPathsAsServersReadThem(f *testing.F) {
	for _, seed := range []string{
		"/public/../admin", "/public/..%2fadmin", "/public/..;/admin", `/public/..\admin`, "/public/%2e%2e%5cadmin", "/public%3f/../admin", "//admin", "/public/%252e%252e/admin",
		"/public/;/../admin", "/./admin", "/admin;/public", "/public%23/../admin", "/a/..//admin", "/public/x%2f..%2f..%2fold",
	} {
		f.Add(seed, []byte{0, 12, 22, 34}, []byte{})
		f.Add("", []byte{0, 2, 32, 26}, []byte(seed))
	}
	headers, err := NewHeaderMap("", "", nil, Meta{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string, rules, picks []byte) {
		for _, b := range picks[:min(len(picks), 24)] {
			raw += pieces[int(b)%len(pieces)]
		}
		var list []Rule
		var where []string
		var says []Admission
		for _, b := range rules[:min(len(rules), 8)] {
			rule, w, admit := ruleOf(b)
			list, where, says = append(list, rule), append(where, w), append(says, admit)
		}
		p, _, err := canon.SplitURI(raw)
		if err != nil {
			return
		}
		app := &Application{Name: "x", Headers: headers, Rules: NewRules(list)}
		ask := func(who []Named) Outcome {
			app.Credentials = who
			return app.Decide(context.Background(), &Request{Method: "GET", Scheme: "https", Host: "x.example", Path: p}).Outcome
		}
		nobody := ask(nil)
		known := ask([]Named{{Provider: "p", Credential: always{&Identity{Subject: "s", Username: "u", Provider: "p"}}}})
		for server, reads := range serverReadings {
			read := reads(before(raw, "?"))
			if !strings.HasPrefix(read, "/") || strings.ContainsAny(read, "\x00\n") {
				continue // it refuses the request, and so it is no way in
			}
			admit := admits(where, says, read)
			if nobody == Allow && admit != Anyone {
				t.Errorf("nobody may %q, which %s reads as %q, and %v %v does not open that", raw, server, read, where, says)
			}
			if known == Allow && admit == Nobody {
				t.Errorf("somebody may %q, which %s reads as %q, and %v %v closes that", raw, server, read, where, says)
			}
		}
	})
}

type always struct{ id *Identity }

func (a always) Identify(context.Context, *Request) (*Identity, error) { return a.id, nil }

// answers is a kind that answers what a fuzzer wants.
type answers struct {
	id  *Identity
	err error
}

func (a answers) Identify(context.Context, *Request) (*Identity, error) { return a.id, a.err }

// FuzzNeverAllowWithoutAGrant: whatever the kinds, the gate and the rules
// answer, an Allow has an identity that a rule admits, or a rule for anyone.
func FuzzNeverAllowWithoutAGrant(f *testing.F) {
	f.Add([]byte{0}, []byte{2, 3}, []byte{}, "/admin", "GET")
	f.Add([]byte{22}, []byte{0, 1, 2, 3, 4, 5, 6}, []byte{0}, "/admin", "")
	f.Add([]byte{6, 16}, []byte{5, 6}, []byte{3}, "/public/x", "POST")
	headers, err := NewHeaderMap("", "", nil, Meta{})
	if err != nil {
		f.Fatal(err)
	}
	somebody := &Identity{Subject: "s", Username: "u", Provider: "p"}
	all := []answers{{somebody, nil}, {nil, ErrNoCredential}, {nil, nil}, {somebody, ErrNoCredential}, {somebody, ErrUnavailable}, {nil, ErrUnclaimed}, {somebody, context.Canceled}}
	f.Fuzz(func(t *testing.T, rules, kinds, gate []byte, raw, method string) {
		p, _, err := canon.SplitURI(raw)
		if err != nil {
			p = canon.Path{}
		}
		app := &Application{Name: "x", Headers: headers}
		var list []Rule
		granted := false
		for _, b := range rules[:min(len(rules), 8)] {
			rule, _, _ := ruleOf(b)
			list = append(list, rule)
		}
		if len(rules) > 0 { // else there are none at all, which is for nobody
			app.Rules = NewRules(list)
		}
		for _, b := range kinds[:min(len(kinds), 8)] {
			a := all[int(b)%len(all)]
			granted = granted || a.err == nil && a.id != nil
			app.Credentials = append(app.Credentials, Named{Provider: "p", Credential: a})
		}
		open := len(gate) == 0
		for _, b := range gate[:min(len(gate), 4)] {
			a := all[int(b)%len(all)]
			open = open || a.err == nil && a.id != nil
			app.Gate = append(app.Gate, Named{Provider: "door", Credential: a})
		}
		d := app.Decide(context.Background(), &Request{Method: strings.ToUpper(method), Scheme: "https", Host: "x.example", Path: p})
		if d.Outcome != Allow {
			if len(d.Headers) > 0 {
				t.Fatalf("a refusal has headers: %+v", d)
			}
			return
		}
		switch {
		case !open:
			t.Fatalf("a closed gate: %+v", d)
		case d.Identity == nil && d.Reason != ReasonPublic, d.Identity != nil && (!granted || d.Identity != somebody):
			t.Fatalf("an Allow of nobody: %+v", d)
		case len(rules) == 0, len(d.Headers) != 5:
			t.Fatalf("an Allow without a rule, or without its headers: %+v", d)
		}
	})
}
