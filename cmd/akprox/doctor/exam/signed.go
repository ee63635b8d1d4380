package exam

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
	"github.com/akprox/akprox/cmd/akprox/doctor/told"
)

// signedIn: does somebody who is known get through, every time?
func (e *exam) signedIn(ctx context.Context) {
	v := e.Visitor()
	switch {
	case len(e.Header) > 0:
		v.Header, v.Home = e.Header, browser.Origin(e.asked)
	case e.User != "":
		if !e.signIn(ctx, v) {
			return
		}
	default:
		e.unknown("nobody is signed in; give --user NAME with the password on standard input, or --cookie or --header with its value there")
		return
	}
	through, back := 0, 0
	for range 5 {
		a, err := v.Send(ctx, http.MethodGet, e.asked, browser.With(browser.Navigation(), told.Mark, e.mark), "")
		to := a.Next()
		switch {
		case err != nil:
			e.unknown("%v", err)
			return
		case to != nil && isStart(to):
			back++
		case a.Status == http.StatusInternalServerError && e.Proxy == "nginx" && strings.Contains(a.Body, "<center>nginx"):
			e.find("answer-size", "for somebody who is signed in nginx itself answers 500")
			return
		case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Reason() != "", a.Status >= 500:
			e.unknown("for this person, %s", a.Told())
			return
		default:
			through++
		}
	}
	e.loops(through, back, v)
}

func (e *exam) loops(through, back int, v *browser.Visitor) {
	seen := fmt.Sprintf("of %d requests with the session, %d were sent to sign in again", through+back, back)
	switch {
	case back == 0:
		e.somebody = v
		e.good("somebody who is known gets through, five times of five")
	case through > 0:
		e.find("sessions-not-shared", seen)
	case e.User != "":
		e.find("sign-in-loop", seen)
	default:
		e.unknown("what was given is not, or no longer, accepted")
	}
}

// person answers who is signed in, where akprox says so.
func (e *exam) person(ctx context.Context) (Person, bool) {
	var p Person
	a, err := e.somebody.Send(ctx, http.MethodGet, e.at("/userinfo"), browser.Program(), "")
	return p, err == nil && a.Status == http.StatusOK && json.Unmarshal([]byte(a.Body), &p) == nil
}

// signIn goes through the sign-in as far as it consists of plain forms; where
// it does not end, it has been reported.
func (e *exam) signIn(ctx context.Context, v *browser.Visitor) bool {
	typed := false
	a, err := v.Browse(ctx, e.start)
	for range 12 {
		if err != nil {
			e.unknown("the sign-in goes where the doctor does not: %v", err)
			return false
		}
		to := a.Next()
		switch {
		case to != nil && to.String() == e.asked.String():
			return e.arrived(a, v)
		case to != nil && isStart(to) && a.URL.Path == e.at("/callback").Path:
			e.find("sessions-not-shared", "the sign-in is unknown where it ends")
			return false
		case to != nil:
			a, err = v.Browse(ctx, to)
			continue
		case a.URL.Path == e.at("/callback").Path && browser.SameHost(a.URL, e.start):
			e.refused(a)
			return false
		}
		f := browser.FindForm(a)
		switch {
		case f == nil || !browser.SameOrigin(f.Action, a.URL) || !e.asksPasswords(a.URL):
			e.unknown("%s has no plain form; sign in with a browser, and give its %s cookie by --cookie", browser.Shown(a.URL), "akprox_…")
			return false
		case f.Password != "" && typed:
			e.unknown("%s does not accept the user name and the password", browser.Origin(a.URL))
			return false
		}
		typed = typed || f.Password != ""
		a, err = v.Send(ctx, http.MethodPost, f.Action, browser.With(browser.Navigation(), "Origin", browser.Origin(a.URL)), f.Filled(e.User, e.Password))
	}
	e.find("sign-in-loop", "the sign-in does not end")
	return false
}

// asksPasswords reports whether a password belongs there: at the issuer, or on
// akprox's own page, and never in the clear where sign-in began by https.
func (e *exam) asksPasswords(u *url.URL) bool {
	return e.issuer != nil && browser.SameOrigin(u, e.issuer) || browser.SameOrigin(u, e.start) && strings.HasPrefix(u.Path, e.Document.Prefix+"/")
}

// arrived looks at the answer that ends a sign-in.
func (e *exam) arrived(a browser.Answer, v *browser.Visitor) bool {
	switch {
	case !a.SetsCookie(sessionCookie):
		e.find("cookies-dropped", "no session cookie comes with "+browser.Shown(a.URL))
	case !v.HoldsCookie(e.asked, sessionCookie):
		e.find("cookie-domain", "a browser does not show the session cookie at "+browser.Shown(e.asked))
	default:
		return true
	}
	return false
}

// refused looks at a callback that did not lead on.
func (e *exam) refused(a browser.Answer) {
	switch reason := a.Reason(); {
	case reason == "cookie_missing":
		e.find("cookies-dropped", a.Told())
	case reason == "" && a.Status >= 500:
		e.find("answer-size", a.Told())
	default:
		e.find("sign-in-refused", a.Told())
	}
}
