package exam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
)

var (
	flowCookie    = regexp.MustCompile(`^akprox_flow_[0-9a-f]{8}$`)
	formCookie    = regexp.MustCompile(`^akprox_`)
	sessionCookie = regexp.MustCompile(`^akprox_[0-9a-f]{8}$`)
)

func public(domain string) bool {
	suffix, _ := publicsuffix.PublicSuffix(domain)
	return suffix == domain
}

// ownPages: each page is known by what only akprox answers there.
func (e *exam) ownPages(ctx context.Context) {
	if e.found("scheme") || e.found("address") {
		e.unknown("first the return address has to be good")
		return
	}
	v := e.Visitor()
	var bad []browser.Answer
	for _, page := range []struct {
		path string
		is   func(browser.Answer) bool
	}{
		{"/ping", func(a browser.Answer) bool { return a.Status == http.StatusNoContent }},
		{"/" + e.mark, func(a browser.Answer) bool { return a.Reason() == "unknown_page" }},
		{"/callback", func(a browser.Answer) bool { return a.Reason() != "" }},
		{"/static/favicon.svg", func(a browser.Answer) bool { return a.Status == http.StatusOK && strings.Contains(a.Body, "<svg") }},
		{"/userinfo", func(a browser.Answer) bool { return a.Reason() != "" }},
	} {
		h := browser.Program()
		if page.path == "/callback" {
			h = browser.Navigation()
		}
		a, err := v.Send(ctx, http.MethodGet, e.at(page.path), h, "")
		if err != nil {
			e.find("own-paths", fmt.Sprintf("%s: %v", browser.Shown(e.at(page.path)), err))
			return
		}
		if !page.is(a) {
			bad = append(bad, a)
		}
	}
	if len(bad) == 0 {
		e.good("%s/ answers, and it is akprox that does", browser.Shown(e.at("")))
		return
	}
	e.lostPages(bad)
}

func (e *exam) lostPages(bad []browser.Answer) {
	var seen []string
	closed, down := 0, 0
	for _, a := range bad {
		seen = append(seen, a.Told())
		to := a.Next()
		switch {
		case a.Status == http.StatusUnauthorized || a.Status == http.StatusForbidden || to != nil && isStart(to):
			closed++
		case a.Status >= 500:
			down++
		}
	}
	switch {
	case down == len(bad) && e.found("auth-unreachable"):
		e.unknown("akprox cannot be reached, as above")
	case closed == len(bad):
		e.find("own-paths-guarded", seen...)
	default:
		e.find("own-paths", seen...)
	}
}

func (e *exam) found(id string) bool {
	for _, f := range e.report.Findings() {
		if f.ID == id {
			return true
		}
	}
	return false
}

// begin: does start lead on, with a cookie, and each time anew?
func (e *exam) begin(ctx context.Context) {
	a, ok := e.startOnce(ctx, e.Visitor())
	if !ok {
		return
	}
	to := a.Next()
	form := to.Host == e.start.Host && strings.HasPrefix(to.Path, e.Document.Prefix+"/")
	if form { // the password page has no flow
		e.passwordPage(ctx, to)
		return
	}
	if !a.SetsCookie(flowCookie) {
		e.find("cookies-dropped", "no cookie comes with "+browser.Shown(e.start))
		return
	}
	again, ok := e.startOnce(ctx, e.Visitor())
	if !ok {
		return
	}
	if s := state(again.Next()); s != "" && s == state(to) {
		e.find("cached", "two people got the same answer at "+browser.Shown(e.start))
		return
	}
	e.issuer = to
	e.Allow(to)
	e.good("sign-in leads to %s", browser.Shown(to))
}

// startOnce begins a sign-in; where it does not lead on, it has been reported.
func (e *exam) startOnce(ctx context.Context, v *browser.Visitor) (browser.Answer, bool) {
	a, err := v.Browse(ctx, e.start)
	if err != nil {
		e.unknown("%v", err)
		return a, false
	}
	if to := a.Next(); to != nil && !isStart(to) {
		return a, true
	}
	switch reason := a.Reason(); {
	case reason == "issuer_unavailable":
		e.find("issuer-from-outpost", append([]string{a.Told()}, e.notReady()...)...)
	case reason == "unavailable", reason == "too_many_flows":
		e.find("unavailable", a.Told())
	case a.Next() != nil:
		e.find("own-paths-guarded", a.Told())
	default:
		e.find("own-paths", a.Told())
	}
	return a, false
}

func (e *exam) passwordPage(ctx context.Context, page *url.URL) {
	a, err := e.Visitor().Browse(ctx, page)
	switch {
	case err != nil:
		e.unknown("%v", err)
	case a.Status != http.StatusOK || !strings.Contains(a.Body, `type="password"`):
		e.find("own-paths", a.Told())
	case !a.SetsCookie(formCookie):
		e.find("cookies-dropped", "no cookie comes with "+browser.Shown(page))
	default:
		e.good("sign-in is akprox's own page")
	}
}

func state(u *url.URL) string {
	if u == nil {
		return ""
	}
	return u.Query().Get("state")
}

// flow begins sign-ins and ends each as an issuer does for somebody who
// cancels. Only the instance that knows the flow, and only with its cookie,
// answers that it was denied.
func (e *exam) flow(ctx context.Context) {
	if e.issuer == nil {
		e.good("there is none with akprox's own page")
		return
	}
	for range 3 {
		v := e.Visitor()
		a, ok := e.startOnce(ctx, v)
		if !ok {
			return
		}
		back, err := v.Browse(ctx, e.at("/callback?error=access_denied&state="+url.QueryEscape(state(a.Next()))))
		switch reason := back.Reason(); {
		case err != nil:
			e.unknown("%v", err)
			return
		case reason == "issuer_denied":
		case reason == "cookie_missing":
			e.find("cookies-dropped", "the cookie that start set does not come back to akprox: "+back.Told())
			return
		case back.Next() != nil, reason == "sign_in_loop":
			e.find("sessions-not-shared", "a sign-in that had just begun is unknown at "+browser.Shown(e.at("/callback")))
			return
		default:
			e.find("own-paths", back.Told())
			return
		}
	}
	e.good("a sign-in that begins here ends here, three times of three")
}
