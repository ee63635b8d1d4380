package signin

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/signin/form"
	"github.com/akprox/akprox/proxy/signin/returnurl"
	"github.com/akprox/akprox/proxy/signin/words"
)

// Page answers the handler of the sign-in page: it asks for a user name and a
// password, and takes them. For applications that sign in at an issuer it is
// the same as Start.
func (s *SignIn) Page(e Endpoints) http.Handler {
	return s.serve(e, false, func(v *visit) {
		if v.r.Method == http.MethodPost {
			v.posted()
			return
		}
		v.start((*visit).showForm)
	}, http.MethodGet, http.MethodPost)
}

func (v *visit) showForm(t returnurl.Target, anew bool) {
	v.beginRounds(t, anew)
	v.ask(t, http.StatusOK, "", "")
}

// ask shows the form; alert is what was wrong with the one before.
func (v *visit) ask(t returnurl.Target, status int, alert, username string) {
	token := form.TokenFor(v.r)
	http.SetCookie(v.w, v.cookie(t.App, form.Cookie, token, form.Life))
	// Where the application sends people once they are in is its own business,
	// so the form's answer may lead anywhere.
	v.show(page.Page{
		Status: status, Title: "Sign in to " + t.App.Name, Lead: leadTo(t, v.host), Alert: alert,
		Form: &page.Form{
			Action: v.at.Post, Button: "Sign in", Leaves: true,
			Fields: []page.Field{
				{
					Name: v.at.Username, Label: "User name or e-mail address", Value: username, Max: form.MaxUsername,
					Autocomplete: "username", Focus: username == "",
				},
				{Name: form.Password, Label: "Password", Max: form.MaxPassword, Autocomplete: "current-password", Secret: true, Focus: username != ""},
				{Name: v.at.Back, Value: t.URL},
				{Name: form.Token, Value: token},
			},
		},
	})
}

// posted takes what was typed into the form.
func (v *visit) posted() {
	f, err := form.Read(v.r, v.at.Username, v.at.Back)
	if err != nil {
		v.unread(err)
		return
	}
	t := v.target(f.Back)
	switch {
	case t.App.SignIn == nil:
		v.fail(t.App, words.NoSignIn, nil, "")
	case t.App.SignIn.Passwords == nil || !v.sameHost(t.App):
		// Not the application that the form was for, or not any more.
		v.redirect(v.at.startURL(t.App, "", t.URL))
	case !form.Typed(v.r, v.host, f.Token):
		v.record(t.App, words.FormExpired, nil)
		v.ask(t, http.StatusForbidden, "Nothing was checked: the page had been open for too long, or this browser keeps no cookies for this site. Please sign in here.", "")
	default:
		v.check(t, f)
	}
}

// unread says why a form was not read.
func (v *visit) unread(err error) {
	word := words.BadForm
	if errors.Is(err, form.ErrTooLarge) {
		word = words.FormTooLarge
	}
	t := returnurl.Home(v.apps, v.host)
	v.fail(t.App, word, nil, v.at.startURL(t.App, "", t.URL))
}

// check answers a user name and a password. Whatever is wrong with them, the
// answer is the same.
func (v *visit) check(t returnurl.Target, f form.Form) {
	id, err := t.App.SignIn.Passwords.Check(v.ctx, f.Username, f.Password, v.Client(v.r))
	var throttled outpost.Throttled
	switch {
	case errors.As(err, &throttled):
		v.pause(t, throttled.Throttled())
	case errors.Is(err, outpost.ErrUnavailable):
		v.fail(t.App, words.Unavailable, err, v.at.startURL(t.App, "", t.URL))
	case err != nil || id == nil:
		v.record(t.App, words.WrongPassword, nil)
		v.ask(t, http.StatusUnauthorized, "The user name or the password is not right. Please try again.", f.Username)
	default:
		v.admit(t, id)
	}
}

// admit makes a session, always a new one.
func (v *visit) admit(t returnurl.Target, id *outpost.Identity) {
	if err := v.Sessions.Create(v.ctx, v.w, v.r, t.App, &outpost.Grant{Identity: id}); err != nil {
		v.fail(t.App, words.Unavailable, err, v.at.startURL(t.App, "", t.URL))
		return
	}
	http.SetCookie(v.w, v.cookie(t.App, form.Cookie, "", -1))
	v.countRound(t)
	v.record(t.App, words.SignedIn, nil)
	v.redirect(t.URL)
}

// pause tells how long nobody looks at passwords, for this user name or from
// this address.
func (v *visit) pause(t returnurl.Target, wait time.Duration) {
	v.record(t.App, words.Throttled, nil)
	v.w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	p := explain(words.Throttled, v.at.startURL(t.App, "", t.URL))
	p.Next = "Try again " + page.Soon(wait) + ". " + p.Next
	p.Links[0].Text = "Back to the sign-in"
	v.show(p)
}

// leadTo tells where the sign-in leads, where that is another host than the
// one that the browser shows.
func leadTo(t returnurl.Target, host string) string {
	if to := t.Host(); to != host {
		return "Afterwards you go on to " + to + "."
	}
	return ""
}
