package exam

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
)

// question: does the proxy ask, and does it understand the answer?
func (e *exam) question(ctx context.Context) {
	a := e.anonymous
	if to := a.Next(); to != nil && isStart(to) {
		e.start = to
		e.Allow(to)
		e.Document.Prefix = strings.TrimSuffix(to.Path, "/start")
		e.good("nobody sees the page without signing in; sign-in begins at %s", browser.Shown(to))
		return
	}
	reason := a.Reason()
	if reason == "" && a.Status >= 400 {
		reason = e.counted(ctx)
	}
	if reason != "" {
		e.byReason(reason, a)
		return
	}
	e.byStatus(ctx, a)
}

// isStart reports whether u is where a sign-in of akprox begins.
func isStart(u *url.URL) bool {
	return strings.HasSuffix(u.Path, "/start") && strings.Contains("&"+u.RawQuery, "&rd=")
}

// byReason is for an answer whose reason is known.
func (e *exam) byReason(reason string, a browser.Answer) {
	seen := fmt.Sprintf("%s: %d, reason %s", browser.Shown(a.URL), a.Status, reason)
	switch reason {
	case "untrusted_peer":
		e.find("untrusted-peer", seen)
	case "path_unknown":
		e.find("original-url", seen)
	case "unknown_host":
		e.unknownHost(seen)
	case "unknown_page":
		e.find("auth-unreachable", seen)
	case "issuer_unavailable":
		e.find("issuer-from-outpost", append([]string{seen}, e.notReady()...)...)
	case "unavailable", "internal_error":
		e.find("unavailable", append([]string{seen}, e.notReady()...)...)
	case "no_credential", "bad_credential":
		e.unknown("the application has no sign-in for people; what can be seen without a key is good (%s)", reason)
	case "rate_limit", "throttled":
		e.unknown("akprox answers 429; try again in a minute")
	case "gate_closed":
		e.unknown("the gate is closed for this machine's address; knock first")
	case "no_session":
		e.find("sign-in-redirect", seen)
	default:
		e.find("question-refused", seen)
	}
}

func (e *exam) unknownHost(seen string) {
	if e.Document.Covering != nil {
		if domain, any := e.Document.Covering(e.asked.Hostname()); any && domain == "" {
			e.find("cookie-domain", seen)
			return
		}
	}
	e.find("unknown-host", seen)
}

// byStatus is for an answer that does not say why: an answer of the proxy's
// own, or of the program.
func (e *exam) byStatus(ctx context.Context, a browser.Answer) {
	expected := ""
	if e.Document.Expected != nil {
		expected = e.Document.Expected(e.asked.String())
	}
	switch {
	case a.Status < 400 && expected == "allow":
		e.unknown("the document opens this page to anyone; give the URL of one that needs a sign-in")
	case a.Status < 400:
		e.find("not-guarded", a.Told())
	case a.Status == http.StatusUnauthorized && expected == "unauthorized":
		e.unknown("the application has no sign-in for people")
	case a.Status == http.StatusUnauthorized && a.Header.Get("Www-Authenticate") == "":
		e.find("sign-in-redirect", a.Told())
	case a.Status == http.StatusNotFound && e.Proxy == "nginx" && strings.Contains(a.Body, "<center>nginx"):
		e.unknownHost(a.Told() + ", from nginx itself")
	case a.Status == http.StatusNotFound:
		e.find("no-route", a.Told())
	case a.Status == http.StatusForbidden:
		e.bareRefusal(ctx, a)
	case a.Status == http.StatusTooManyRequests:
		e.unknown("the proxy answers 429; try again in a minute")
	case a.Status == http.StatusServiceUnavailable && e.Proxy == "nginx":
		e.find("unavailable", append([]string{a.Told()}, e.notReady()...)...)
	case a.Status >= 500:
		e.find("auth-unreachable", a.Told())
	default:
		e.find("question-refused", a.Told(), "behind nginx the reason is not shown: likely server.trusted_proxies, or a header sent twice; --metrics or the log has it")
	}
}

// bareRefusal is for nginx's own 403. Whoever can mend it by saying the URL
// itself has found that nginx does not say it.
func (e *exam) bareRefusal(ctx context.Context, a browser.Answer) {
	b, err := e.Visitor().Send(ctx, http.MethodGet, e.asked, browser.With(browser.Navigation(), "X-Original-Url", e.asked.String()), "")
	expected := ""
	if e.Document.Expected != nil {
		expected = e.Document.Expected(e.asked.String())
	}
	switch {
	case err == nil && b.Status != http.StatusForbidden:
		e.find("original-url", a.Told(), "with a made-up X-Original-URL: "+b.Told())
	case e.Proxy == "nginx" && expected == "sign_in":
		e.find("original-url", a.Told(), "the document sends nobody away from this page with 403")
	default:
		e.find("question-refused", a.Told())
	}
}

