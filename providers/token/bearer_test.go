package token_test

import (
	"context"
	"strings"
	"testing"

	"github.com/akprox/akprox/providers/token"
)

// TestG1OnlyABearerHeader shows both kinds every way to write the header.
func TestG1OnlyABearerHeader(t *testing.T) {
	i := newIssuer(t)
	signed := i.mint(t, nil)
	const opaque = "opaque-token"
	i.knows(opaque, object{"sub": "alice"})
	i.knows(signed, object{"sub": "alice"})
	tests := []struct {
		name          string
		header        []string
		jwt, question string
	}{
		{"no header", nil, nothing, nothing},
		{"an empty header", []string{""}, nothing, nothing},
		{"Bearer", []string{"Bearer " + signed}, good, good},
		{"bearer in small letters", []string{"bearer " + signed}, good, good},
		{"BEARER with two blanks", []string{"BEARER  " + signed}, good, good},
		{"an opaque token", []string{"Bearer " + opaque}, unclaimed, good},
		{"an opaque token that nobody knows", []string{"Bearer zzz"}, unclaimed, invalidToken},
		{"Basic abcdefgTOKEN", []string{"Basic abcdefg" + opaque}, nothing, nothing},
		{"seven characters and a token", []string{"xxxxxx " + opaque}, nothing, nothing},
		{"the token alone", []string{opaque}, nothing, nothing},
		{"DPoP", []string{"DPoP " + signed}, nothing, nothing},
		{"no token", []string{"Bearer"}, invalidRequest, invalidRequest},
		{"no token but blanks", []string{"Bearer   "}, invalidRequest, invalidRequest},
		{"a tab for a blank", []string{"Bearer\t" + opaque}, nothing, nothing},
		{"two tokens in one header", []string{"Bearer " + opaque + " " + opaque}, invalidRequest, invalidRequest},
		{"two tokens and a comma", []string{"Bearer " + opaque + "," + opaque}, invalidRequest, invalidRequest},
		{"two headers", []string{"Bearer " + signed, "Bearer " + signed}, invalidRequest, invalidRequest},
		{"Basic and Bearer", []string{"Basic YTpi", "Bearer " + signed}, invalidRequest, invalidRequest},
		{"quotes", []string{`Bearer "` + opaque + `"`}, invalidRequest, invalidRequest},
		{"a byte that is not ASCII", []string{"Bearer \xff" + opaque}, invalidRequest, invalidRequest},
		{"a line break", []string{"Bearer " + opaque + "\r\nX: y"}, invalidRequest, invalidRequest},
		{"padding alone", []string{"Bearer =="}, invalidRequest, invalidRequest},
		{"padding in the middle", []string{"Bearer a=b"}, invalidRequest, invalidRequest},
		{"16 KiB", []string{"Bearer " + strings.Repeat("a", 16<<10)}, unclaimed, invalidToken},
		{"more than 16 KiB", []string{"Bearer " + strings.Repeat("a", 16<<10+1)}, invalidRequest, invalidRequest},
		{"1 MiB of dots", []string{"Bearer " + strings.Repeat(".", 1<<20)}, invalidRequest, invalidRequest},
	}
	jwt, introspection := i.jwt(t, nil), i.introspection(t, nil)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			id, err := jwt.Identify(context.Background(), request(test.header...))
			if got := verdict(t, id, err); got != test.jwt {
				t.Errorf("jwt: %s (%v), want %s", got, err, test.jwt)
			}
			id, err = introspection.Identify(context.Background(), request(test.header...))
			if got := verdict(t, id, err); got != test.question {
				t.Errorf("introspection: %s (%v), want %s", got, err, test.question)
			}
		})
	}
}

func TestATokenInTheQueryIsNotRead(t *testing.T) {
	i := newIssuer(t)
	r := request()
	r.Query = "access_token=" + i.mint(t, nil)
	id, err := i.jwt(t, nil).Identify(context.Background(), r)
	if got := verdict(t, id, err); got != nothing {
		t.Errorf("got %s", got)
	}
}

func TestThreeParts(t *testing.T) {
	for s, want := range map[string]bool{"a.b.c": true, "a.b": false, "a.b.c.d": false, "a.b.c.d.e": false, "": false, "opaque": false, "..": true} {
		if token.ThreeParts(s) != want {
			t.Errorf("%q: want %t", s, want)
		}
	}
}
