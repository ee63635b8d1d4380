package exam

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
)

// askIssuer goes where a browser is sent to sign in. An issuer that does not
// accept how it is asked answers an error page there, as it must not redirect
// (RFC 6749 4.1.2.1), or redirects back with an error.
func (e *exam) askIssuer(ctx context.Context) {
	if e.issuer == nil {
		e.good("there is none: akprox's own page signs people in")
		return
	}
	v, at := e.Visitor(), e.issuer
	redirect := "redirect URI " + e.issuer.Query().Get("redirect_uri")
	for range 8 {
		a, err := v.Browse(ctx, at)
		if err != nil {
			e.find("issuer-unreachable", fmt.Sprintf("%s: %v", browser.Shown(at), err))
			return
		}
		e.sample("the issuer", a)
		to := a.Next()
		switch {
		case a.Status >= 400:
			e.refusedBy(a, redirect)
			return
		case to == nil:
			e.good("%s shows a page to sign in", browser.Origin(e.issuer))
			return
		case to.Query().Get("error") != "" && browser.SameHost(to, e.start):
			e.find("issuer-refuses", fmt.Sprintf("%s sends back with the error %s", browser.Origin(e.issuer), word(to.Query().Get("error"))), redirect)
			return
		case to.Host != e.issuer.Host:
			e.good("%s sends on to %s", browser.Origin(e.issuer), browser.Origin(to))
			return
		}
		at = to
	}
	e.find("issuer-refuses", "its redirects do not end", redirect)
}

func (e *exam) refusedBy(a browser.Answer, redirect string) {
	text := strings.NewReplacer("_", "", " ", "", "-", "").Replace(strings.ToLower(a.Body))
	seen := fmt.Sprintf("%s answers %d", browser.Shown(a.URL), a.Status)
	switch {
	case strings.Contains(text, "redirecturi"), strings.Contains(text, "redirecturl"):
		e.find("redirect-uri", seen, redirect)
	case a.Status >= http.StatusInternalServerError:
		e.find("issuer-unreachable", seen)
	default:
		e.find("issuer-refuses", seen, redirect)
	}
}

// word leaves of an error code what a code may hold.
func word(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r == '_' {
			return r
		}
		return -1
	}, s[:min(len(s), 40)])
}
