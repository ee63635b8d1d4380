package main

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// This file is a second, deliberately simple model of the contract, for the
// generated matrix: what matrixDocument promises, in plain string work. It
// calls nothing of the product, and nothing of the product was its pattern.

// asked is one cell of the matrix: what a client does, and through which
// dialect the proxy asks.
type asked struct {
	dialect, method, scheme, host, uri, client string
	who                                        string // a key of the credentials in matrix_generated_test.go
	kind                                       string // a key of requestKinds
	forged                                     bool   // the client itself sends X-Auth-Username
}

// expected is what the model answers: an outcome in the contract's words.
// "refused" stands for any refusal: the request does not even reach us.
type expected struct {
	outcome    string
	user       string // whose identity headers come with an allow
	navigation bool
}

// people of matrixDocument: their groups.
var modelGroups = map[string][]string{"alice": {"admin", "staff"}, "bob": {"staff"}, "ci": {"robots"}}

var (
	modelHost = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`)
	modelVerb = regexp.MustCompile(`^[A-Za-z-]*$`)
	badEscape = regexp.MustCompile(`%([^0-9A-Fa-f]|.[^0-9A-Fa-f]|.?$)`)
	escape    = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	oddBytes  = regexp.MustCompile(`[\\;?#%]|//|/\.\.?(/|$)`)
	slashes   = regexp.MustCompile(`/+`)
	fromQuery = regexp.MustCompile(`[?#].*`)
	parameter = regexp.MustCompile(`;[^/]*`)
)

// model answers what the contract says to a.
func model(a asked) expected {
	e := expected{outcome: "bad_request", navigation: modelNavigation(a)}
	path, _, _ := strings.Cut(a.uri, "?")
	if a.dialect == "envoy" && !strings.HasPrefix(a.uri, "/") {
		e.outcome = "refused" // the path is glued to the endpoint's, which is then another
		return e
	}
	scheme := strings.ToLower(a.scheme)
	if scheme != "http" && scheme != "https" || !modelVerb.MatchString(a.method) {
		return e
	}
	host := strings.ToLower(a.host)
	port := ""
	if i := strings.LastIndex(host, ":"); i >= 0 {
		host, port = host[:i], host[i+1:]
	}
	host = strings.TrimSuffix(host, ".")
	if !modelHost.MatchString(host) || strings.Trim(port, "0123456789") != "" {
		return e
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		port = ""
	}
	readings, ok := modelReadings(path)
	if !ok || strings.ContainsAny(a.uri, "# \x00\n") {
		return e
	}
	app := modelApplication(host, port)
	if app == "" || a.dialect == "proxy" && app != "legacy" {
		e.outcome = "unknown_host"
		return e
	}
	if modelOwn(path) {
		return e.allowed(a, "")
	}
	return e.judged(a, app, readings)
}

// judged holds the readings against the rules: every reading has to pass.
func (e expected) judged(a asked, app string, readings []string) expected {
	user, bad := modelIdentity(a, app)
	public := true
	verdict := ""
	for _, p := range readings {
		for _, r := range modelRules(a, p) {
			if r == "nobody" || r == "unknown" {
				e.outcome = "forbidden"
				return e
			}
			public = public && r == "anyone"
			if group, ok := strings.CutPrefix(r, "group "); ok && !slices.Contains(modelGroups[user], group) {
				verdict = "forbidden"
			}
		}
	}
	switch {
	case user == "" && public:
		return e.allowed(a, "")
	case user == "" && bad:
		e.outcome = "unauthorized"
	case user == "":
		e.outcome = "sign_in"
	case verdict != "":
		e.outcome = verdict
	default:
		return e.allowed(a, user)
	}
	return e
}

// allowed is an allow, unless the proxy would let a forged header pass.
func (e expected) allowed(a asked, user string) expected {
	e.outcome, e.user = "allow", user
	if a.dialect == "caddy" && a.forged && user == "" {
		e.outcome = "bad_request"
	}
	return e
}

// modelNavigation is the contract's sentence on navigations.
func modelNavigation(a asked) bool {
	switch strings.ToUpper(a.method) {
	case "GET", "HEAD", "":
	default:
		return false
	}
	switch a.kind {
	case "page", "curl", "bare", "old page":
		return true
	}
	return false // fetch, xhr, json, socket, image
}

// modelReadings answers every reading of a path that some server has, or that
// it is a bad request.
func modelReadings(path string) ([]string, bool) {
	if !strings.HasPrefix(path, "/") || !modelClean(path) || badEscape.MatchString(path) || strings.Contains(path, "#") {
		return nil, false
	}
	once := modelDecode(path)
	if !modelClean(once) {
		return nil, false
	}
	if !oddBytes.MatchString(once) && strings.Count(once, "/") == strings.Count(path, "/") {
		return []string{once}, true
	}
	all := map[string]bool{}
	var add func(p string, decodings int)
	add = func(p string, decodings int) {
		key := p + "\n" + strings.Repeat("x", decodings)
		if all[key] {
			return
		}
		all[key] = true
		add(slashes.ReplaceAllString(p, "/"), decodings)
		add(parameter.ReplaceAllString(p, ""), decodings)
		add(strings.ReplaceAll(p, `\`, "/"), decodings)
		add(p[:1]+fromQuery.ReplaceAllString(p[1:], ""), decodings)
		add(modelDots(p), decodings)
		if decodings < 2 && !badEscape.MatchString(p) {
			add(modelDecode(p), decodings+1)
		}
	}
	add(path, 0)
	var readings []string
	for key := range all {
		p, _, _ := strings.Cut(key, "\n")
		if !modelClean(p) {
			return nil, false
		}
		if !slices.Contains(readings, p) {
			readings = append(readings, p)
		}
	}
	return readings, true
}

// modelClean reports whether there is neither a control nor a broken character.
func modelClean(p string) bool {
	return utf8.ValidString(p) && !strings.ContainsFunc(p, func(c rune) bool { return c < ' ' || c == 0x7f })
}

func modelDecode(p string) string {
	return escape.ReplaceAllStringFunc(p, func(e string) string {
		const digits = "0123456789abcdef"
		e = strings.ToLower(e)
		return string([]byte{byte(strings.IndexByte(digits, e[1])<<4 | strings.IndexByte(digits, e[2]))})
	})
}

func modelDots(p string) string {
	var kept []string
	segments := strings.Split(p, "/")[1:]
	for i, s := range segments {
		if s == ".." && len(kept) > 0 {
			kept = kept[:len(kept)-1]
		}
		if s != ".." && s != "." {
			kept = append(kept, s)
		} else if i == len(segments)-1 {
			kept = append(kept, "")
		}
	}
	return "/" + strings.Join(kept, "/")
}

// modelApplication answers which application of matrixDocument guards a host.
func modelApplication(host, port string) string {
	switch {
	case host == "wiki.example.test" && port == "":
		return "wiki"
	case host == "wiki.example.test": // its name is claimed; a made-up port is nobody's
		return ""
	case host == "legacy.test" && port == "":
		return "legacy"
	case host == "example.test", strings.HasSuffix(host, ".example.test"):
		return "everything"
	}
	return ""
}

// modelOwn reports whether a path is one of those that a browser calls.
func modelOwn(path string) bool {
	for _, prefix := range []string{"/akprox", "/outpost.goauthentik.io"} {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		switch rest {
		case "/start", "/callback", "/sign_in", "/sign_out", "/userinfo", "/backchannel_logout", "/ping", "/static/akprox.css":
			return true
		}
	}
	return false
}

// modelRules answers what the rules of matrixDocument ask of one reading: one
// word where the method is known, else those of all rules that may fit.
func modelRules(a asked, p string) []string {
	p = strings.TrimSuffix(p, "/")
	under := func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
	method := strings.ToUpper(a.method)
	switch {
	case p == "/health":
		return []string{"anyone"}
	case under("/public"):
		switch method {
		case "GET", "HEAD":
			return []string{"anyone"}
		case "":
			return []string{"anyone", "signed_in"}
		}
		return []string{"signed_in"}
	case under("/orders"):
		switch method {
		case "DELETE":
			return []string{"group admin"}
		case "":
			return []string{"group admin", "signed_in"}
		}
		return []string{"signed_in"}
	case under("/admin"):
		return []string{"group admin"}
	case under("/internal"):
		client, err := netip.ParseAddr(a.client)
		switch {
		case err != nil:
			return []string{"unknown"}
		case client.Is4() && client.As4()[0] == 10:
			return []string{"group staff"}
		}
		return []string{"signed_in"}
	case under("/old"):
		return []string{"nobody"}
	}
	return []string{"signed_in"}
}

// modelIdentity answers whom the credentials of a cell show to an application,
// or that what is shown is bad.
func modelIdentity(a asked, app string) (user string, bad bool) {
	switch a.who {
	case "alice", "bob":
		return a.who, false
	case "key", "key header":
		return "ci", false
	case "alice and a bad key":
		return "alice", false
	case "bad key":
		return "", true
	}
	return "", false // nobody, a broken cookie, another application's cookie
}
