package page

import (
	"net/http"
	"strconv"
	"time"

	"github.com/akprox/akprox/outpost"
)

// words is what a person is told: what happened, why, and what to do now.
type words struct {
	status            int
	title, lead, next string
}

const (
	askAccess   = "If you need it, ask the administrator for access and mention the request below."
	tellProxy   = "This is not your doing. Tell the administrator and mention the request below: the log says how to mend it."
	checkAddr   = "Check the address, or go back and follow the link again."
	noAccess    = "You have no access to this page"
	notReadable = "The request could not be understood"
)

// explain finds words for every outcome and reason.
func explain(d outpost.Decision) words {
	switch d.Outcome {
	case outpost.SignIn:
		return words{
			http.StatusUnauthorized, "Sign in to go on", "This page is for people who have signed in.",
			"You are sent back here afterwards.",
		}
	case outpost.Unauthorized:
		return unauthorized(d)
	case outpost.RateLimited:
		return words{
			http.StatusTooManyRequests, "Too many requests", "More requests came than are let through at a time.",
			"Try again " + Soon(d.Retry) + ".",
		}
	case outpost.Unavailable:
		return unavailable(d)
	case outpost.Malformed:
		return malformed(d)
	case outpost.UnknownHost:
		if d.Reason == outpost.ReasonUnknownPage {
			return words{http.StatusNotFound, "There is nothing here", "akprox has no such page.", checkAddr}
		}
		return words{
			http.StatusNotFound, "There is nothing here", "No application is set up for this address.",
			checkAddr + " If it should work, tell the administrator and mention the request below.",
		}
	}
	return forbidden(d)
}

// undelivered is for somebody who posted a form and is not signed in: a
// redirect to the sign-in would lose what it held without a word.
func undelivered() (title, lead, next string) {
	return "Sign in first", "You are not signed in, or not any more, so what you sent was not delivered.",
		"To keep what you wrote, go back and copy it. Then sign in, and send it again."
}

func forbidden(d outpost.Decision) words {
	who := ""
	if name := Called(d.Identity); name != "" {
		who = "You are signed in as " + name + ". "
	}
	w := words{status: http.StatusForbidden, title: noAccess, next: askAccess}
	switch d.Reason {
	case outpost.ReasonUser:
		w.lead = who + "Only certain people may open this page, and you are not one of them."
	case outpost.ReasonGroup:
		w.lead = who + "Only members of certain groups may open this page, and you are in none of them."
		w.next = "If you were added to a group just now, sign out and in again. Otherwise ask the administrator for access and mention the request below."
	case outpost.ReasonScope:
		w.lead = who + "What you use to get in lacks a permission that this page needs."
	case outpost.ReasonCredential:
		w.lead = who + "This page needs another way of signing in than the one you used."
	case outpost.ReasonClientUnknown:
		w.lead = "Access depends on where you are, and your network address could not be told."
		w.next = tellProxy
	case outpost.ReasonPathUnknown:
		w.lead = "Access depends on the page you asked for, and the web server in front did not pass that on."
		w.next = tellProxy
	case outpost.ReasonInternal:
		w.title, w.lead = "Something went wrong", "The check of your request failed because of a fault of ours, so it was refused."
		w.next = "Try again. If it stays like this, tell the administrator and mention the request below."
	case outpost.ReasonNobody:
		w.lead = "Nobody may open this page; its rules keep it closed."
		w.next = "If you expected something else, tell the administrator and mention the request below."
	default:
		w.lead = who + "The rules of this application do not let this request through."
	}
	return w
}

// Called answers what to call somebody: the name, and the user name with it;
// "" when that would fill the page.
func Called(id *outpost.Identity) string {
	label := id.Label()
	if label != "" && id.Name != "" && id.Name != label {
		label = id.Name + " (" + label + ")"
	}
	if len(label) > 128 {
		return ""
	}
	return label
}

func unauthorized(d outpost.Decision) words {
	w := words{
		http.StatusUnauthorized, "You are not signed in", "This page needs a key or a token, and there is no page to sign in with.",
		"Use the key or token that you were given. If you have none, ask the administrator and mention the request below.",
	}
	if d.Reason == outpost.ReasonGate {
		w.title = "Your address is not admitted"
		w.lead = "This page opens to addresses that have knocked, and yours has not, or its time is over."
		w.next = "Knock with the key that you were given, and load the page again. If you have none, ask the administrator."
		return w
	}
	if d.Reason == outpost.ReasonBadCredential {
		w.title = "You were not let in"
		w.lead = "The key, token or password that came with the request is wrong, has expired or was withdrawn."
		w.next = "Check it and try again. If it should work, ask the administrator and mention the request below."
	}
	return w
}

func unavailable(d outpost.Decision) words {
	w := words{
		http.StatusServiceUnavailable, "Not available just now", "A service that is needed to check your request does not answer.",
		"You stay signed in. Try again " + Soon(d.Retry) + ".",
	}
	if d.Reason == outpost.ReasonIssuer {
		w.title, w.lead = "Sign-in is not available just now", "The service that people sign in with does not answer."
		w.next = "Try again " + Soon(d.Retry) + "."
	}
	return w
}

func malformed(d outpost.Decision) words {
	w := words{http.StatusBadRequest, notReadable, "", checkAddr}
	switch d.Reason {
	case outpost.ReasonUntrustedPeer, outpost.ReasonMissingHeader, outpost.ReasonBadScheme:
		w.lead = "The web server in front did not pass the request on in the way that was agreed, so it was refused."
		w.next = tellProxy
	case outpost.ReasonRepeatedHeader, outpost.ReasonHeaderTwin, outpost.ReasonSpoofedIdentity:
		w.lead = "The request carried a header that only the web server in front may set, so it was refused."
		w.next = "If you use a program or an extension that adds headers, turn it off. Otherwise tell the administrator and mention the request below."
	case outpost.ReasonOversized:
		w.lead = "The address, or something else in the request, is longer than anything that is accepted."
	case outpost.ReasonMethodNotAllowed:
		w.status, w.lead = http.StatusMethodNotAllowed, "This address cannot be used in this way."
	case outpost.ReasonBadHost:
		w.lead = "The name of the site in the request is not one that can exist."
	case outpost.ReasonBadMethod:
		w.lead = "The program that you use asked in a way that does not exist."
	default: // the address, in one way or another
		w.lead = "The address holds characters that not every server reads in the same way, so it was refused."
	}
	return w
}

// Soon says in words how long to wait.
func Soon(d time.Duration) string {
	switch s := int((d + time.Second - 1) / time.Second); {
	case s <= 1:
		return "in a moment"
	case s < 120:
		return "in " + strconv.Itoa(s) + " seconds"
	default:
		return "in " + strconv.Itoa((s+59)/60) + " minutes"
	}
}
