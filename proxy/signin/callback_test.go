package signin

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/signin/words"
)

func TestCallbackThatNoIssuerSends(t *testing.T) {
	state := strings.Repeat("s", 43)
	for _, row := range []struct{ name, query string }{
		{"nothing", ""},
		{"a code without a state", "code=x"},
		{"a state without a code", "state=" + state},
		{"an empty code", "code=&state=" + state},
		{"an empty error", "error=&state=" + state},
		{"two states", "code=x&state=" + state + "&state=" + state},
		{"two codes", "code=x&code=y&state=" + state},
		{"a code and an error", "code=x&error=access_denied&state=" + state},
		{"a short state", "code=x&state=Y"},
		{"a state of other letters", "code=x&state=" + strings.Repeat("+", 43)},
		{"a long code", "code=" + strings.Repeat("x", maxCode+1) + "&state=" + state},
		{"a long query", "x=" + strings.Repeat("x", 17<<10) + "&code=x&state=" + state},
		{"a bad escape", "code=%zz&state=" + state},
		{"an error in free text", "error=free%20text"},
		{"markup", "error=%3Cscript%3Ealert(1)%3C/script%3E"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.browser().get("https://wiki.example.com/akprox/callback?" + row.query)
			if a.status != http.StatusBadRequest || len(w.issuer.redeemed()) != 0 || a.header.Get("Set-Cookie") != "" {
				t.Errorf("%d %v", a.status, a.header)
			}
			if strings.Contains(a.body, "free text") || strings.Contains(a.body, "<script") {
				t.Error("the page repeats the query")
			}
			if !strings.Contains(a.body, "https://wiki.example.com/akprox/start?rd=") {
				t.Error("no way on")
			}
		})
	}
}

func TestCallbackIsOnlyAskedWithGET(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := b.begin("https://wiki.example.com/akprox/start", "jane")
	for _, method := range []string{"HEAD", "POST"} {
		if a := b.send(method, back); a.status != 405 || a.header.Get("Allow") != "GET" {
			t.Errorf("%s: %d", method, a.status)
		}
	}
	if a := b.get(back); a.location != "https://wiki.example.com/" {
		t.Errorf("afterwards: %d %q", a.status, a.location)
	}
}

func TestCVE_2017_1000069_ACallbackWithoutTheFlowCookieIsRefused(t *testing.T) {
	for _, row := range []struct {
		name    string
		cookies func(w *world, b *browser)
	}{
		{"no cookie", func(*world, *browser) {}},
		{"the cookie of another flow", func(_ *world, b *browser) { b.begin("https://wiki.example.com/akprox/start", "eve") }},
		{"a made-up value under the right name", func(w *world, b *browser) {
			_, name := names(w.issuer.states()[0])
			u, _ := url.Parse("https://wiki.example.com/akprox/")
			b.jar.SetCookies(u, []*http.Cookie{{Name: name, Value: "0." + random(), Path: "/akprox/"}})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			back := w.browser().begin("https://wiki.example.com/akprox/start", "eve")
			victim := w.browser()
			row.cookies(w, victim)
			a := victim.get(back)
			if a.status != http.StatusBadRequest || len(w.issuer.redeemed()) != 0 || w.observed(words.CookieMissing) != 1 {
				t.Errorf("%d, redeemed %d", a.status, len(w.issuer.redeemed()))
			}
			if got := victim.get("https://wiki.example.com/akprox/userinfo").status; got != 401 {
				t.Errorf("userinfo: %d", got)
			}
		})
	}
}

func TestACallbackUsedTwiceIsNoDeadEnd(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
	b.get(back)
	if a := b.get(back); a.status != http.StatusFound || a.location != "https://wiki.example.com/" {
		t.Errorf("signed in: %d %q", a.status, a.location)
	}
	if got := len(w.issuer.redeemed()); got != 1 {
		t.Errorf("the code was redeemed %d times", got)
	}
	other := w.browser()
	if a := other.get(back); a.status != http.StatusFound || a.location != "https://wiki.example.com/akprox/start?rd=https%3A%2F%2Fwiki.example.com%2F" {
		t.Errorf("nobody: %d %q", a.status, a.location)
	}
}

func TestFlowsThatGetLostEndInAPage(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for round := range maxRounds + 1 {
		back := b.begin("https://wiki.example.com/akprox/start?rd=/y"+fmt.Sprint(round), "jane")
		w.clock.advance(flowLife + time.Second) // gone, as in the store of another instance
		a := b.get(back)
		if last := round == maxRounds; last != (a.status == 400) {
			t.Errorf("round %d: %d %q", round, a.status, a.location)
		}
		w.clock.advance(-flowLife - time.Second)
	}
}

