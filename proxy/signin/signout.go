package signin

import (
	"net/http"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/session"
)

// SignOut answers the handler of sign_out: it ends the sessions that the
// browser has on this host, and sends the person to the issuer's own sign-out
// where it has one. What another site may have caused only asks.
func (s *SignIn) SignOut(prefix string) http.Handler {
	return s.serve(prefix, false, (*visit).signOut, http.MethodGet, http.MethodHead, http.MethodPost)
}

// held is a live session on this host.
type held struct {
	app *outpost.Application
	rec *session.Record
}

func (v *visit) signOut() {
	if v.meant() {
		v.leave()
		return
	}
	found, err := v.sessions()
	switch {
	case err != nil:
		v.fail(nil, unavailable, err, "")
	case len(found) == 0:
		v.show(goodbye(v.signInAgain()))
	default:
		p := askSignOut(found[0].rec.Identity.Label(), v.prefix+"/sign_out", found[0].app.External.URL())
		if v.r.Method == http.MethodPost {
			p.Status = http.StatusForbidden // nothing was done
		}
		v.show(p)
	}
}

// meant reports whether the person in front of the browser wants to sign out:
// no other site has sent this request.
func (v *visit) meant() bool {
	site := v.r.Header.Get("Sec-Fetch-Site")
	ours := site == "same-origin" || site == "same-site"
	switch {
	case v.r.Method == http.MethodGet:
		return ours && v.r.Header.Get("Sec-Fetch-Mode") == "navigate" && !prefetch(v.r.Header)
	case v.r.Method != http.MethodPost:
		return false
	case site != "":
		return ours || site == "none"
	}
	// A browser that does not tell Sec-Fetch-Site (over plain HTTP none does)
	// tells the origin of what it posts. Ports do not make another site.
	_, host, uri, err := canon.SplitURL(v.r.Header.Get("Origin"))
	return err == nil && uri == "/" && canon.HostName(host) == canon.HostName(v.host)
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
// cookies, dead cookies too.
func (v *visit) leave() {
	var ended *held
	for _, app := range v.apps.OnHost(v.host) {
		rec, err := v.Sessions.End(v.ctx, v.w, v.r, app)
		if err != nil {
			v.w.Header().Del("Set-Cookie") // the browser keeps what it has, to try again
			v.fail(app, unavailable, err, "")
			return
		}
		if rec == nil {
			continue
		}
		v.record(app, signedOut, nil)
		if ended == nil && app.SignIn != nil && app.SignIn.Issuer != nil && app.SignIn.Provider == rec.Identity.Provider {
			ended = &held{app, rec}
		}
	}
	v.forgetRounds(home(v.apps, v.host))
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
	t := home(v.apps, v.host)
	if t.app.SignIn == nil {
		return ""
	}
	return t.url
}
