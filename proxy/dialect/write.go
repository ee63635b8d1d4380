package dialect

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/page"
)

// statusOf answers the HTTP status of an outcome. Whatever is not an Allow is
// no 2xx, unknown outcomes included.
func statusOf(o outpost.Outcome) int {
	switch o {
	case outpost.Allow:
		return http.StatusOK
	case outpost.SignIn, outpost.Unauthorized:
		return http.StatusUnauthorized
	case outpost.RateLimited:
		return http.StatusTooManyRequests
	case outpost.Unavailable:
		return http.StatusServiceUnavailable
	case outpost.Malformed:
		return http.StatusBadRequest
	case outpost.UnknownHost:
		return http.StatusNotFound
	case outpost.Forbidden:
	}
	return http.StatusForbidden
}

// Header values that every answer shares; nobody writes to them.
var (
	notStored = []string{"no-store"}
	noContent = []string{"0"}
	plainText = []string{"text/plain; charset=utf-8"}
	noSniff   = []string{"nosniff"}
)

func noStore(h http.Header) { h["Cache-Control"] = notStored }

func setIdentity(h http.Header, headers []outpost.Header) {
	for _, header := range headers {
		h[header.Name] = header.Values
	}
}

func challenge(h http.Header, a Answer) {
	if a.Challenge != "" {
		h["Www-Authenticate"] = []string{a.Challenge}
	}
}

func retryAfter(h http.Header, a Answer) {
	if a.Retry > 0 {
		h["Retry-After"] = []string{strconv.Itoa(seconds(a.Retry))}
	}
}

// rateLimit tells how a limit stands (draft-ietf-httpapi-ratelimit-headers).
func rateLimit(h http.Header, a Answer) {
	if l := a.Limit; l.Limit > 0 {
		h["Ratelimit-Policy"] = []string{fmt.Sprintf(`"default";q=%d;w=%d`, l.Limit, seconds(l.Window))}
		h["Ratelimit"] = []string{fmt.Sprintf(`"default";r=%d;t=%d`, l.Remaining, seconds(l.Reset))}
	}
}

// seconds rounds up: whoever waits that long has waited long enough.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// writeForwarded writes the answer for proxies that hand every refusal to the
// client as it is.
func writeForwarded(w http.ResponseWriter, r *http.Request, a Answer) {
	h := w.Header()
	noStore(h)
	rateLimit(h, a)
	navigation := a.Request != nil && a.Request.Navigation
	switch {
	case a.Outcome == outpost.Allow:
		setIdentity(h, a.Headers)
		h["Content-Length"] = noContent
		w.WriteHeader(http.StatusOK)
	case a.Outcome == outpost.SignIn && navigation:
		h["Location"] = []string{a.Location}
		h["Content-Length"] = noContent
		w.WriteHeader(http.StatusFound)
	default:
		challenge(h, a)
		retryAfter(h, a)
		Refuse(w, r, a)
	}
}

// Refuse writes the body of a refusal in the form that the client reads: a
// page for a person, JSON for a program that asks for it, else one line.
func Refuse(w http.ResponseWriter, r *http.Request, a Answer) {
	status := statusOf(a.Outcome)
	switch {
	case a.Request != nil && a.Request.Page:
		p := page.Refusal(a.Decision, a.Request, a.RequestID)
		p.Status = status
		page.Write(w, r, a.Prefix, p)
	case a.Request != nil && a.Request.JSON:
		page.WriteJSON(w, status, a.Outcome.String(), string(a.Reason), a.RequestID)
	default:
		h := w.Header()
		h["Content-Type"], h["X-Content-Type-Options"] = plainText, noSniff
		w.WriteHeader(status)
		_, _ = io.WriteString(w, oneLine(a.Outcome.String(), string(a.Reason))+" (request "+a.RequestID+")\n")
	}
}

// oneLine joins an outcome and its reason, which are one word at times.
func oneLine(outcome, reason string) string {
	if outcome == reason {
		return outcome
	}
	return outcome + ": " + reason
}