func TestAnotherTabsCallbackWhileSignedInReachesItsOwnPage(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.begin("https://wiki.example.com/akprox/start?rd=/1", "jane")
	second := b.begin("https://wiki.example.com/akprox/start?rd=/2", "jane")
	if a := b.get(second); a.location != "https://wiki.example.com/2" {
		t.Errorf("%d %q", a.status, a.location)
	}
	if a := b.get(first); a.location != "https://wiki.example.com/1" {
		t.Errorf("%d %q", a.status, a.location)
	}
}

func TestTheIssuersErrorCodesBecomeSentences(t *testing.T) {
	for _, row := range []struct {
		name, code string
		status     int
		result     string
		logged     bool
	}{
		{"somebody cancelled", "access_denied", 403, words.Denied, true},
		{"somebody has to do something first", "login_required", 403, words.Unfinished, true},
		{"the issuer has a problem", "server_error", 503, words.IssuerDown, true},
		{"the set-up is wrong", "unauthorized_client", 502, words.Misconfigured, true},
		{"a code of nobody's", "evil_code_7", 403, words.IssuerError, false},
		{"markup", "<script>alert(1)</script>", 403, words.IssuerError, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			u, _ := url.Parse(b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane"))
			q := url.Values{"state": {u.Query().Get("state")}, "error": {row.code}, "error_description": {"free text"}}
			a := b.get("https://wiki.example.com/akprox/callback?" + q.Encode())
			if a.status != row.status || w.observed(row.result) != 1 || w.flows() != 0 {
				t.Errorf("%d, %s observed %d times", a.status, row.result, w.observed(row.result))
			}
			if strings.Contains(a.body, row.code) || strings.Contains(a.body, "free text") {
				t.Error("the page repeats the issuer")
			}
			if strings.Contains(w.log.String(), row.code) != row.logged || strings.Contains(w.log.String(), "free text") {
				t.Errorf("log: %s", w.log)
			}
			if !strings.Contains(a.body, "start?rd=https%3A%2F%2Fwiki.example.com%2Fx") {
				t.Error("no way on to the page that was asked for")
			}
		})
	}
}

func TestAnExchangeThatFailsSignsNobodyIn(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*stubIssuer)
		status int
		result string
	}{
		{"the issuer is down", func(i *stubIssuer) { i.exchange = fmt.Errorf("token: %w", outpost.ErrUnavailable) }, 503, words.IssuerDown},
		{"the issuer says no", func(i *stubIssuer) { i.exchange = errors.New("invalid_grant") }, 403, words.NotAccepted},
		{"the issuer grants nobody", func(i *stubIssuer) { i.nobody = true }, 403, words.NotAccepted},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
			w.issuer.set(row.change)
			a := b.get(back)
			if a.status != row.status || w.observed(row.result) != 1 || a.cookie("akprox_") != nil && a.cookie("akprox_").MaxAge >= 0 {
				t.Errorf("%d %v", a.status, a.header)
			}
			if got := b.get("https://wiki.example.com/akprox/userinfo").status; got != 401 {
				t.Errorf("userinfo: %d", got)
			}
		})
	}
}

func TestAStoreThatStopsMidwayIsSaidAndHealed(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
	w.store.broken.Store(true)
	a := b.get(back)
	if a.status != 503 || a.header.Get("Retry-After") == "" || a.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	w.store.broken.Store(false)
	if a := b.get(back); a.location != "https://wiki.example.com/x" {
		t.Errorf("again: %d %q", a.status, a.location)
	}
}

func TestADocumentThatChangesMidwayIsObeyed(t *testing.T) {
	for _, row := range []struct {
		name     string
		change   func(w *world)
		status   int
		location string
	}{
		{"the application has gone", func(w *world) { w.serveApps(w.app("other", "https", "wiki.example.com", "/", "")) }, 409, ""},
		{"its sign-in has gone", func(w *world) {
			app := w.app("wiki", "https", "wiki.example.com", "/", "")
			app.SignIn = nil
			w.serveApps(app)
		}, 409, ""},
		{"its provider is another", func(w *world) {
			app := w.app("wiki", "https", "wiki.example.com", "/", "")
			app.SignIn.Provider = "other"
			w.serveApps(app)
		}, 409, ""},
		{"its host is another", func(w *world) {
			w.serveApps(w.app("wiki", "https", "new.example.com", "/", ""), w.app("other", "https", "wiki.example.com", "/", ""))
		}, 409, ""},
		{"the page belongs to another application now", func(w *world) {
			w.serveApps(w.app("wiki", "https", "wiki.example.com", "/", ""), w.app("new!", "https", "wiki.example.com", "/x", ""))
		}, 302, "https://wiki.example.com/"},
		{"nothing that matters", func(w *world) { w.serveApps(w.standard()...) }, 302, "https://wiki.example.com/x"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
			row.change(w)
			if a := b.get(back); a.status != row.status || a.location != row.location {
				t.Errorf("got %d %q, want %d %q", a.status, a.location, row.status, row.location)
			}
		})
	}
}

