package backchannel

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store/memory"
)

// FuzzLogoutBody holds that sessions end for the one token alone that the
// issuer made, and only as a form that holds it once, read by a second reader,
// is posted. The answer tells nothing of what was sent.
func FuzzLogoutBody(f *testing.F) {
	const form, made = "application/x-www-form-urlencoded", "the token"
	for _, s := range []string{"", "logout_token=the+token", "logout_token=a&logout_token=b", "logout_token=%zz", "a=b;logout_token=c"} {
		f.Add("POST", form, s)
	}
	f.Add("POST", form, "logout_token=the+token&a="+strings.Repeat("x", maxBody))
	f.Fuzz(func(t *testing.T, method, kind, body string) {
		asked, ended := []string{}, 0
		log, _ := test.NewNullLogger()
		kept := memory.New(memory.Options{})
		defer func() { _ = kept.Close() }()
		h := New(Options{
			Issuers: map[string]outpost.Issuer{"a": choosy{made: made, asked: &asked}}, Store: kept, Now: time.Now, Log: log,
			End:       func(context.Context, string, *outpost.Logout) (int, error) { ended++; return 1, nil },
			RequestID: func(*http.Request) string { return "1" }, Observe: func(string, string) {},
			Client: func(*http.Request) netip.Addr { return netip.Addr{} },
		})
		want, whole := oneToken(body)
		whole = whole && method == "POST" && len(body) <= maxBody
		r := httptest.NewRequest("POST", "/", strings.NewReader(body))
		r.Method = method
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch plain := isForm(kind); {
		case len(asked) > 0 && (!whole || !plain || !slices.Equal(asked, []string{want})):
			t.Errorf("%q %q %q was read as %q", method, kind, body, asked)
		case len(asked) == 0 && whole && kind == form && strings.Count(body, "&") < 1000:
			t.Errorf("%q was not read as %q", body, want)
		case (w.Code == 200) != (len(asked) > 0 && want == made) || ended != 0 && w.Code != 200 || ended != 1 && w.Code == 200:
			t.Errorf("%q %q %q: %d, ended %d", method, kind, body, w.Code, ended)
		case w.Code == 200 && w.Body.Len() > 0 || w.Code != 200 && w.Code != 400 && w.Code != 405:
			t.Errorf("%q %q %q: %d %q", method, kind, body, w.Code, w.Body)
		}
		if answer := w.Body.String(); len(body) > 40 && strings.Contains(answer, body) || len(kind) > 40 && strings.Contains(answer, kind) {
			t.Errorf("the answer repeats what was sent: %q", answer)
		}
	})
}

// choosy is an issuer that believes the token that it made alone, and notes
// what it is asked.
type choosy struct {
	outpost.Issuer
	made  string
	asked *[]string
}

// LogoutToken implements outpost.LogoutReader.
func (c choosy) LogoutToken(_ context.Context, raw string) (*outpost.Logout, error) {
	*c.asked = append(*c.asked, raw)
	if raw != c.made {
		return nil, errors.New("no token of mine")
	}
	return &outpost.Logout{SID: "s1", ID: "1", Expires: time.Now().Add(time.Minute)}, nil
}

// isForm reports whether a content type is that of a form, whatever follows.
func isForm(kind string) bool {
	kind, _, _ = strings.Cut(kind, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded")
}

// oneToken reads a form byte by byte; ok says that it is one, and that it holds
// one logout_token that is not empty.
func oneToken(body string) (token string, ok bool) {
	found, value := 0, false
	var name, text strings.Builder
	end := func() {
		if name.String() == "logout_token" {
			found, token = found+1, text.String()
		}
		name.Reset()
		text.Reset()
		value = false
	}
	for i := 0; i < len(body); i++ {
		c := body[i]
		switch {
		case c == '&':
			end()
			continue
		case c == ';':
			return "", false
		case c == '=' && !value:
			value = true
			continue
		case c == '+':
			c = ' '
		case c == '%':
			if i+2 >= len(body) {
				return "", false
			}
			n, err := strconv.ParseUint(body[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		if value {
			text.WriteByte(c)
		} else {
			name.WriteByte(c)
		}
	}
	end()
	return token, found == 1 && token != ""
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
