// Package finding has everything that the doctor can find, in words, with the
// lines of a configuration that mend it, and the report of them.
package finding

import "slices"

// Severity says how bad a finding is.
type Severity string

// The severities.
const (
	Danger Severity = "danger" // somebody gets in, or is taken for somebody else
	Broken Severity = "broken" // people cannot work
	Advice Severity = "advice" // it works, until something special comes
)

// Kind is one thing that can be wrong.
type Kind struct {
	ID         string
	Severity   Severity
	What, Mend string // one sentence each
	Topic      Topic  // which lines of the proxy's configuration mend it; "" for none
}

// Topic names the lines of a proxy's configuration that are about one thing.
type Topic string

// The topics.
const (
	AboutQuestion Topic = "question" // that the proxy asks
	AboutOriginal Topic = "original" // what it tells of the request
	AboutOwn      Topic = "own"      // the outpost's own pages
	AboutIdentity Topic = "identity" // who it is
	AboutStrip    Topic = "strip"    // what the client says about who it is
	AboutSignIn   Topic = "sign-in"  // 401 becomes a redirect
	AboutStatus   Topic = "status"   // the status that is meant
	AboutSize     Topic = "size"     // how large an answer may be
)

// Kinds lists everything that the doctor can find; docs/doctor.md explains
// each.
func Kinds() []Kind {
	return slices.Concat(ofTheQuestion(), ofTheAddress(), ofSignIn(), ofWhoItIs())
}

// ofTheQuestion lists what can be wrong with what comes of asking akprox.
func ofTheQuestion() []Kind {
	return []Kind{
		{
			"not-guarded", Danger, "The page is answered to somebody who has not signed in: the proxy does not ask akprox about it.",
			"Let the proxy ask akprox before it hands a request to the program.", AboutQuestion,
		},
		{
			"no-route", Broken, "The address answers 404, and it is not akprox that says so.",
			"Give the URL of a page that exists; if it does, the proxy has no site for this host.", "",
		},
		{
			"auth-unreachable", Broken, "The proxy asks, and does not get an answer of akprox that it can use.",
			"Correct the address of the auth endpoint: where akprox listens, and the path of this proxy's dialect.", AboutQuestion,
		},
		{
			"untrusted-peer", Broken, "akprox does not believe this proxy, because its address is not in server.trusted_proxies.",
			"Add the proxy's address to server.trusted_proxies; akprox's log has it.", "",
		},
		{
			"question-refused", Broken, "akprox refuses what the proxy asks, for a reason that has nothing to do with the person.",
			"Compare the proxy's configuration with the printed snippet; docs/troubleshooting.md explains the reason, which akprox's log has too.", AboutOriginal,
		},
		{
			"original-url", Broken, "akprox is not told which URL is asked for, so that rules about paths cannot be judged and people come back to another page.",
			"Let the proxy tell the original URL; with nginx, say server: { nginx_original_url: true } too.", AboutOriginal,
		},
		{
			"original-method", Broken, "akprox is not told the method, so that no rule about methods opens.",
			"Let the proxy tell the original method.", AboutOriginal,
		},
		{
			"forged-url", Danger, "akprox believes what the client itself says about the URL that it asks for.",
			"Let the proxy overwrite these headers with what it knows.", AboutOriginal,
		},
	}
}

// ofTheAddress lists what can be wrong with where the site is, and how answers are shown.
func ofTheAddress() []Kind {
	return []Kind{
		{
			"unknown-host", Broken, "akprox guards no application at this address.",
			"Write the host as the browser shows it, its port too, as external_url of an application.", "",
		},
		{
			"cookie-domain", Broken, "The session cookie does not reach this host.",
			"Set cookie_domain to a domain that this host lies under, and that is nobody's public suffix.", "",
		},
		{
			"scheme", Broken, "The site is opened by another scheme than external_url says, so that browsers keep no cookie of the sign-in or leave https.",
			"Open the site by the scheme of external_url; write https there when the proxy serves https.", "",
		},
		{
			"address", Broken, "People are sent back to another address than the one that they asked for.",
			"Write external_url as the browser shows the address: the same host and the same port.", "",
		},
		{
			"sign-in-redirect", Broken, "A person who has not signed in sees a bare 401 and is not sent to the sign-in.",
			"Let the proxy make a redirect of akprox's 401 and Location.", AboutSignIn,
		},
		{
			"status-mapping", Advice, "nginx shows 403 where akprox means 400, 404, 429 or 503.",
			"Let nginx return the status in X-Akprox-Status.", AboutStatus,
		},
		{
			"answer-size", Broken, "The proxy cannot take an answer of akprox with large headers: people with many groups, or with a long URL, get a 500 or 502.",
			"Raise the proxy's buffer for the headers of akprox's answers.", AboutSize,
		},
	}
}

