package session

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"

	"github.com/akprox/akprox/outpost"
)

// cookies writes and reads the session cookie: a random id, signed by
// securecookie together with the cookie's name. The first codec signs.
type cookies []securecookie.Codec

func newCookies(keys [][]byte) cookies {
	codecs := make(cookies, len(keys))
	for i, key := range keys {
		codec := securecookie.New(key, nil)
		codec.SetSerializer(securecookie.NopEncoder{})
		codec.MaxAge(0) // the record's own limits decide
		codec.MaxLength(maxCookie)
		codecs[i] = codec
	}
	return codecs
}

// maxCookie bounds a cookie's value in bytes; a longer one is not ours.
const maxCookie = 512

var errNoKey = errors.New("there is no key to sign a cookie with")

func (c cookies) make(reach outpost.CookieReach, id []byte, life time.Duration) (*http.Cookie, error) {
	if len(c) == 0 {
		return nil, errNoKey
	}
	value, err := c[0].Encode(reach.Name, id)
	if err != nil {
		return nil, err
	}
	return sessions.NewCookie(reach.Name, value, options(reach, int(life/time.Second))), nil
}

func (c cookies) expire(reach outpost.CookieReach) *http.Cookie {
	return sessions.NewCookie(reach.Name, "", options(reach, -1))
}

func options(reach outpost.CookieReach, maxAge int) *sessions.Options {
	return &sessions.Options{
		Path: "/", Domain: reach.Domain, MaxAge: maxAge, Secure: reach.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// read answers the id that a cookie's value holds, if we signed it.
func (c cookies) read(name, value string) ([]byte, bool) {
	var id []byte
	// base64 has several spellings of one value; a session has one cookie, so
	// that ending it ends it under every spelling.
	if _, err := base64.URLEncoding.Strict().DecodeString(value); err != nil || strings.ContainsAny(value, "\r\n") {
		return nil, false
	}
	if len(value) > maxCookie || len(c) == 0 || securecookie.DecodeMulti(name, value, &id, c...) != nil || len(id) != 32 {
		return nil, false
	}
	return id, true
}

// maxValues bounds how many cookies of one name are looked at: a browser shows
// several when another host of the domain has set one too.
const maxValues = 4

// cookieValues answers the values of the cookies called name, in the order sent,
// without parsing the others.
func cookieValues(h http.Header, name string) (found [maxValues]string, n int) {
	for _, line := range h["Cookie"] {
		for line != "" && n < maxValues {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			pair = strings.TrimLeft(pair, " \t")
			if len(pair) > len(name) && pair[len(name)] == '=' && pair[:len(name)] == name {
				found[n] = strings.Trim(pair[len(name)+1:], " \t\"")
				n++
			}
		}
	}
	return found, n
}
