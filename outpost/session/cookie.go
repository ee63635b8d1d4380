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

// maxValues bounds how many cookies of one name are looked at that could be
// ours. A browser shows several when another host of the domain has set some
// too, and that host must not push ours out of sight: so many are as much as
// the line may hold that proxies take.
const maxValues = 64

// minCookie is less than any value of ours has: an id and a signature.
const minCookie = 90

// presented reads the values of the cookies called name that could be ours, in
// the order sent, without parsing the others.
type presented struct {
	name  string
	lines []string
	line  string
	seen  int
}

func cookieValues(h http.Header, name string) presented {
	return presented{name: name, lines: h["Cookie"]}
}

// next answers one value after the other, and false after the last.
func (p *presented) next() (string, bool) {
	for p.seen < maxValues {
		if p.line == "" {
			if len(p.lines) == 0 {
				break
			}
			p.line, p.lines = p.lines[0], p.lines[1:]
		}
		var pair string
		pair, p.line, _ = strings.Cut(p.line, ";")
		pair = strings.TrimLeft(pair, " \t")
		if len(pair) > len(p.name) && pair[len(p.name)] == '=' && pair[:len(p.name)] == p.name {
			if value := strings.Trim(pair[len(p.name)+1:], " \t\""); len(value) >= minCookie {
				p.seen++
				return value, true
			}
		}
	}
	return "", false
}
