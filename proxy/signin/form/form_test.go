package form

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestSite(t *testing.T) {
	for _, row := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"no browser", nil, NoBrowser},
		{"a browser says so", []string{"Sec-Fetch-Site: same-origin", "Origin: null"}, SameOrigin},
		{"a sibling", []string{"Sec-Fetch-Site: same-site"}, SameSite},
		{"by hand", []string{"Sec-Fetch-Site: none"}, Nowhere},
		{"a word that nobody knows", []string{"Sec-Fetch-Site: moon"}, CrossSite},
		{"the origin alone", []string{"Origin: http://h.example.com"}, SameOrigin},
		{"the origin in capitals with a port", []string{"Origin: https://H.example.com:8443"}, SameOrigin},
		{"another origin", []string{"Origin: https://evil.test"}, CrossSite},
		{"an origin with a path", []string{"Origin: https://h.example.com/x"}, CrossSite},
		{"a user in the origin", []string{"Origin: https://h.example.com@evil.test"}, CrossSite},
		{"another scheme", []string{"Origin: chrome-extension://h.example.com"}, CrossSite},
		{"hidden", []string{"Origin: null"}, CrossSite},
		{"empty", []string{"Origin: "}, CrossSite},
		{"two", []string{"Origin: https://h.example.com", "Origin: https://h.example.com"}, CrossSite},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", nil)
			for _, l := range row.lines {
				name, value, _ := strings.Cut(l, ": ")
				r.Header.Add(name, value)
			}
			if got := Site(r, "h.example.com"); got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
		})
	}
}

func TestTheTokenIsTheBrowsersOwn(t *testing.T) {
	r := httptest.NewRequest("GET", "/", nil)
	token := TokenFor(r)
	if len(token) != 43 || TokenFor(r) == token {
		t.Errorf("token %q", token)
	}
	r.AddCookie(&http.Cookie{Name: Cookie, Value: token})
	if TokenFor(r) != token {
		t.Error("another tab gets another token")
	}
}

func FuzzRead(f *testing.F) {
	f.Add("username=jane&password=x&rd=%2F&token=t")
	f.Add("username=%ff&password=%zz&username=2")
	f.Add(strings.Repeat("a", most+1))
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		got, err := Read(r, "username", "rd")
		switch {
		case len(body) > most && !errors.Is(err, ErrTooLarge):
			t.Errorf("%d bytes: %v", len(body), err)
		case err != nil && got != Form{}:
			t.Errorf("%q is read in part: %+v, %v", body, got, err)
		}
	})
}
