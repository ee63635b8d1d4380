package backchannel

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store/memory"
)

// FuzzLogoutBody holds that a body yields one token of bounded size, or none.
func FuzzLogoutBody(f *testing.F) {
	for _, s := range []string{"", "logout_token=a", "logout_token=a&logout_token=b", "logout_token=%zz", "a=b;logout_token=c"} {
		f.Add("application/x-www-form-urlencoded", s)
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		r, err := http.NewRequest("POST", "/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		if token, err := logoutToken(r); err == nil && (token == "" || len(token) > maxBody || !strings.Contains(body, "=")) {
			t.Errorf("%q read as %q", body, token)
		}
	})
}

// reader is an issuer that believes every logout token, once it can.
type reader struct {
	outpost.Issuer
	down *bool
}

// LogoutToken implements outpost.LogoutReader.
func (r reader) LogoutToken(context.Context, string) (*outpost.Logout, error) {
	if r.down != nil && *r.down {
		return nil, fmt.Errorf("no keys: %w", outpost.ErrUnavailable)
	}
	return &outpost.Logout{SID: "s1", ID: "1", Expires: time.Now().Add(time.Minute)}, nil
}

// TestALogoutForTwoProvidersOfOneIssuerThatReachedOne: what could not be done
// for one of them is done when the issuer sends the token again, although the
// other has used it.
func TestALogoutForTwoProvidersOfOneIssuerThatReachedOne(t *testing.T) {
	for _, fault := range []string{"the store", "the issuer"} {
		down := true
		ended := map[string]int{}
		issuers := map[string]outpost.Issuer{"a": reader{}, "b": reader{}}
		if fault == "the issuer" {
			issuers["b"] = reader{down: &down}
		}
		log, _ := test.NewNullLogger()
		h := New(Options{
			Issuers: issuers, Store: memory.New(memory.Options{}), Now: time.Now, Log: log,
			End: func(_ context.Context, provider string, _ *outpost.Logout) (int, error) {
				if down && provider == "b" {
					return 0, outpost.ErrUnavailable
				}
				ended[provider]++
				return 1, nil
			},
			RequestID: func(*http.Request) string { return "1" }, Observe: func(string, string) {},
			Client: func(*http.Request) netip.Addr { return netip.Addr{} },
		})
		if status, body := post(h); status != 400 || !strings.Contains(body, "temporarily_unavailable") {
			t.Errorf("%s is down: %d %s", fault, status, body)
		}
		down = false
		if status, body := post(h); status != 200 {
			t.Errorf("%s is back: %d %s", fault, status, body)
		}
		if ended["a"] != 1 || ended["b"] != 1 {
			t.Errorf("%s: ended %v", fault, ended)
		}
		if status, body := post(h); status != 400 || !strings.Contains(body, "used before") {
			t.Errorf("%s, a replay: %d %s", fault, status, body)
		}
	}
}

// TestAProcessThatDiesWithALogoutToken: the one that is sent again is obeyed
// once the other cannot be at it any more, and is used then.
func TestAProcessThatDiesWithALogoutToken(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	kept := memory.New(memory.Options{Now: clock})
	t.Cleanup(func() { _ = kept.Close() })
	log, _ := test.NewNullLogger()
	process := func(end func()) func() (int, string) {
		h := New(Options{
			Issuers: map[string]outpost.Issuer{"a": reader{}}, Store: kept, Now: clock, Log: log,
			End:       func(context.Context, string, *outpost.Logout) (int, error) { end(); return 1, nil },
			RequestID: func(*http.Request) string { return "1" }, Observe: func(string, string) {},
			Client: func(*http.Request) netip.Addr { return netip.Addr{} },
		})
		return func() (int, string) { return post(h) }
	}
	ended := 0
	dies := process(func() { panic("it dies") })
	lives := process(func() { ended++ })
	func() {
		defer func() { _ = recover() }()
		dies()
	}()
	if status, body := lives(); status != 400 || !strings.Contains(body, "temporarily_unavailable") || ended != 0 {
		t.Errorf("while the other may be at it: %d %s, ended %d", status, body, ended)
	}
	now = now.Add(2*patience + time.Millisecond)
	if status, body := lives(); status != 200 || ended != 1 {
		t.Errorf("sent again: %d %s, ended %d", status, body, ended)
	}
	now = now.Add(2*patience + time.Millisecond)
	if status, body := lives(); status != 400 || !strings.Contains(body, "used before") || ended != 1 {
		t.Errorf("a replay: %d %s, ended %d", status, body, ended)
	}
}

// post posts a logout token.
func post(h http.Handler) (int, string) {
	r := httptest.NewRequest("POST", "/", strings.NewReader("logout_token=x"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}
