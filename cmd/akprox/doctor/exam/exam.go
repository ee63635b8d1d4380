package exam

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
	"github.com/akprox/akprox/cmd/akprox/doctor/finding"
	"github.com/akprox/akprox/cmd/akprox/doctor/told"
)

// Options is what the doctor is told.
type Options struct {
	URL     *url.URL          // a guarded page, absolute
	Resolve map[string]string // host:port to the address that is connected to
	TLS     *tls.Config       // what is believed; nil is the system's
	Metrics string            // base URL of the outpost's metrics listener; "" for none
	Proxy   string            // the name of the proxy's snippet; "" to recognise it

	Header         http.Header // of somebody who is known: Authorization, Cookie
	User, Password string      // for a sign-in page that is a plain form
	Echo           string      // a path where the program shows the headers that it got
	Listen         string      // where the doctor stands in the program's place

	Document Document
	Now      func() time.Time // nil is time.Now
}

// Document is what is known of the outpost's own settings. What its functions
// need and do not know, they leave empty.
type Document struct {
	Given    bool   // the operator's own document was read
	Prefix   string // of the outpost's pages
	InFront  bool   // proxy mode: the outpost itself is what is asked
	Headers  []string
	Expected func(u string) string                       // the outcome for nobody, as the document says
	Snippet  func(proxy string) string                   // what `akprox snippet` prints; "" when there is none
	Identity func(p Person) (headers map[string]string)  // what the program is to be told
	Covering func(host string) (domain string, any bool) // the cookie domain; whether there is any at all
}

// Person is who is signed in, as userinfo tells.
type Person struct {
	Subject  string   `json:"sub"`
	Username string   `json:"preferred_username"`
	Name     string   `json:"name"`
	Email    string   `json:"email"`
	Groups   []string `json:"groups"`
	Provider string   `json:"provider"`
}

// exam is one visit to the doctor.
type exam struct {
	Options
	*browser.Asker
	report *finding.Report
	check  *finding.Check // under way
	mark   string         // of this visit, in queries and headers

	asked, start, issuer *url.URL         // the page; where sign-in begins; the authorization request
	anonymous            browser.Answer   // to asked
	stand                *told.Stand      // in the program's place; nil without Listen
	somebody             *browser.Visitor // who has signed in
	skew                 []sample
}

// step is one check: what it is called, and what has to be good before.
type step struct {
	name  string
	needs []string
	run   func(*exam, context.Context)
}

func steps() []step {
	return []step{
		{"question", nil, (*exam).question},
		{"outpost", nil, (*exam).outpost},
		{"return address", []string{"question"}, (*exam).returnAddress},
		{"own pages", nil, (*exam).ownPages},
		{"forged URL", []string{"question", "return address"}, (*exam).forgedURL},
		{"method", []string{"question", "return address"}, (*exam).method},
		{"statuses", []string{"question", "return address"}, (*exam).statuses},
		{"large answers", []string{"question", "return address"}, (*exam).largeAnswers},
		{"start", []string{"question", "return address", "own pages"}, (*exam).begin},
		{"flow", []string{"start"}, (*exam).flow},
		{"issuer", []string{"start"}, (*exam).askIssuer},
		{"clocks", nil, (*exam).clocks},
		{"signed in", []string{"question", "return address", "own pages", "start", "flow", "issuer"}, (*exam).signedIn},
		{"caching", []string{"signed in"}, (*exam).caching},
		{"identity", []string{"signed in"}, (*exam).identity},
		{"forged identity", []string{"question"}, (*exam).forgedIdentity},
	}
}

// Run examines a site. The error says that nothing could be examined, such as
// a site that does not answer; what is wrong with one that does is in the
// report. It makes at most 60 requests of 10 seconds each.
func Run(ctx context.Context, o Options) (*finding.Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	e := &exam{
		Options: o, Asker: browser.New(o.Resolve, o.TLS), mark: "doctor-" + strings.ToLower(rand.Text()[:12]),
		report: &finding.Report{URL: browser.Shown(o.URL)},
	}
	defer e.Close()
	e.Allow(o.URL)
	if o.Listen != "" {
		stand, err := told.Listen(ctx, o.Listen, e.mark)
		if err != nil {
			return nil, fmt.Errorf("--listen: %w", err)
		}
		defer stand.Close()
		e.stand = stand
	}
	if err := e.reach(ctx); err != nil {
		return nil, err
	}
	for _, s := range steps() {
		e.step(ctx, s)
	}
	e.report.Requests = e.Sent()
	return e.report, ctx.Err()
}

