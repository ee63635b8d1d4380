// Package check decides without a server: by the very functions that the
// server decides with, and credential kinds that vouch for whom the question
// names.
package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/config"
)

// Question is what is asked.
type Question struct {
	URL    string // absolute, as a client asks for it
	Method string
	User   string // who is signed in; nobody without it, Groups and Scopes
	Groups string // by commas
	Scopes string // by commas
	IP     string // the client's address; "" is not known
}

// Verdict is what is answered.
type Verdict struct {
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

// Decide decides q with the functions that the server decides with. apps are
// those of doc, compiled with providers that are Vouching.
func (q Question) Decide(ctx context.Context, doc *config.Document, apps *outpost.Applications) (Verdict, error) {
	r, err := q.request(doc)
	if err != nil {
		return Verdict{}, err
	}
	app, decision := q.judge(ctx, apps, r)
	v := Verdict{
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

func (q Question) judge(ctx context.Context, apps *outpost.Applications, r *outpost.Request) (*outpost.Application, outpost.Decision) {
	if err := q.read(r); err != nil {
		return nil, outpost.Refuse(err)
	}
	app, err := apps.Find(r)
	if err != nil {
		return nil, outpost.Refuse(err)
	}
	return app, app.Decide(ctx, r)
}

// Vouching answers providers whose credential kinds answer the person of q,
// whatever is presented, and whose issuers are ready.
func (q Question) Vouching(providers map[string]config.Opened) map[string]config.Opened {
	vouching := map[string]config.Opened{}
	for name, o := range providers {
		o.Credential = func(*outpost.Application) outpost.Credential { return standIn{name, q} }
		if o.Issuer != nil {
			o.Issuer = readyIssuer{o.Issuer}
		}
		vouching[name] = o
	}
	return vouching
}

// standIn vouches for the person of a question.
type standIn struct {
	provider string
	q        Question
}

// Identify implements outpost.Credential.
func (s standIn) Identify(context.Context, *outpost.Request) (*outpost.Identity, error) {
	if s.q.User == "" && s.q.Groups == "" && s.q.Scopes == "" {
		return nil, outpost.ErrNoCredential
	}
	return &outpost.Identity{
		Subject: s.q.User, Username: s.q.User, Provider: s.provider,
		Groups: list(s.q.Groups), Scopes: list(s.q.Scopes),
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
func (q Question) request(doc *config.Document) (*outpost.Request, error) {
	r := &outpost.Request{Header: http.Header{}, Ways: outpost.WaysUnder(doc.Server.Prefix)}
	if q.IP != "" {
		client, err := netip.ParseAddr(q.IP)
		if err != nil {
			return nil, fmt.Errorf("--ip %q is no address, such as 198.51.100.7 or 2001:db8::7", q.IP)
		}
		r.Client = client.Unmap()
	}
	return r, nil
}

// read fills r in as a dialect would; what a dialect refuses, it refuses.
func (q Question) read(r *outpost.Request) error {
	scheme, host, uri, err := canon.SplitURL(q.URL)
	if err != nil {
		return err
	}
	r.Scheme, r.Host = scheme, host
	if r.Path, r.Query, err = canon.SplitURI(uri); err != nil {
		return err
	}
	r.Method, err = canon.Method(q.Method)
	r.Navigation = r.Method == "GET" || r.Method == "HEAD" || r.Method == "" // as a dialect has it
	return err
}

// Print prints v for a person, or as JSON.
func (v Verdict) Print(w io.Writer, asJSON bool) {
	if asJSON {
		e := json.NewEncoder(w)
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
			fmt.Fprintf(w, "%-12s %s\n", line[0], line[1])
		}
	}
	for _, r := range v.Readings {
		fmt.Fprintf(w, "read as      %s\n", r)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Headers)) {
		fmt.Fprintf(w, "header       %s: %s\n", name, v.Headers[name])
	}
}
