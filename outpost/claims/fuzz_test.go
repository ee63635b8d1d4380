package claims_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
)

// FuzzClaims holds that no claims panic, and that whoever comes out may be
// named in a header.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"1","preferred_username":"alice","email":"a@x.com","email_verified":true,"groups":["a"]}`,
		`{"sub":"1","realm_access":{"roles":["a"]},"a.b":{"c.d":"x"}}`,
		`{"sub":"1","email":"a@b@c","email_verified":{}}`,
		`{"sub":"\u0000"}`, `{"sub":{}}`, `null`, `[]`, `{"sub":"1","groups":[[[]]]}`, `{"ſub":"x"}`,
		`{"client_id":"c","ext":{"email":"a@b","email_verified":0},"scope":"a\u0000b c\n","scp":["d e"]}`,
		`{"sub":"a","\u0073ub":"b"}`, `{"x":{"y":1,"y":2}}`, `{"sub":"1","exp":1e999} x`,
	} {
		f.Add([]byte(seed), "preferred_username", "realm_access.roles", false)
		f.Add([]byte(seed), "email", "a.b.c.d", true)
	}
	f.Fuzz(func(t *testing.T, text []byte, username, groups string, token bool) {
		told, err := claims.Decode(text)
		if err != nil || len(groups)+len(username) > 100 {
			return
		}
		p := person
		if token {
			p = bearer
		}
		for _, name := range []string{"exp", username} {
			if at, err := told.Time(name); err == nil && at.Year() > 9999 {
				t.Errorf("%s is %s", name, at)
			}
		}
		m := claims.Mapping{Username: username, Groups: groups}
		m.Complete(told)
		id, err := identity(m, told.With(told), p)
		if err != nil {
			return
		}
		names := slices.Concat([]string{id.Subject, id.Username, id.Email, id.Name}, id.Groups, id.Scopes)
		if slices.ContainsFunc(names, func(s string) bool { return !outpost.CleanText(s) }) {
			t.Errorf("not all clean text: %q", names)
		}
		if id.Subject == "" || id.Username == "" || strings.Count(id.Email, "@") > 1 || len(id.Groups) > 1000 || len(id.Scopes) > 1000 {
			t.Errorf("got %+v", id)
		}
	})
}
