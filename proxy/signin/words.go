package signin

import (
	"errors"
	"net/http"

	"github.com/akprox/akprox/proxy/page"
)

// What became of a request, in the words of log, metric and page.
const (
	started       = "started"            // on the way to the issuer
	signedIn      = "signed_in"          // a session was made
	signedOut     = "signed_out"         // a session was ended
	unavailable   = "unavailable"        // the store could not be asked
	issuerDown    = "issuer_unavailable" // nor could the issuer
	crowded       = "too_many_flows"     // too many sign-ins in progress
	looping       = "sign_in_loop"       // signed in, and sent back to sign in, again and again
	badCallback   = "bad_callback"       // a callback that no issuer sends
	unknownState  = "unknown_state"      // its flow has ended, or never was
	cookieMissing = "cookie_missing"     // begun in another browser, or its cookie is gone
	denied        = "issuer_denied"      // the issuer, or the person there, said no
	unfinished    = "issuer_unfinished"  // the issuer needs something more from the person
	misconfigured = "issuer_set_up"      // the issuer does not like how it is asked
	issuerError   = "issuer_error"       // the issuer said something else
	notAccepted   = "not_accepted"       // what the issuer granted is not good
	changed       = "changed"            // the document has changed since it began
	noSignIn      = "no_sign_in"         // the application has no sign-in
)

// Results lists the words of every result.
func Results() []string {
	return []string{
		started, signedIn, signedOut, unavailable, issuerDown, crowded, looping, badCallback, unknownState, cookieMissing,
		denied, unfinished, misconfigured, issuerError, notAccepted, changed, noSignIn,
	}
}

// errUnknownCode is what the log gets of a code that is in no standard.
var errUnknownCode = errors.New("the issuer answered an unknown error code")

// issuerCode is a code of RFC 6749 4.1.2.1 or OpenID Connect Core 3.1.2.6.
type issuerCode string

// Error says which.
func (c issuerCode) Error() string { return "the issuer answered " + string(c) }

// resultOf sorts an issuer's error code. Nothing else of it is kept.
func resultOf(code string) (result string, err error) {
	switch code {
	case "access_denied":
		return denied, issuerCode(code)
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		return unfinished, issuerCode(code)
	case "temporarily_unavailable", "server_error":
		return issuerDown, issuerCode(code)
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_request_uri",
		"invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported":
		return misconfigured, issuerCode(code)
	}
	return issuerError, errUnknownCode
}

// explain answers the page of a result that is not the wanted one. Its link
// leads to anew, where "" is the address of the page itself.
func explain(result, anew string) page.Page {
	const tell = "tell the administrator and mention the request below."
	const often = "Begin again. If it happens every time, " + tell
	const later = "Try again in a few seconds. If it stays like this, " + tell
	const scheme = "external_url says https and the site is opened over http"
	say := func(status int, title, lead, next string) page.Page {
		return page.Page{
			Status: status, Title: title, Lead: lead, Next: next, Reason: result,
			Links: []page.Link{{Text: "Try again", URL: anew}},
		}
	}
	switch result {
	case unavailable:
		return say(http.StatusServiceUnavailable, "Not available just now",
			"A service that is needed to sign in or out does not answer. Whoever is signed in stays so.", later)
	case issuerDown:
		return say(http.StatusServiceUnavailable, "Sign-in is not available just now",
			"The service that people sign in with does not answer, or has a problem.", later)
	case crowded:
		return say(http.StatusServiceUnavailable, "Too many people are signing in",
			"More sign-ins are in progress than can be kept.", later)
	case looping:
		return say(http.StatusBadRequest, "Signing in goes round in circles",
			"You were signed in several times within a minute, and each time the application asked for it again: your browser does not send back the cookie that proves it.",
			"Allow cookies for this site and try again. If that does not help, "+tell+" Likely causes: "+scheme+
				"; cookie_domain does not cover this host; the web server in front drops cookies; several instances do not share a store; a clock is wrong.")
	case badCallback:
		return say(http.StatusBadRequest, "This is not the end of a sign-in",
			"The address lacks what the sign-in service sends along, or it was changed on the way.", often)
	case cookieMissing:
		return say(http.StatusBadRequest, "This sign-in was begun elsewhere",
			"It was begun in another browser, or its cookie is gone. So that nobody is signed in as somebody else, it ends here.",
			"Begin again in this browser, with cookies allowed for this site. If it happens every time, "+tell+" Likely cause: "+scheme+".")
	case denied:
		return say(http.StatusForbidden, "You were not signed in",
			"The sign-in service did not let you in, or you cancelled.", "Try again, perhaps with another account. If you should be let in, "+tell)
	case unfinished:
		return say(http.StatusForbidden, "You were not signed in",
			"The sign-in service needs something more from you before it lets you in.", often)
	case misconfigured:
		return say(http.StatusBadGateway, "You were not signed in",
			"The sign-in service does not accept the way in which it is asked. That is a mistake in the set-up and not yours.", "Please "+tell)
	case notAccepted:
		return say(http.StatusForbidden, "The sign-in could not be accepted",
			"You came back from the sign-in service, but what it vouches for could not be accepted. The log has the cause.", often)
	case changed:
		return say(http.StatusConflict, "Sign-in has changed meanwhile",
			"The settings of this application have changed since you began to sign in.", often)
	case noSignIn:
		p := say(http.StatusNotFound, "There is no sign-in here",
			"This application lets people in by a key or a token; it has no page to sign in with.", "If you expected one, "+tell)
		p.Links = nil
		return p
	}
	return say(http.StatusForbidden, "You were not signed in", "The sign-in service refused.", often)
}

// askSignOut asks whether somebody wants to sign out; stay is where to else.
func askSignOut(label, action, stay string) page.Page {
	if label != "" {
		label = " as " + label
	}
	return page.Page{
		Status: http.StatusOK, Title: "Sign out?", Lead: "You are signed in" + label + ".",
		Form:  &page.Form{Action: action, Button: "Sign out", Leaves: true},
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
