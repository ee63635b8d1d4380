package signin

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/page"
)

// again is the option of a start URL that begins anew whatever was before.
const again = "again=1&"

// Start answers the handler of start, and of sign_in for applications that
// sign in at an issuer: it sends the browser there, to come back to rd.
func (s *SignIn) Start(prefix string) http.Handler {
	return s.serve(prefix, false, (*visit).start, http.MethodGet)
}

func (v *visit) start() {
	switch mode := v.r.Header.Get("Sec-Fetch-Mode"); {
	case prefetch(v.r.Header):
		v.w.WriteHeader(http.StatusNoContent)
		return
	case mode != "" && mode != "navigate":
		page.WriteJSON(v.w, http.StatusUnauthorized, outpost.SignIn.String(), string(outpost.ReasonNoSession), v.request)
		return
	}
	rd, options := askedFor(v.r.URL.RawQuery)
	anew := slices.Contains(strings.Split(options, "&"), "again=1")
	t := v.target(rd)
	switch {
	case t.app.SignIn == nil || t.app.SignIn.Issuer == nil:
		v.fail(t.app, noSignIn, nil, "")
	case !v.sameHost(t.app):
		// Only there can the cookies be set that the callback needs.
		v.redirect(v.startURL(t.app, optional(anew, again), t.url))
	case !anew && v.rounds(t) >= maxRounds:
		v.fail(t.app, looping, nil, v.startURL(t.app, again, t.url))
	default:
		v.enter(t, anew)
	}
}

// enter lets those who are signed in go on at once, and sends the others to
// the issuer.
func (v *visit) enter(t target, anew bool) {
	rec, err := v.current(t.app)
	if err != nil {
		v.fail(t.app, unavailable, err, "")
		return
	}
	if rec != nil && !anew {
		v.countRound(t)
		v.redirect(t.url)
		return
	}
	location, err := v.begin(t)
	switch {
	case errors.Is(err, errCrowded):
		v.fail(t.app, crowded, err, "")
	case errors.Is(err, errIssuer):
		v.fail(t.app, issuerDown, err, "")
	case err != nil:
		v.fail(t.app, unavailable, err, "")
	default:
		if anew {
			http.SetCookie(v.w, v.cookie(t.app, roundsName(t), "", -1))
		}
		v.record(t.app, started, nil)
		v.redirect(location)
	}
}

func optional(yes bool, s string) string {
	if yes {
		return s
	}
	return ""
}
