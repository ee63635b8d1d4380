package claims_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc/claims"
)

func set(t *testing.T, text string) claims.Set {
	t.Helper()
	var s claims.Set
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestWhoSomebodyIs(t *testing.T) {
	type mapping = claims.Mapping
	tests := []struct {
		name              string
		m                 mapping
		claims            string
		username, address string
	}{
		{"by default preferred_username", mapping{}, `{"sub":"1","preferred_username":"alice","email":"a@x.com"}`, "alice", "a@x.com"},
		{"without it a verified address", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":true}`, "a@x.com", "a@x.com"},
		{"without it an address that nobody vouches for is no user name", mapping{}, `{"sub":"1","email":"a@x.com"}`, "1", "a@x.com"},
		{"without anything sub", mapping{}, `{"sub":"1"}`, "1", ""},
		{"an empty name is no name", mapping{}, `{"sub":"1","preferred_username":""}`, "1", ""},
		{"a number is a name", mapping{Username: "id"}, `{"sub":"1","id":12345678901234567890}`, "12345678901234567890", ""},
		{"a list is no name", mapping{}, `{"sub":"1","preferred_username":["a"]}`, "1", ""},
		{"another claim", mapping{Username: "upn"}, `{"sub":"1","upn":"a","preferred_username":"root"}`, "a", ""},
		{"a person cannot choose what was mapped elsewhere", mapping{Username: "upn"}, `{"sub":"1","preferred_username":"root"}`, "1", ""},
		{"a nested claim", mapping{Username: "user.login"}, `{"sub":"1","user":{"login":"a"}}`, "a", ""},
		{"a claim whose name has the dots", mapping{Username: "user.login"}, `{"sub":"1","user.login":"b","user":{"login":"a"}}`, "b", ""},
		{"a nested claim under a name with dots", mapping{Username: "r.my.app.n"}, `{"sub":"1","r":{"my.app":{"n":"a"}}}`, "a", ""},
		{"a URL as a name", mapping{Username: "https://x.com/n"}, `{"sub":"1","https://x.com/n":"a"}`, "a", ""},
		{"the address as user name", mapping{Username: "email"}, `{"sub":"1","email":"a@x.com","preferred_username":"root"}`, "a@x.com", "a@x.com"},
		{"an address that is not verified is no user name", mapping{Username: "email"}, `{"sub":"1","email":"a@x.com","email_verified":false,"preferred_username":"root"}`, "1", ""},
		{"CVE-2026-40574: two at signs", mapping{Username: "email"}, `{"sub":"1","email":"a@evil.com@company.com"}`, "1", ""},
		{"CVE-2026-40574: two at signs, user name elsewhere", mapping{}, `{"sub":"1","preferred_username":"a","email":"a@evil.com@company.com"}`, "a", ""},
		{"CVE-2026-40574: not verified", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":false}`, "1", ""},
		{"not verified, as text", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":"false"}`, "1", ""},
		{"verified, as text", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":"true"}`, "a@x.com", "a@x.com"},
		{"not verified, as a number", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":0}`, "1", ""},
		{"not said, as null", mapping{}, `{"sub":"1","email":"a@x.com","email_verified":null}`, "1", "a@x.com"},
		{"another claim for the address has no flag", mapping{Email: "mail"}, `{"sub":"1","mail":"a@x.com","email_verified":false}`, "1", "a@x.com"},
		{"no at sign", mapping{}, `{"sub":"1","email":"company.com"}`, "1", ""},
		{"nobody at a host", mapping{}, `{"sub":"1","email":"@company.com"}`, "1", ""},
		{"an address with a header in it", mapping{}, `{"sub":"1","email":"a@x.com\r\nX-Auth-Username: root"}`, "1", ""},
		{"an address that is a list", mapping{}, `{"sub":"1","email":"a@x.com,b"}`, "1", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, err := tt.m.Identity("company", set(t, tt.claims))
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
		"a sub with a line break":     `{"sub":"a\nb"}`,
		"a sub that begins blank":     `{"sub":" a"}`,
		"a sub that is too long":      `{"sub":"` + strings.Repeat("a", 1025) + `"}`,
		"a user name with a tab":      `{"sub":"1","preferred_username":"a\tb"}`,
		"a user name that ends blank": `{"sub":"1","preferred_username":"a "}`,
		"a user name of C1 controls":  `{"sub":"1","preferred_username":"a\u0085"}`,
	} {
		if id, err := (claims.Mapping{}).Identity("company", set(t, text)); err == nil || !strings.Contains(err.Error(), "bad identity") {
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
			id, err := claims.Mapping{Groups: tt.path}.Identity("company", s)
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
	id, err := claims.Mapping{}.Identity("company", s)
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
	id, err := m.Identity("company", set(t, `{"sub":"1","p":{"email":"a@b@c","groups":["a"]}}`))
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
			id, err := claims.Mapping{}.Identity("company", both)
			if err != nil || id.Email != tt.address {
				t.Errorf("got %q, %v; want %q", id.Email, err, tt.address)
			}
		})
	}
	both := set(t, `{"email":"a@x.com"}`).With(set(t, `{"email":"b@x.com","email_verified":true}`))
	both["sub"] = "1"
	if id, err := (claims.Mapping{}).Identity("company", both); err != nil || id.Username != "1" {
		t.Errorf("a flag that was said of another address made %q a user name", id.Username)
	}
}

func TestAClaimThatCouldBeTakenForAnotherIsRefused(t *testing.T) {
	for _, name := range []string{"Sub", "NONCE", "i\u017fs", "Email_Verified"} {
		var s claims.Set
		if err := json.Unmarshal([]byte(`{"`+name+`":"x"}`), &s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzClaims holds that no claims panic, and that whoever comes out may be
// named in a header.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"1","preferred_username":"alice","email":"a@x.com","email_verified":true,"groups":["a"]}`,
		`{"sub":"1","realm_access":{"roles":["a"]},"a.b":{"c.d":"x"}}`,
		`{"sub":"1","email":"a@b@c","email_verified":{}}`,
		`{"sub":"\u0000"}`, `{"sub":{}}`, `null`, `[]`, `{"sub":"1","groups":[[[]]]}`, `{"ſub":"x"}`,
	} {
		f.Add([]byte(seed), "preferred_username", "realm_access.roles")
		f.Add([]byte(seed), "email", "a.b.c.d")
	}
	f.Fuzz(func(t *testing.T, text []byte, username, groups string) {
		var s claims.Set
		if len(groups)+len(username) > 100 || json.Unmarshal(text, &s) != nil {
			return
		}
		m := claims.Mapping{Username: username, Groups: groups}.Filled()
		m.Paths()
		both := s.With(s)
		id, err := m.Identity("company", both)
		if err != nil {
			return
		}
		names := append([]string{id.Subject, id.Username, id.Email, id.Name}, id.Groups...)
		for _, name := range names {
			if !outpost.CleanText(name) {
				t.Errorf("%q is no clean text", name)
			}
		}
		if id.Subject == "" || id.Username == "" || strings.Count(id.Email, "@") > 1 || len(id.Groups) > 1000 {
			t.Errorf("got %+v", id)
		}
	})
}
