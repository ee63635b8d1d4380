package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/config"
)

// question is what `akprox check` was asked.
type question struct {
	url, method, user, groups, scopes, ip, expect string
	json                                          bool
}

func runCheck(ctx context.Context, c *console) int {
	path := c.configFlag()
	var q question
	c.flags.StringVar(&q.url, "url", "", "the absolute URL that a client asks for")
	c.flags.StringVar(&q.method, "method", "GET", "its method")
	c.flags.StringVar(&q.user, "user", "", "who is signed in; nobody without it")
	c.flags.StringVar(&q.groups, "groups", "", "the person's groups, by commas")
	c.flags.StringVar(&q.scopes, "scopes", "", "the token's scopes, by commas")
	c.flags.StringVar(&q.ip, "ip", "", "the client's address")
	c.flags.BoolVar(&q.json, "json", false, "print JSON")
	c.flags.StringVar(&q.expect, "expect", "", "exit 1 unless the outcome is this one")
	if _, status, ok := c.parse(); !ok {
		return status
	}
	outcomes := outpost.Outcomes()
	if q.expect != "" && !slices.Contains(outcomes[:], q.expect) {
		fmt.Fprintf(c.err, "akprox: --expect: there is no outcome %q; there are %s\n", q.expect, strings.Join(outcomes[:], ", "))
		return 2
	}
	if q.url == "" {
		fmt.Fprintln(c.err, "akprox: --url is missing; write the absolute URL that a client asks for")
		return 2
	}
	doc, err := readDocument(*path)
	if err != nil {
		return c.fail(err)
	}
	a, err := check(ctx, doc, q)
	if err != nil {
		return c.fail(err)
	}
	a.print(c, q.json)
	if q.expect != "" && q.expect != a.Outcome {
		fmt.Fprintf(c.err, "akprox: expected %s, got %s\n", q.expect, a.Outcome)
		return 1
	}
	return 0
}

// verdict is what `akprox check` answers.
type verdict struct {
	Outcome     string            `json:"outcome"`
	Application string            `json:"application"`
	Rule        string            `json:"rule"`
	Line        int               `json:"line,omitempty"`
	Reason      string            `json:"reason"`
	Detail      string            `json:"detail,omitempty"`
	Location    string            `json:"location,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Readings    []string          `json:"readings,omitempty"`
}

// check decides q with the functions that the server decides with.
func check(ctx context.Context, doc *config.Document, q question) (verdict, error) {
	apps, err := standInApplications(doc, q)
	if err != nil {
		return verdict{}, err
	}
	r, err := q.request(doc)
	if err != nil {
		return verdict{}, err
	}
	app, decision := q.decide(ctx, apps, r)
	v := verdict{
		Outcome: decision.Outcome.String(), Rule: decision.Rule, Reason: string(decision.Reason), Location: decision.Location,
	}
	if decision.Err != nil {
		v.Detail = decision.Err.Error()
	}
	if r.Path.Len() > 1 {
		for i := range r.Path.Len() {
			v.Readings = append(v.Readings, r.Path.Reading(i))
		}
	}
	if app != nil {
		v.Application = app.Name
		i := slices.IndexFunc(doc.Applications, func(a config.Application) bool { return a.Name == app.Name })
		if strings.HasPrefix(v.Rule, "rules[") {
			v.Line = doc.Line(fmt.Sprintf("applications[%d].%s", i, v.Rule))
		}
	}
	if len(decision.Headers) > 0 {
		v.Headers = map[string]string{}
		for _, h := range decision.Headers {
			v.Headers[h.Name] = h.Values[0]
		}
	}
	return v, nil
}

func (q question) decide(ctx context.Context, apps *outpost.Applications, r *outpost.Request) (*outpost.Application, outpost.Decision) {
	if err := q.read(r); err != nil {
		return nil, outpost.Refuse(err)
	}
	app, err := apps.Find(r)
	if err != nil {
		return nil, outpost.Refuse(err)
	}
	return app, app.Decide(ctx, r)
}

// standInApplications compiles the document with credential kinds that answer
// the identity of q, whatever is presented.
func standInApplications(doc *config.Document, q question) (*outpost.Applications, error) {
	b := kinds.New(doc, version)
	opened := b.Open(nil)
	if err := b.Problems.Err(); err != nil {
		return nil, err
	}
	for name, o := range opened {
		o.Credential = func(*outpost.Application) outpost.Credential { return standIn{name, q} }
		if o.Issuer != nil {
			o.Issuer = readyIssuer{o.Issuer}
		}
		opened[name] = o
	}
	apps, problems := config.Compile(doc, config.Making{Providers: opened, Version: version})
	return apps, problems.Err()
}

// standIn vouches for the person of a question.
type standIn struct {
	provider string
	q        question
}

// Identify implements outpost.Credential.
func (s standIn) Identify(context.Context, *outpost.Request) (*outpost.Identity, error) {
	if s.q.user == "" && s.q.groups == "" && s.q.scopes == "" {
		return nil, outpost.ErrNoCredential
	}
	return &outpost.Identity{
		Subject: s.q.user, Username: s.q.user, Provider: s.provider,
		Groups: list(s.q.groups), Scopes: list(s.q.scopes),
	}, nil
}

// readyIssuer is an issuer that always answers.
type readyIssuer struct{ outpost.Issuer }

// Ready implements outpost.Issuer.
func (readyIssuer) Ready() error { return nil }

func list(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ',' })
}

// request makes a browser's navigation of q.
func (q question) request(doc *config.Document) (*outpost.Request, error) {
	r := &outpost.Request{Header: http.Header{}, Ways: outpost.WaysUnder(doc.Server.Prefix)}
	if q.ip != "" {
		client, err := netip.ParseAddr(q.ip)
		if err != nil {
			return nil, fmt.Errorf("--ip %q is no address, such as 198.51.100.7 or 2001:db8::7", q.ip)
		}
		r.Client = client.Unmap()
	}
	return r, nil
}

// read fills r in as a dialect would; what a dialect refuses, it refuses.
func (q question) read(r *outpost.Request) error {
	scheme, host, uri, err := canon.SplitURL(q.url)
	if err != nil {
		return err
	}
	r.Scheme, r.Host = scheme, host
	if r.Path, r.Query, err = canon.SplitURI(uri); err != nil {
		return err
	}
	r.Method, err = canon.Method(q.method)
	r.Navigation = r.Method == "GET" || r.Method == "HEAD"
	return err
}

func (v verdict) print(c *console, asJSON bool) {
	if asJSON {
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		_ = e.Encode(v)
		return
	}
	rule := v.Rule
	if v.Line > 0 {
		rule += fmt.Sprintf(" (line %d)", v.Line)
	}
	for _, line := range [][2]string{
		{"outcome", v.Outcome},
		{"reason", v.Reason},
		{"detail", v.Detail},
		{"application", v.Application},
		{"rule", rule},
		{"location", v.Location},
	} {
		if line[1] != "" {
			fmt.Fprintf(c.out, "%-12s %s\n", line[0], line[1])
		}
	}
	for _, r := range v.Readings {
		fmt.Fprintf(c.out, "read as      %s\n", r)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Headers)) {
		fmt.Fprintf(c.out, "header       %s: %s\n", name, v.Headers[name])
	}
}
