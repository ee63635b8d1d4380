package backchannel

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzLogoutBody holds that a body yields one token of bounded size, or none.
func FuzzLogoutBody(f *testing.F) {
	for _, s := range []string{"", "logout_token=a", "logout_token=a&logout_token=b", "logout_token=%zz", "a=b;logout_token=c"} {
		f.Add("application/x-www-form-urlencoded", s)
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		r, err := http.NewRequest("POST", "/", strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		r.Header.Set("Content-Type", kind)
		if token, err := logoutToken(r); err == nil && (token == "" || len(token) > maxBody || !strings.Contains(body, "=")) {
			t.Errorf("%q read as %q", body, token)
		}
	})
}
