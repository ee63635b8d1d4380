package form

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"time"
)

// Cookie binds forms to the browser that they are shown in, for Life.
const (
	Cookie = "akprox_form"
	Life   = time.Hour

	tokenBytes = 32
)

// TokenFor answers the token for a form that is shown in answer to r, and the
// value of its cookie: the one that the browser has, so that every tab has the
// same, else a new one.
func TokenFor(r *http.Request) string {
	if c, err := r.Cookie(Cookie); err == nil && tokenLike(c.Value) {
		return c.Value
	}
	b := make([]byte, tokenBytes)
	_, _ = rand.Read(b) // never fails: it ends the process instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// Typed reports whether a form was posted by the person whom it was shown to:
// no other site has made their browser do it. What is no browser cannot be
// made to do anything, and needs no token.
func Typed(r *http.Request, host, token string) bool {
	switch Site(r, host) {
	case SameOrigin, Nowhere:
	case NoBrowser:
		if token == "" {
			return true
		}
	default:
		return false
	}
	for _, c := range r.CookiesNamed(Cookie) {
		if tokenLike(token) && subtle.ConstantTimeCompare([]byte(c.Value), []byte(token)) == 1 {
			return true
		}
	}
	return false
}

func tokenLike(s string) bool {
	b, err := base64.RawURLEncoding.DecodeString(s)
	return err == nil && len(b) == tokenBytes
}
