package exam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
	"github.com/akprox/akprox/cmd/akprox/doctor/told"
)

// wayToSee says how the doctor gets to see what the program is told.
const wayToSee = "what the program is told cannot be seen from here; give --echo PATH where it shows the headers that it got, or let --listen ADDRESS stand in its place"

// told answers the headers with which a request of v arrives at the program,
// as text; "" when it did not arrive.
func (e *exam) told(ctx context.Context, v *browser.Visitor, h http.Header) (text string, a browser.Answer, err error) {
	u := *e.asked
	if e.Echo != "" {
		u = url.URL{Scheme: u.Scheme, Host: u.Host}
		u.Path, u.RawQuery, _ = strings.Cut(e.Echo, "?")
	}
	a, err = v.Send(ctx, http.MethodGet, &u, browser.With(h, told.Mark, e.mark), "")
	switch {
	case err != nil:
	case e.stand != nil:
		text = e.stand.Taken()
	case passed(a.Status) && strings.Contains(a.Body, e.mark):
		text = a.Body
	}
	return text, a, err
}

// identity: does the program learn who is signed in?
func (e *exam) identity(ctx context.Context) {
	if e.Echo == "" && e.stand == nil {
		e.unknown(wayToSee)
		return
	}
	text, a, err := e.told(ctx, e.somebody, browser.Navigation())
	switch {
	case err != nil:
		e.unknown("%v", err)
		return
	case text == "":
		e.unknown("nothing was seen arriving: %s", a.Told())
		return
	}
	var missing []string
	for _, name := range e.expected(ctx) {
		if told.Value(text, name) == "" {
			missing = append(missing, name+" does not arrive")
		}
	}
	if len(missing) > 0 {
		e.find("identity-headers", missing...)
		return
	}
	if proto := told.Value(text, "X-Forwarded-Proto"); proto != "" && proto != e.asked.Scheme {
		e.find("forwarded-proto", "X-Forwarded-Proto is "+word(proto)+", and the browser uses "+e.asked.Scheme)
		return
	}
	e.good("the program is told who it is")
}

// expected answers the headers that have to have a value.
func (e *exam) expected(ctx context.Context) []string {
	p, ok := e.person(ctx)
	if !ok || e.Document.Identity == nil {
		return e.Document.Headers[:min(1, len(e.Document.Headers))]
	}
	var names []string
	for name, value := range e.Document.Identity(p) {
		if value != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// forgedIdentity: does what a client says about itself arrive?
func (e *exam) forgedIdentity(ctx context.Context) {
	if e.Echo == "" && e.stand == nil {
		e.unknown(wayToSee)
		return
	}
	arrived := false
	for _, v := range []*browser.Visitor{e.somebody, e.Visitor()} {
		if v == nil {
			continue
		}
		text, a, err := e.told(ctx, v, e.forged())
		if err != nil {
			e.unknown("%v", err)
			return
		}
		if text == "" && a.Status != http.StatusBadRequest {
			continue
		}
		arrived = true
		if strings.Contains(text, "forged-"+e.mark) {
			e.find("forged-identity", e.forgedNames(text))
			return
		}
	}
	if !arrived {
		e.unknown("nothing was seen arriving; sign in, or give an --echo path that is open to anyone")
		return
	}
	e.good("what a client says about who it is does not arrive")
}

func (e *exam) forged() http.Header {
	h := browser.Navigation()
	for _, name := range e.Document.Headers {
		for _, spelling := range told.Spellings(name) {
			h[spelling] = []string{"forged-" + e.mark}
		}
	}
	return h
}

// forgedNames says which of the made-up headers are in the text.
func (e *exam) forgedNames(text string) string {
	var names []string
	for _, name := range e.Document.Headers {
		for _, spelling := range told.Spellings(name) {
			line := regexp.MustCompile(`(?i)` + regexp.QuoteMeta(spelling) + `["']?\s*[:=][^\n]{0,20}forged-` + e.mark)
			if line.MatchString(text) {
				names = append(names, spelling)
			}
		}
	}
	const most = 4
	if n := len(names); n > most {
		names = append(names[:most], fmt.Sprintf("%d more", n-most))
	}
	return "what is made up arrives: " + strings.Join(names, ", ")
}

// caching: is what one person got shown to another?
func (e *exam) caching(ctx context.Context) {
	u := e.query("kept=1")
	first, err := e.somebody.Send(ctx, http.MethodGet, u, browser.With(browser.Navigation(), told.Mark, e.mark), "")
	if err != nil {
		e.unknown("%v", err)
		return
	}
	second, err := e.Visitor().Send(ctx, http.MethodGet, u, browser.With(browser.Navigation(), told.Mark, e.mark), "")
	switch to := second.Next(); {
	case err != nil:
		e.unknown("%v", err)
	case !passed(first.Status):
		e.unknown("the page answers %d", first.Status)
	case passed(second.Status):
		e.find("cached", fmt.Sprintf("somebody who has signed in asked for %s, and then nobody got it, too", browser.Shown(u)))
	case to == nil || !isStart(to):
		e.unknown("%s", second.Told())
	default:
		e.good("what a person got is not shown to the next")
	}
}