func TestEverySignInHasANewSessionAndEndsTheOldOne(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	name := w.apps.Load().All()[0].Cookie.Name
	b.signIn("https://wiki.example.com/akprox/start?rd=/a", "jane")
	first := b.cookies("wiki.example.com")[name]
	b.signIn("https://wiki.example.com/akprox/start?again=1&rd=/a", "jane")
	if second := b.cookies("wiki.example.com")[name]; first == "" || second == "" || first == second {
		t.Error("the session is the same")
	}
	thief := w.browser()
	if a := thief.get("https://wiki.example.com/akprox/userinfo", "Cookie: "+name+"="+first); a.status != 401 {
		t.Errorf("the old cookie: %d", a.status)
	}
}

func TestCVE_2026_33544_FiftySignInsAtOnceAreFiftyPeople(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 50 {
		b := w.browser()
		all.Go(func() {
			user := fmt.Sprintf("user-%d", i)
			start := b.get(fmt.Sprintf("https://wiki.example.com/akprox/start?rd=/%d", i))
			back, _ := w.issuer.signIn(start.location, user)
			if a := b.get(back); a.location != fmt.Sprintf("https://wiki.example.com/%d", i) {
				t.Errorf("%s: %d %q", user, a.status, a.location)
			}
			if a := b.get("https://wiki.example.com/akprox/userinfo"); !strings.Contains(a.body, `"sub":"sub-`+user+`"`) {
				t.Errorf("%s is %s", user, a.body)
			}
		})
	}
	all.Wait()
}

func TestOneCodeIsRedeemedByOneOfManyCallbacks(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { b.get(back) })
	}
	all.Wait()
	if got := len(w.issuer.redeemed()); got != 1 {
		t.Errorf("redeemed %d times", got)
	}
}

func TestNoSecretIsLoggedOrShown(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	var shown strings.Builder
	note := func(a answer) { shown.WriteString(a.body) }
	back := b.begin("https://wiki.example.com/akprox/start?rd=/x", "jane")
	flowCookies := b.cookies("wiki.example.com")
	note(b.get(back))
	note(b.get(back))
	session := b.cookies("wiki.example.com")
	w.store.broken.Store(true)
	note(b.get(back))
	w.store.broken.Store(false)
	foreign := w.browser().begin("https://wiki.example.com/akprox/start", "eve")
	note(b.get(foreign))
	w.issuer.set(func(i *stubIssuer) { i.exchange = errors.New("no") })
	note(b.signIn("https://wiki.example.com/akprox/start?again=1&rd=/y", "mallory"))
	note(b.get("https://wiki.example.com/akprox/sign_out"))
	note(b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin"))
	secrets := append(w.issuer.states(), "secret-code-of-", "id-token-of-")
	for _, q := range w.issuer.asked {
		secrets = append(secrets, q.Nonce, q.Verifier)
	}
	for _, jar := range []map[string]string{flowCookies, session} {
		for name, value := range jar {
			if !strings.HasPrefix(name, roundsCookie) {
				secrets = append(secrets, value)
			}
		}
	}
	for _, secret := range secrets {
		if strings.Contains(w.log.String(), secret) || strings.Contains(shown.String(), secret) {
			t.Errorf("%.12s… was shown or logged", secret)
		}
	}
	if !strings.Contains(w.log.String(), words.SignedIn) || !strings.Contains(w.log.String(), "req-1") {
		t.Errorf("the log says little: %s", w.log)
	}
}

func FuzzCallback(f *testing.F) {
	f.Add("code=x&state=" + strings.Repeat("s", 43))
	f.Add("error=access_denied&state=Y")
	f.Add("state=%zz&code=;&code")
	f.Fuzz(func(t *testing.T, query string) {
		a, ok := readReply(query)
		if ok && (len(a.state) != stateLength || len(a.code) > maxCode || (a.code == "") == (a.failure == "")) {
			t.Errorf("%q passed", query)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", flowCookie+"00000000="+query)
		for _, c := range r.Cookies() {
			begun(c)
		}
	})
}
