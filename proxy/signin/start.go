package signin

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/signin/form"
	"github.com/akprox/akprox/proxy/signin/returnurl"
	"github.com/akprox/akprox/proxy/signin/words"
)

// again is the option of a start URL that begins anew whatever was before.
const again = "again=1&"

// Start answers the handler of start: it sends the browser to the issuer, or
// to the page that asks for a password, to come back to where it wanted to go.
func (s *SignIn) Start(e Endpoints) http.Handler {
	return s.serve(e, false, func(v *visit) { v.start((*visit).toPage) }, http.MethodGet)
}

// start brings people who are not signed in to the issuer; where there is
// none, password says what to do.
func (v *visit) start(password func(v *visit, t returnurl.Target, anew bool)) {
	if !v.navigates() {
		return
	}
	rd, options := returnurl.Asked(v.r.URL.RawQuery, v.at.Back)
	anew := slices.Contains(strings.Split(options, "&"), "again=1")
	t := v.target(rd)
	switch {
	case t.App.SignIn == nil:
		v.fail(t.App, words.NoSignIn, nil, "")
	case t.App.SignIn.Issuer != nil && v.at.Callback == "":
		v.redirect(v.Endpoints[0].startURL(t.App, optional(anew, again), t.URL))
	case !v.sameHost(t.App):
		// Only there can the cookies be set that the rest needs.
		v.redirect(v.at.startURL(t.App, optional(anew, again), t.URL))
	case !anew && v.rounds(t) >= maxRounds:
		v.fail(t.App, words.Looping, nil, v.at.startURL(t.App, again, t.URL))
	default:
		v.enter(t, anew, password)
	}
}

// enter lets those who are signed in go on at once.
func (v *visit) enter(t returnurl.Target, anew bool, password func(v *visit, t returnurl.Target, anew bool)) {
	rec, err := v.current(t.App)
	switch {
	case err != nil:
		v.fail(t.App, words.Unavailable, err, "")
	case rec != nil && !anew:
		v.countRound(t)
		v.redirect(t.URL)
	case t.App.SignIn.Issuer == nil:
		password(v, t, anew)
	default:
		v.toIssuer(t, anew)
	}
}

func (v *visit) toPage(t returnurl.Target, anew bool) {
	v.redirect(v.at.pageURL(t.App, optional(anew, again), t.URL))
}

func (v *visit) toIssuer(t returnurl.Target, anew bool) {
	location, err := v.begin(t)
	switch {
	case errors.Is(err, errCrowded):
		v.fail(t.App, words.Crowded, err, "")
	case errors.Is(err, errIssuer):
		v.fail(t.App, words.IssuerDown, err, "")
	case err != nil:
		v.fail(t.App, words.Unavailable, err, "")
	default:
		v.beginRounds(t, anew)
		v.record(t.App, words.Started, nil)
		// The page is seen while the issuer's takes its time. It does not hold
		// the location, which holds the state.
		v.w.Header().Set("Location", location)
		v.show(page.Page{
			Status: http.StatusFound, Title: "Signing in",
			Lead: "You are on your way to the sign-in page of " + t.App.Name + ".",
			Next: "If nothing happens, load this page again.",
		})
	}
}

// navigates reports whether a person goes to the address; a prefetch is
// answered with nothing, a script with JSON.
func (v *visit) navigates() bool {
	switch mode := v.r.Header.Get("Sec-Fetch-Mode"); {
	case form.Prefetch(v.r.Header):
		v.w.WriteHeader(http.StatusNoContent)
		return false
	case mode != "" && mode != "navigate":
		v.program = true
		v.refuse(outpost.Decision{Outcome: outpost.SignIn, Reason: outpost.ReasonNoSession})
		return false
	}
	return true
}

func optional(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}