// ofSignIn lists what can be wrong with signing in.
func ofSignIn() []Kind {
	return []Kind{
		{
			"own-paths", Broken, "akprox's own pages (start, callback and so on) do not reach akprox, so that nobody can sign in.",
			"Route everything under akprox's prefix to akprox, before the program's own routes.", AboutOwn,
		},
		{
			"own-paths-guarded", Broken, "akprox's own pages are not open to somebody who has not signed in, so that nobody can sign in.",
			"Leave everything under akprox's prefix open in the proxy: no sign-in of any kind before it.", AboutOwn,
		},
		{
			"cookies-dropped", Broken, "The cookie of a sign-in is lost on the way, so that no sign-in ends.",
			"Let the proxy pass Set-Cookie and Cookie unchanged under akprox's prefix.", AboutOwn,
		},
		{
			"sessions-not-shared", Broken, "A sign-in that one instance of akprox begins is unknown to another.",
			"Give all instances the same secret and one shared store, or run one instance.", "",
		},
		{
			"sign-in-loop", Broken, "Whoever has signed in is sent to sign in again.",
			"Let the proxy hand the client's Cookie header to akprox with every question.", AboutQuestion,
		},
		{
			"sign-in-refused", Broken, "The issuer let the person in, and akprox did not accept it.",
			"Look up the result in docs/troubleshooting.md; akprox's log has the cause.", "",
		},
		{
			"unavailable", Broken, "akprox answers, and cannot decide: its store or a provider cannot be asked.",
			"Look at /readyz and at the log: they name what does not answer.", "",
		},
		{
			"issuer-from-outpost", Broken, "akprox cannot reach the issuer, so that nobody can sign in.",
			"Let akprox reach the issuer; in a container, backchannel_url names the inner address.", "",
		},
		{
			"issuer-unreachable", Broken, "The issuer's sign-in page cannot be reached from this machine.",
			"Use an issuer address that browsers reach; an inner one belongs in backchannel_url.", "",
		},
		{
			"redirect-uri", Broken, "The issuer does not know the redirect URI.",
			"Register exactly the redirect URI in the evidence with the client at the issuer.", "",
		},
		{
			"issuer-refuses", Broken, "The issuer does not show its sign-in page and refuses how it is asked.",
			"Compare client_id, scopes and redirect URI with the client at the issuer; the issuer's log has the cause.", "",
		},
	}
}

// ofWhoItIs lists what can be wrong with clocks, caches, and what the program is told.
func ofWhoItIs() []Kind {
	return []Kind{
		{
			"clock", Broken, "Clocks differ by more than a minute, so that tokens and sessions seem to be expired or of the future.",
			"Set the clocks of all machines by NTP.", "",
		},
		{
			"cached", Danger, "An answer for one person is kept and shown to another.",
			"Turn caching off for the auth endpoint, for everything under akprox's prefix, and for guarded pages.", "",
		},
		{
			"identity-headers", Broken, "The program is not told who is signed in.",
			"Let the proxy hand akprox's identity headers on.", AboutIdentity,
		},
		{
			"forged-identity", Danger, "The program is told what the client itself says about who it is.",
			"Let the proxy remove these headers from the client's request, in every spelling.", AboutStrip,
		},
		{
			"forwarded-proto", Advice, "The program is told another scheme than the browser uses, and may write wrong links.",
			"Let the proxy set X-Forwarded-Proto to the scheme that the browser uses.", "",
		},
	}
}

// Of answers the kind of that id.
func Of(id string) Kind {
	for _, k := range Kinds() {
		if k.ID == id {
			return k
		}
	}
	return Kind{ID: id, Severity: Broken}
}