func (e *exam) step(ctx context.Context, s step) {
	c := finding.Check{Name: s.name, State: finding.OK}
	for _, need := range s.needs {
		i := slices.IndexFunc(e.report.Checks, func(c finding.Check) bool { return c.Name == need })
		if i >= 0 && e.report.Checks[i].State != finding.OK {
			c.State, c.Note = finding.Unknown, "not checked: first "+need+" has to be good"
			break
		}
	}
	e.check = &c
	if c.State == finding.OK {
		s.run(e, ctx)
	}
	e.report.Checks = append(e.report.Checks, *e.check)
}

// reach asks for the page for the first time, and goes along when the proxy
// sends plain http to https.
func (e *exam) reach(ctx context.Context) error {
	u := *e.URL
	u.Fragment = ""
	if u.Path == "" {
		u.Path = "/"
	}
	u.RawQuery = strings.TrimPrefix(u.RawQuery+"&akprox="+e.mark+"&a=1%26b", "&")
	e.asked = &u
	a, err := e.Visitor().Browse(ctx, e.asked)
	if err == nil {
		if to := a.Next(); to != nil && u.Scheme == "http" && to.Scheme == "https" && to.Hostname() == u.Hostname() && to.Path == u.Path {
			e.asked = to
			e.Allow(to)
			a, err = e.Visitor().Browse(ctx, to)
		}
	}
	if err != nil {
		return fmt.Errorf("%s does not answer: %w%s", browser.Origin(e.asked), err, hint(err))
	}
	e.anonymous = a
	e.sample("the proxy", a)
	e.recognise(ctx, a)
	return nil
}

func hint(err error) string {
	var unknown *tls.CertificateVerificationError
	if errors.As(err, &unknown) {
		return " (--ca names the authority's certificate; --insecure believes any)"
	}
	return ""
}

// recognise tells the proxy by what it says of itself, else by how it asks.
func (e *exam) recognise(ctx context.Context, a browser.Answer) {
	server := strings.ToLower(a.Header.Get("Server") + " " + a.Header.Get("Via"))
	switch {
	case e.Proxy != "":
	case e.Document.InFront:
		e.Proxy = "akprox"
	case strings.Contains(server, "nginx"), strings.Contains(server, "openresty"):
		e.Proxy = "nginx"
	case strings.Contains(server, "caddy"):
		e.Proxy = "caddy"
	case strings.Contains(server, "envoy"):
		e.Proxy = "envoy"
	default:
		e.Proxy = e.dialect(ctx)
	}
	e.report.Proxy = e.Proxy
}

// find reports what is wrong; the same thing only once.
func (e *exam) find(id string, evidence ...string) {
	e.check.State = finding.Fault
	for _, f := range e.report.Findings() {
		if f.ID == id {
			e.check.State, e.check.Note = finding.Unknown, "as above: "+id
			return
		}
	}
	k := finding.Of(id)
	f := finding.Finding{ID: k.ID, Severity: k.Severity, What: k.What, Mend: k.Mend, Evidence: evidence}
	if k.Topic != "" && !e.Document.InFront && e.Document.Snippet != nil {
		f.Mend, f.Lines = f.Mend+e.whose(), finding.Pick(e.Document.Snippet(e.Proxy), e.Proxy, k.Topic)
	}
	e.check.Findings = append(e.check.Findings, f)
}

// whose says where the lines of a configuration come from.
func (e *exam) whose() string {
	if e.Proxy == "" {
		return " (The proxy does not say what it is: name it by --proxy, or see what akprox snippet prints.)"
	}
	return " (akprox snippet " + e.Proxy + " prints the whole configuration.)"
}

// good notes what is in order.
func (e *exam) good(format string, args ...any) { e.check.Note = fmt.Sprintf(format, args...) }

// unknown says why something was not checked, and what to do.
func (e *exam) unknown(format string, args ...any) {
	e.check.State, e.check.Note = finding.Unknown, "not checked: "+fmt.Sprintf(format, args...)
}

// query answers the page with more in its query.
func (e *exam) query(more string) *url.URL {
	u := *e.asked
	u.RawQuery += "&" + more
	return &u
}

// at answers an address of the sign-in's host.
func (e *exam) at(path string) *url.URL {
	u := &url.URL{Scheme: e.asked.Scheme, Host: e.asked.Host}
	if e.start != nil {
		u.Scheme, u.Host = e.start.Scheme, e.start.Host
	}
	u.Path, u.RawQuery, _ = strings.Cut(e.Document.Prefix+path, "?")
	return u
}

// passed reports whether a status means that the program was reached.
func passed(status int) bool { return status >= 200 && status < 300 }
