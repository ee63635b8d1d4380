package signin

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/signin/returnurl"
	"github.com/akprox/akprox/proxy/signin/words"
)

// maxCode bounds a code in bytes.
const maxCode = 4 << 10

// Callback answers the handler that the issuer sends browsers back to.
func (s *SignIn) Callback(e Endpoints) http.Handler {
	return s.serve(e, false, (*visit).callback, http.MethodGet)
}

// reply is what the issuer told the browser to bring: a code, or why not.
type reply struct{ state, code, failure, issuer string }

func readReply(query string) (reply, bool) {
	if len(query) > canon.MaxURI {
		return reply{}, false
	}
	q, err := url.ParseQuery(query)
	if err != nil || len(q["state"]) != 1 || len(q["code"])+len(q["error"]) != 1 || len(q["iss"]) > 1 {
		return reply{}, false
	}
	a := reply{q.Get("state"), q.Get("code"), q.Get("error"), q.Get("iss")}
	return a, stateLike(a.state) && len(a.code) <= maxCode && (a.code != "" || a.failure != "")
}

// stateLike reports whether s may be a state of ours.
func stateLike(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) == stateLength
}

func (v *visit) callback() {
	a, ok := readReply(v.r.URL.RawQuery)
	if !ok {
		t := returnurl.Home(v.apps, v.host)
		v.fail(t.App, words.BadCallback, nil, v.at.startURL(t.App, "", t.URL))
		return
	}
	f, err := v.take(a.state)
	switch {
	case errors.Is(err, store.ErrNotFound):
		v.stale(a.state)
	case errors.Is(err, errForeign):
		app, t := v.destination(f)
		v.fail(app, words.CookieMissing, nil, v.at.startURL(t.App, "", t.URL))
	case err != nil:
		v.fail(nil, words.Unavailable, err, "")
	default:
		v.finish(f, a)
	}
}

// destination answers the application of a flow as it is now, nil when it has
// gone or changed its sign-in, and where the flow leads: its return URL is
// judged again, because the document may be another one by now.
func (v *visit) destination(f flow) (*outpost.Application, returnurl.Target) {
	var app *outpost.Application
	for _, a := range v.apps.All() {
		if a.Name == f.App && a.SignIn != nil && a.SignIn.Issuer != nil && a.SignIn.Provider == f.Provider && v.sameHost(a) {
			app = a
		}
	}
	t, ok := returnurl.Resolve(v.apps, v.own, v.host, f.ReturnURL)
	switch {
	case ok && (app == nil || t.App == app):
		return app, t
	case app != nil:
		return app, returnurl.Target{App: app, URL: app.External.URL()}
	}
	return nil, returnurl.Home(v.apps, v.host)
}

// stale answers a callback whose flow has ended: it was used before, or took
// too long. Nobody stays on an error for that.
func (v *visit) stale(state string) {
	t := returnurl.Home(v.apps, v.host)
	_, cookie := names(state)
	if len(v.r.CookiesNamed(cookie)) > 0 {
		http.SetCookie(v.w, v.cookie(t.App, cookie, "", -1))
	}
	for _, app := range v.apps.OnHost(v.host) {
		rec, err := v.current(app)
		if err != nil {
			v.fail(app, words.Unavailable, err, "")
			return
		}
		if rec != nil {
			v.record(app, words.UnknownState, nil)
			v.redirect(app.External.URL())
			return
		}
	}
	if v.rounds(t) >= maxRounds {
		v.fail(t.App, words.Looping, nil, v.at.startURL(t.App, again, t.URL))
		return
	}
	v.countRound(t)
	v.record(t.App, words.UnknownState, nil)
	v.redirect(v.at.startURL(t.App, "", t.URL))
}

// finish makes a session of the issuer's reply to a flow of this browser.
func (v *visit) finish(f flow, a reply) {
	app, t := v.destination(f)
	anew := v.at.startURL(t.App, "", t.URL)
	_, cookie := names(a.state)
	switch {
	case app == nil:
		v.fail(nil, words.Changed, nil, anew)
		return
	case a.code == "":
		http.SetCookie(v.w, v.cookie(app, cookie, "", -1))
		result, err := words.Of(a.failure)
		v.fail(app, result, err, anew)
		return
	}
	if named, ok := app.SignIn.Issuer.(interface{ IssuerURL() string }); ok && a.issuer != "" && a.issuer != named.IssuerURL() {
		http.SetCookie(v.w, v.cookie(app, cookie, "", -1))
		v.fail(app, words.NotAccepted, errMixUp, anew)
		return
	}
	grant, err := app.SignIn.Issuer.Exchange(v.ctx, f.query(a.state), a.code)
	if err == nil && (grant == nil || grant.Identity == nil) {
		err = errNobody
	}
	switch {
	case errors.Is(err, outpost.ErrUnavailable):
		v.fail(app, words.IssuerDown, err, anew)
		return
	case err != nil:
		http.SetCookie(v.w, v.cookie(app, cookie, "", -1))
		v.fail(app, words.NotAccepted, err, anew)
		return
	}
	if err := v.create(app, grant, f); err != nil {
		result := words.Unavailable
		if errors.Is(err, errEnded) {
			result = words.Ended
			http.SetCookie(v.w, v.cookie(app, cookie, "", -1))
		}
		v.fail(app, result, err, anew)
		return
	}
	http.SetCookie(v.w, v.cookie(app, cookie, "", -1))
	v.countRound(t)
	v.record(app, words.SignedIn, nil)
	v.redirect(t.URL)
}

var errMixUp = errors.New("the answer names another issuer than the one that was asked (RFC 9207)")

var errNobody = errors.New("the issuer granted a sign-in of nobody")