// returnAddress: does a person come back to the page that was asked for?
func (e *exam) returnAddress(context.Context) {
	_, rd, _ := strings.Cut("&"+e.start.RawQuery, "&rd=")
	if plain, err := url.QueryUnescape(rd); err == nil && !strings.Contains(rd, "://") {
		rd = plain
	}
	back, err := url.Parse(rd)
	if err != nil || back.Host == "" {
		e.find("original-url", "the return address is no URL")
		return
	}
	seen := fmt.Sprintf("asked for %s, sent back to %s", browser.Shown(e.asked), browser.Shown(back))
	switch {
	case back.Scheme != e.asked.Scheme:
		e.find("scheme", seen)
	case !browser.SameHost(back, e.asked):
		e.find("address", seen)
	case back.EscapedPath() != e.asked.EscapedPath() || back.RawQuery != e.asked.RawQuery:
		if back.EscapedPath() == e.asked.EscapedPath() {
			seen += ", with another query"
		}
		e.find("original-url", seen)
	case e.start.Scheme != e.asked.Scheme:
		e.find("scheme", "sign-in begins at "+browser.Shown(e.start))
	case e.Document.Covering != nil && e.uncovered():
	default:
		e.good("people come back to the page that they asked for")
	}
}

// uncovered looks whether a browser would keep a cookie for the domain.
func (e *exam) uncovered() bool {
	domain, _ := e.Document.Covering(e.asked.Hostname())
	if domain != "" && public(domain) {
		e.find("cookie-domain", domain+" is a public suffix: no browser keeps a cookie for it")
		return true
	}
	return false
}

// forgedURL: can a client name another URL than the one that it asks for? The
// URL that it names is one that akprox opens to everybody.
func (e *exam) forgedURL(ctx context.Context) {
	open := e.Document.Prefix + "/ping"
	absolute := browser.Origin(e.asked) + open
	tries := [][]string{
		{"X-Forwarded-Uri", open, "X-Forwarded-Host", e.asked.Host, "X-Forwarded-Proto", e.asked.Scheme, "X-Forwarded-Method", "GET"},
		{"X-Original-Url", absolute, "X-Original-Uri", open, "X-Original-Method", "GET"},
		{"X-Forwarded-Host", "doctor.invalid"},
		{"X_Forwarded_Uri", open, "X.Forwarded.Uri", open, "X_Original_Url", absolute, "X.Original.Url", absolute},
		{"Connection", "X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-Proto, X-Original-Url", "X-Forwarded-Uri", open},
	}
	for _, pairs := range tries {
		a, err := e.Visitor().Send(ctx, http.MethodGet, e.asked, browser.With(browser.Navigation(), pairs...), "")
		if err != nil {
			e.unknown("%v", err)
			return
		}
		to := a.Next()
		believed := to != nil && isStart(to) && to.String() != e.start.String()
		if passed(a.Status) || believed || a.Status == http.StatusNotFound {
			e.find("forged-url", fmt.Sprintf("with a made-up %s, %s", pairs[0], a.Told()))
			return
		}
	}
	e.good("what a client says about its URL changes nothing")
}

// method: OPTIONS is safe, and no browser goes to a page by it, so that akprox
// sends nobody to sign in for it, unless it does not know the method.
func (e *exam) method(ctx context.Context) {
	a, err := e.Visitor().Send(ctx, http.MethodOptions, e.asked, browser.Navigation(), "")
	switch to := a.Next(); {
	case err != nil:
		e.unknown("%v", err)
	case to != nil && isStart(to):
		e.find("original-method", "OPTIONS is sent to sign in, as only GET and HEAD are")
	default:
		e.good("akprox knows the method")
	}
}

// statuses: akprox refuses a control character in a path with 400.
func (e *exam) statuses(ctx context.Context) {
	u := *e.asked
	u.Path, u.RawPath = "/"+e.mark+"\x01", ""
	a, err := e.Visitor().Browse(ctx, &u)
	switch {
	case err != nil:
		e.unknown("%v", err)
	case a.Status == http.StatusForbidden && e.Proxy == "nginx":
		e.find("status-mapping", "a path that akprox refuses with 400 is answered 403")
	case passed(a.Status):
		e.find("not-guarded", a.Told())
	default:
		e.good("a malformed request is answered %d", a.Status)
	}
}

// largeAnswers asks for a long URL: akprox's answer repeats it, escaped, in a
// header of about 10 KB. So nobody has to sign in, and nothing is weakened.
func (e *exam) largeAnswers(ctx context.Context) {
	a, err := e.Visitor().Browse(ctx, e.query("long="+strings.Repeat("/", 3500)))
	switch to := a.Next(); {
	case err != nil:
		e.unknown("%v", err)
	case to != nil && isStart(to):
		e.good("headers of 10 KB go through")
	case a.Status >= 500:
		e.find("answer-size", fmt.Sprintf("when the headers of akprox's answer hold 10 KB, %s: %d", browser.Shown(e.asked), a.Status))
	default:
		e.unknown("a long URL is answered %d", a.Status)
	}
}
