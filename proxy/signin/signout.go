package signin

import (
	"net/http"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/signin/form"
	"github.com/akprox/akprox/proxy/signin/returnurl"
	"github.com/akprox/akprox/proxy/signin/words"
)

// SignOut answers the handler of sign_out: it ends the sessions that the
// browser has on this host, and sends the person to the issuer's own sign-out
// where it has one. What another site may have caused only asks. With
// everywhere=1 it ends all sessions of the person; a link with that only asks.
func (s *SignIn) SignOut(e Endpoints) http.Handler {
	return s.serve(e, false, (*visit).signOut, http.MethodGet, http.MethodHead, http.MethodPost)
}

// held is a live session on this host.
type held struct {
	app *outpost.Application
	rec *session.Record
}

func (v *visit) signOut() {
	everywhere := v.everywhere()
	if v.meant() && (v.r.Method == http.MethodPost || !everywhere) {
		v.leave(everywhere)
		return
	}
	found, err := v.sessions()
	switch {
	case err != nil:
		v.fail(nil, words.Unavailable, err, "")
	case len(found) == 0:
		v.show(goodbye(v.signInAgain()))
	default:
		p := askSignOut(page.Called(found[0].rec.Identity), v.at.SignOut, found[0].app.External.URL())
		if v.r.Method == http.MethodPost {
			p.Status = http.StatusForbidden // nothing was done
		}
		v.show(p)
	}
}

// meant reports whether the person in front of the browser wants to sign out:
// no other site has sent this request.
func (v *visit) meant() bool {
	from := form.Site(v.r, v.host)
	switch v.r.Method {
	case http.MethodGet:
		return (from == form.SameOrigin || from == form.SameSite) && v.r.Header.Get("Sec-Fetch-Mode") == "navigate" && !form.Prefetch(v.r.Header)
	case http.MethodPost:
		return from != form.CrossSite
	}
	return false
}

// sessions answers the live sessions that the browser has on this host.
func (v *visit) sessions() ([]held, error) {
	var found []held
	for _, app := range v.apps.OnHost(v.host) {
		rec, err := v.current(app)
		if err != nil {
			return nil, err
		}
		if rec != nil {
			found = append(found, held{app, rec})
		}
	}
	return found, nil
}

// leave ends every session that the browser has on this host, records and
// cookies, dead cookies too; everywhere, those of the same people wherever
// they are.
func (v *visit) leave(everywhere bool) {
	var ended *held
	if everywhere {
		var err error
		if ended, err = v.leaveEverywhere(); err != nil {
			v.fail(nil, words.Unavailable, err, "")
			return
		}
	}
	for _, app := range v.apps.OnHost(v.host) {
		rec, err := v.Sessions.End(v.ctx, v.w, v.r, app)
		if err != nil {
			v.w.Header().Del("Set-Cookie") // the browser keeps what it has, to try again
			v.fail(app, words.Unavailable, err, "")
			return
		}
		if rec == nil {
			continue
		}
		v.record(app, words.SignedOut, nil)
		if ended == nil && app.SignIn != nil && app.SignIn.Issuer != nil && app.SignIn.Provider == rec.Identity.Provider {
			ended = &held{app, rec}
		}
	}
	v.forgetRounds(returnurl.Home(v.apps, v.host))
	if location := v.endSession(ended); location != "" {
		v.redirect(location)
		return
	}
	v.show(goodbye(v.signInAgain()))
}

// endSession answers where the issuer ends its own session; "" when it does
// not. Here the session has ended already, whatever the issuer says.
func (v *visit) endSession(h *held) string {
	if h == nil {
		return ""
	}
	location, err := h.app.SignIn.Issuer.EndSessionURL(v.ctx, h.rec.Identity.IDToken, h.app.SignIn.AfterSignOut)
	if err != nil {
		v.Log.WithFields(map[string]any{"application": h.app.Name, "request": v.request}).WithError(err).Warn("sign-out at the issuer")
		return ""
	}
	return location
}

func (v *visit) signInAgain() string {
	t := returnurl.Home(v.apps, v.host)
	if t.App.SignIn == nil {
		return ""
	}
	return t.URL
}

// askSignOut asks whether somebody wants to sign out; stay is where to else.
func askSignOut(label, action, stay string) page.Page {
	if label != "" {
		label = " as " + label
	}
	return page.Page{
		Status: http.StatusOK, Title: "Sign out?", Lead: "You are signed in" + label + ".",
		Form: &page.Form{
			Action: action, Button: "Sign out", Leaves: true,
			Other: &page.Choice{
				Name: everywhereField, Value: "1", Button: "Sign out everywhere",
				Hint: "Lost a device, or used one that is not yours? This ends your sessions in all browsers and in all applications here.",
			},
		},
		Links: []page.Link{{Text: "Stay signed in", URL: stay}},
	}
}

// goodbye says that nobody is signed in; anew is where to sign in, or "".
func goodbye(anew string) page.Page {
	p := page.Page{Status: http.StatusOK, Title: "You are signed out", Lead: "This browser has no session here any more."}
	if anew != "" {
		p.Links = []page.Link{{Text: "Sign in again", URL: anew}}
	}
	return p
}
