// Package form reads what was posted into the sign-in page, and tells which
// site has made the browser post it.
package form

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/akprox/akprox/outpost/canon"
)

// The fields of every form, and what fits into it.
const (
	Password    = "password"
	Token       = "token"
	MaxUsername = 256
	MaxPassword = 1024

	most = 8 << 10
)

// ErrTooLarge and ErrMalformed say why a form is not read.
var (
	ErrTooLarge  = errors.New("the form is longer than any that is accepted")
	ErrMalformed = errors.New("the body is no form")
)

// Form is what was posted.
type Form struct{ Username, Password, Back, Token string }

// Read reads the form in r. username and back are what its fields for the
// user name and the return URL are called.
func Read(r *http.Request, username, back string) (Form, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return Form{}, ErrMalformed
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	switch {
	case len(body) > most:
		return Form{}, ErrTooLarge
	case err != nil:
		return Form{}, ErrMalformed
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return Form{}, ErrMalformed
	}
	var f Form
	for name, field := range map[string]*string{username: &f.Username, Password: &f.Password, back: &f.Back, Token: &f.Token} {
		if all := values[name]; len(all) > 1 || !utf8.ValidString(values.Get(name)) {
			return Form{}, ErrMalformed
		}
		*field = values.Get(name)
	}
	return f, nil
}

// Where a request comes from, in the words of Sec-Fetch-Site.
const (
	SameOrigin = "same-origin"
	SameSite   = "same-site"
	CrossSite  = "cross-site"
	Nowhere    = "none" // the person's own doing, without a page
	NoBrowser  = ""
)

// Site tells which site a request to host comes from. NoBrowser is certain
// for what is posted: every browser tells where that comes from.
func Site(r *http.Request, host string) string {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" {
		if slices.Contains([]string{SameOrigin, SameSite, Nowhere}, site) {
			return site
		}
		return CrossSite
	}
	origins := r.Header["Origin"]
	switch {
	case len(origins) == 0:
		return NoBrowser
	case len(origins) == 1 && of(origins[0], host):
		return SameOrigin // over plain HTTP a browser tells nothing else
	}
	return CrossSite
}

// of reports whether an origin is that of host. Ports do not make another
// site, and not every proxy tells them.
func of(origin, host string) bool {
	_, name, uri, err := canon.SplitURL(origin)
	return err == nil && uri == "/" && canon.HostName(name) == canon.HostName(host)
}

// Prefetch reports whether a browser asks before its person does.
func Prefetch(h http.Header) bool {
	for _, name := range [4]string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if strings.Contains(h.Get(name), "prefetch") {
			return true
		}
	}
	return false
}
