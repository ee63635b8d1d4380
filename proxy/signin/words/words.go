// Package words has what becomes of a request to sign in or out: in one word,
// which the log, the metric and the page all have, and explained to a person.
package words

import (
	"errors"
	"net/http"
)

// What became of a request, in the words of log, metric and page.
const (
	Started       = "started"               // on the way to the issuer
	SignedIn      = "signed_in"             // a session was made
	SignedOut     = "signed_out"            // a session was ended
	Everywhere    = "signed_out_everywhere" // all sessions of one person were
	IssuerOut     = "issuer_signed_out"     // sessions were ended because the issuer said so
	BadLogout     = "bad_logout_token"      // somebody said so whom nobody believes
	OldLogout     = "replayed_logout_token" // said before
	Ended         = "ended_meanwhile"       // signed out while signing in
	Unavailable   = "unavailable"           // the store could not be asked
	IssuerDown    = "issuer_unavailable"    // nor could the issuer
	Crowded       = "too_many_flows"        // too many sign-ins in progress
	Looping       = "sign_in_loop"          // signed in, and sent back to sign in, again and again
	BadCallback   = "bad_callback"          // a callback that no issuer sends
	UnknownState  = "unknown_state"         // its flow has ended, or never was
	CookieMissing = "cookie_missing"        // begun in another browser, or its cookie is gone
	Denied        = "issuer_denied"         // the issuer, or the person there, said no
	Unfinished    = "issuer_unfinished"     // the issuer needs something more from the person
	Misconfigured = "issuer_set_up"         // the issuer does not like how it is asked
	IssuerError   = "issuer_error"          // the issuer said something else
	NotAccepted   = "not_accepted"          // what the issuer granted is not good
	Changed       = "changed"               // the document has changed since it began
	NoSignIn      = "no_sign_in"            // the application has no sign-in

	WrongPassword = "wrong_password" // no such user, or another password
	Throttled     = "throttled"      // too many of them for this user or from this address
	FormExpired   = "form_expired"   // not the form that was shown to this browser
	BadForm       = "bad_form"       // not a form at all
	FormTooLarge  = "form_too_large" // longer than any such form
)

// All lists every word.
func All() []string {
	return []string{
		Started, SignedIn, SignedOut, Everywhere, IssuerOut, BadLogout, OldLogout, Ended, Unavailable, IssuerDown, Crowded, Looping, BadCallback, UnknownState, CookieMissing,
		Denied, Unfinished, Misconfigured, IssuerError, NotAccepted, Changed, NoSignIn,
		WrongPassword, Throttled, FormExpired, BadForm, FormTooLarge,
	}
}

// errUnknownCode is what the log gets of a code that is in no standard.
var errUnknownCode = errors.New("the issuer answered an unknown error code")

// issuerCode is a code of RFC 6749 4.1.2.1 or OpenID Connect Core 3.1.2.6.
type issuerCode string

// Error says which.
func (c issuerCode) Error() string { return "the issuer answered " + string(c) }

// Of sorts an issuer's error code. Nothing else of it is kept.
func Of(code string) (result string, err error) {
	switch code {
	case "access_denied":
		return Denied, issuerCode(code)
	case "login_required", "interaction_required", "account_selection_required", "consent_required":
		return Unfinished, issuerCode(code)
	case "temporarily_unavailable", "server_error":
		return IssuerDown, issuerCode(code)
	case "invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_request_uri",
		"invalid_request_object", "request_not_supported", "request_uri_not_supported", "registration_not_supported":
		return Misconfigured, issuerCode(code)
	}
	return IssuerError, errUnknownCode
}

// Said is what a person is told of a result that is not the wanted one.
type Said struct {
	Status            int
	Title, Lead, Next string
	Final             bool // there is nothing to try again
}

// Explain finds the words for a result.
func Explain(result string) Said {
	const tell = "tell the administrator and mention the request below."
	const often = "Begin again. If it happens every time, " + tell
	const later = "Try again in a few seconds. If it stays like this, " + tell
	const scheme = "external_url says https and the site is opened over http"
	say := func(status int, title, lead, next string) Said {
		return Said{Status: status, Title: title, Lead: lead, Next: next}
	}
	switch result {
	case Unavailable:
		return say(http.StatusServiceUnavailable, "Not available just now",
			"A service that is needed to sign in or out does not answer. Whoever is signed in stays so.", later)
	case IssuerDown:
		return say(http.StatusServiceUnavailable, "Sign-in is not available just now",
			"The service that people sign in with does not answer, or has a problem.", later)
	case Crowded:
		return say(http.StatusServiceUnavailable, "Too many people are signing in",
			"More sign-ins are in progress than can be kept.", later)
	case Looping:
		return say(http.StatusBadRequest, "Signing in goes round in circles",
			"You were signed in several times within a minute, and each time the application asked for it again: your browser does not send back the cookie that proves it.",
			"Allow cookies for this site and try again. If that does not help, "+tell+" Likely causes: "+scheme+
				"; cookie_domain does not cover this host; the web server in front drops cookies; several instances do not share a store; a clock is wrong.")
	case BadCallback:
		return say(http.StatusBadRequest, "This is not the end of a sign-in",
			"The address lacks what the sign-in service sends along, or it was changed on the way.", often)
	case CookieMissing:
		return say(http.StatusBadRequest, "This sign-in was begun elsewhere",
			"It was begun in another browser, or its cookie is gone. So that nobody is signed in as somebody else, it ends here.",
			"Begin again in this browser, with cookies allowed for this site. If it happens every time, "+tell+" Likely cause: "+scheme+".")
	case Denied:
		return say(http.StatusForbidden, "You were not signed in",
			"The sign-in service did not let you in, or you cancelled.", "Try again, perhaps with another account. If you should be let in, "+tell)
	case Unfinished:
		return say(http.StatusForbidden, "You were not signed in",
			"The sign-in service needs something more from you before it lets you in.", often)
	case Misconfigured:
		return say(http.StatusBadGateway, "You were not signed in",
			"The sign-in service does not accept the way in which it is asked. That is a mistake in the set-up and not yours.", "Please "+tell)
	case NotAccepted:
		return say(http.StatusForbidden, "The sign-in could not be accepted",
			"You came back from the sign-in service, but what it vouches for could not be accepted. The log has the cause.", often)
	case Ended:
		return say(http.StatusForbidden, "You were signed out meanwhile",
			"While you were signing in, this sign-in was ended: at the sign-in service, or because you signed out everywhere.",
			"If you want to go on, sign in again.")
	case Changed:
		return say(http.StatusConflict, "Sign-in has changed meanwhile",
			"The settings of this application have changed since you began to sign in.", often)
	case Throttled:
		return say(http.StatusTooManyRequests, "Too many attempts",
			"The password was wrong too often, for this user name or from where you are.",
			"Until then no password is looked at, not even the right one.")
	case BadForm:
		return say(http.StatusBadRequest, "This form could not be read",
			"What was sent is not what the sign-in page sends, or it was damaged on the way.", often)
	case FormTooLarge:
		return say(http.StatusRequestEntityTooLarge, "This form is too large",
			"What was sent is longer than any user name and password can be.", often)
	case NoSignIn:
		s := say(http.StatusNotFound, "There is no sign-in here",
			"This application lets people in by a key or a token; it has no page to sign in with.", "If you expected one, "+tell)
		s.Final = true
		return s
	}
	return say(http.StatusForbidden, "You were not signed in", "The sign-in service refused.", often)
}
