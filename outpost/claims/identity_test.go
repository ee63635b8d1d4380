package claims_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
)

// The policies of the kinds: of somebody who signs in, of the bearer of a token.
var (
	person = claims.Policy{VerifiedAddress: true}
	bearer = claims.Policy{PlainUsername: true}
)

func set(t *testing.T, text string) claims.Set {
	t.Helper()
	s, err := claims.Decode([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

// identity answers who told is about.
func identity(m claims.Mapping, told claims.Set, p claims.Policy) (*outpost.Identity, error) {
	subject, err := told.Subject("client_id")
	if err != nil {
		return nil, err
	}
	return m.Filled("preferred_username").Identity("company", subject, told, p)
}

func TestWhoSomebodyIs(t *testing.T) {
	type mapping = claims.Mapping
	tests := []struct {
		name              string
		p                 claims.Policy
		m                 mapping
		claims            string
		username, address string
	}{
		{"by default preferred_username", person, mapping{}, `{"sub":"1","preferred_username":"alice","email":"a@x.com"}`, "alice", "a@x.com"},
		{"without it a verified address", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":true}`, "a@x.com", "a@x.com"},
		{"without it an address that nobody vouches for is no user name", person, mapping{}, `{"sub":"1","email":"a@x.com"}`, "1", "a@x.com"},
		{"without anything sub", person, mapping{}, `{"sub":"1"}`, "1", ""},
		{"an empty name is no name", person, mapping{}, `{"sub":"1","preferred_username":""}`, "1", ""},
		{"a number is a name", person, mapping{Username: "id"}, `{"sub":"1","id":12345678901234567890}`, "12345678901234567890", ""},
		{"a list is no name", person, mapping{}, `{"sub":"1","preferred_username":["a"]}`, "1", ""},
		{"another claim", person, mapping{Username: "upn"}, `{"sub":"1","upn":"a","preferred_username":"root"}`, "a", ""},
		{"a person cannot choose what was mapped elsewhere", person, mapping{Username: "upn"}, `{"sub":"1","preferred_username":"root"}`, "1", ""},
		{"a nested claim", person, mapping{Username: "user.login"}, `{"sub":"1","user":{"login":"a"}}`, "a", ""},
		{"a claim whose name has the dots", person, mapping{Username: "user.login"}, `{"sub":"1","user.login":"b","user":{"login":"a"}}`, "b", ""},
		{"a nested claim under a name with dots", person, mapping{Username: "r.my.app.n"}, `{"sub":"1","r":{"my.app":{"n":"a"}}}`, "a", ""},
		{"a URL as a name", person, mapping{Username: "https://x.com/n"}, `{"sub":"1","https://x.com/n":"a"}`, "a", ""},
		{"the address as user name", person, mapping{Username: "email"}, `{"sub":"1","email":"a@x.com","preferred_username":"root"}`, "a@x.com", "a@x.com"},
		{"an address that is not verified is no user name", person, mapping{Username: "email"}, `{"sub":"1","email":"a@x.com","email_verified":false,"preferred_username":"root"}`, "1", ""},
		{"CVE-2026-40574: two at signs", person, mapping{Username: "email"}, `{"sub":"1","email":"a@evil.com@company.com"}`, "1", ""},
		{"CVE-2026-40574: two at signs, user name elsewhere", person, mapping{}, `{"sub":"1","preferred_username":"a","email":"a@evil.com@company.com"}`, "a", ""},
		{"CVE-2026-40574: not verified", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":false}`, "1", ""},
		{"not verified, as text", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":"false"}`, "1", ""},
		{"verified, as text", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":"true"}`, "a@x.com", "a@x.com"},
		{"not verified, as a number", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":0}`, "1", ""},
		{"not said, as null", person, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":null}`, "1", "a@x.com"},
		{"another claim for the address has no flag", person, mapping{Email: "mail"}, `{"sub":"1","mail":"a@x.com","email_verified":false}`, "1", "a@x.com"},
		{"no at sign", person, mapping{}, `{"sub":"1","email":"company.com"}`, "1", ""},
		{"nobody at a host", person, mapping{}, `{"sub":"1","email":"@company.com"}`, "1", ""},
		{"an address with a header in it", person, mapping{}, `{"sub":"1","email":"a@x.com\r\nX-Auth-Username: root"}`, "1", ""},
		{"a nested address as user name", person, mapping{Username: "ext.email"}, `{"sub":"1","ext":{"email":"a@b@c"}}`, "1", ""},
		{"a nested address with its flag", person, mapping{Email: "ext.email"}, `{"sub":"1","ext":{"email":"a@x.com","email_verified":true},"email_verified":false}`, "1", "a@x.com"},
		{"a nested address that is not verified", person, mapping{Email: "ext.email"}, `{"sub":"1","ext":{"email":"a@x.com","email_verified":false}}`, "1", ""},
		{"one claim for both, without an @", person, mapping{Username: "upn", Email: "upn"}, `{"sub":"1","upn":"a"}`, "1", ""},
		{"token: one claim for both, without an @", bearer, mapping{Username: "upn", Email: "upn"}, `{"sub":"1","upn":"a"}`, "a", ""},
		{"token: one claim for both, an address", bearer, mapping{Username: "upn", Email: "upn"}, `{"sub":"1","upn":"a@x.com"}`, "a@x.com", "a@x.com"},
		{"token: one claim for both, two at signs", bearer, mapping{Username: "upn", Email: "upn"}, `{"sub":"1","upn":"a@b@c"}`, "1", ""},
		{"token: an address without an @", bearer, mapping{Username: "email"}, `{"sub":"1","email":"a"}`, "1", ""},
		{"token: without a user name a verified address does not stand in", bearer, mapping{}, `{"sub":"1","email":"a@x.com","email_verified":true}`, "1", "a@x.com"},
		{"token: of a client itself", bearer, mapping{}, `{"client_id":"1"}`, "1", ""},
		{"token: sub before client", bearer, mapping{}, `{"sub":"1","client_id":"2"}`, "1", ""},
		{"an address that is a list", person, mapping{}, `{"sub":"1","email":"a@x.com,b"}`, "1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := identity(tt.m, set(t, tt.claims), tt.p)
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "1" || id.Username != tt.username || id.Email != tt.address || id.Provider != "company" {
				t.Errorf("got %q, %q; want %q, %q", id.Username, id.Email, tt.username, tt.address)
			}
			if _, kept := id.Claims["email"]; kept && tt.address == "" {
				t.Error("an address that was refused is among the claims")
			}
		})
	}
}

func TestWhoCannotBeAnybody(t *testing.T) {
	for name, text := range map[string]string{
		"no sub":                      `{"preferred_username":"a"}`,
		"an empty sub":                `{"sub":""}`,
		"a sub that is a number":      `{"sub":7,"client_id":"1"}`,
		"a sub with a line break":     `{"sub":"a\nb"}`,
		"a sub that begins blank":     `{"sub":" a"}`,
		"a sub that is too long":      `{"sub":"` + strings.Repeat("a", 1025) + `"}`,
		"a user name with a tab":      `{"sub":"1","preferred_username":"a\tb"}`,
		"a user name that ends blank": `{"sub":"1","preferred_username":"a "}`,
		"a user name of C1 controls":  `{"sub":"1","preferred_username":"a\u0085"}`,
	} {
		if id, err := identity(claims.Mapping{}, set(t, text), person); err == nil || !strings.Contains(err.Error(), "not clean text") && !strings.Contains(err.Error(), "no text") {
			t.Errorf("%s: got %+v, %v", name, id, err)
		}
	}
}

func TestGroups(t *testing.T) {
	many := make([]string, 1500)
	for n := range many {
		many[n] = fmt.Sprintf("g%d", n)
	}
	manyText, _ := json.Marshal(many)
	tests := []struct {
		name, path, claims string
		want               []string
	}{
		{"a list", "", `{"groups":["a","b"]}`, []string{"a", "b"}},
		{"one text is one group", "", `{"groups":"a, b"}`, []string{"a, b"}},
		{"none", "", `{}`, nil},
		{"null", "", `{"groups":null}`, nil},
		{"an object", "", `{"groups":{"admin":true}}`, nil},
		{"what is no clean text is left out", "", `{"groups":["a","b\n"," c","",null,["d"],{"e":1},7]}`, []string{"a", "7"}},
		{"nested", "realm_access.roles", `{"realm_access":{"roles":["a"]}}`, []string{"a"}},
		{"dots in the name win", "realm_access.roles", `{"realm_access.roles":"b","realm_access":{"roles":["a"]}}`, []string{"b"}},
		{"at most 1000", "", `{"groups":` + string(manyText) + `}`, many[:1000]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := set(t, tt.claims)
			s["sub"] = "1"
			id, err := identity(claims.Mapping{Groups: tt.path}, s, person)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(id.Groups, tt.want) {
				t.Errorf("got %q, want %q", id.Groups, tt.want)
			}
		})
	}
}

func TestTheLargestClaimsGoFirstAndMappedOnesStay(t *testing.T) {
	big := strings.Repeat("x", 20<<10)
	s := set(t, `{"sub":"1","groups":["`+big+`"],"photo":"`+big+`","note":"`+big[:15<<10]+`","dept":"a"}`)
	id, err := identity(claims.Mapping{}, s, person)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"groups": true, "photo": false, "note": false, "dept": true, "sub": true} {
		if _, got := id.Claims[name]; got != want {
			t.Errorf("%s: kept %t, want %t", name, got, want)
		}
	}
	if s["photo"] == nil {
		t.Error("the claims that were handed in were changed")
	}
}

func TestARefusedAddressDoesNotTakeGroupsAlong(t *testing.T) {
	m := claims.Mapping{Email: "p.email", Groups: "p.groups"}
	id, err := identity(m, set(t, `{"sub":"1","p":{"email":"a@b@c","groups":["a"]}}`), person)
	if err != nil || len(id.Groups) != 1 || id.Email != "" || id.Claims["p"] != nil {
		t.Errorf("got %+v, %v", id, err)
	}
}

func TestTwoDocumentsAboutOnePerson(t *testing.T) {
	tests := []struct {
		name, token, info, address string
	}{
		{"an address from userinfo with its flag", `{}`, `{"email":"a@x.com","email_verified":true}`, "a@x.com"},
		{"the ID token's address wins", `{"email":"a@x.com"}`, `{"email":"b@x.com"}`, "a@x.com"},
		{"a no in userinfo counts", `{"email":"a@x.com","email_verified":true}`, `{"email_verified":false}`, ""},
		{"a no in the ID token counts", `{"email_verified":false}`, `{"email":"a@x.com","email_verified":true}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both := set(t, tt.token).With(set(t, tt.info))
			both["sub"] = "1"
			id, err := identity(claims.Mapping{}, both, person)
			if err != nil || id.Email != tt.address {
				t.Errorf("got %q, %v; want %q", id.Email, err, tt.address)
			}
		})
	}
	both := set(t, `{"email":"a@x.com"}`).With(set(t, `{"email":"b@x.com","email_verified":true}`))
	both["sub"] = "1"
	if id, err := identity(claims.Mapping{}, both, person); err != nil || id.Username != "1" {
		t.Errorf("a flag that was said of another address made %q a user name", id.Username)
	}
}
