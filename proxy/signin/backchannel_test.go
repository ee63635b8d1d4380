package signin

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/signin/words"
)

const (
	backchannelURL = "https://10.0.0.7/akprox/backchannel_logout" // no host that is guarded
	wikiStart      = "https://wiki.example.com/akprox/start?rd=/"
	wikiInfo       = "https://wiki.example.com/akprox/userinfo"
)

// logout posts a logout token as an issuer does.
func (b *browser) logout(token string) answer {
	b.w.t.Helper()
	return b.sendBody("POST", backchannelURL, url.Values{"logout_token": {token}}.Encode(), formType)
}

func (w *world) grantSID(sid string) { w.issuer.set(func(i *stubIssuer) { i.sid = sid }) }

func (b *browser) wants(status int) {
	b.w.t.Helper()
	if got := b.get(wikiInfo).status; got != status {
		b.w.t.Errorf("userinfo: %d, want %d", got, status)
	}
}

func TestBackChannelLogout(t *testing.T) {
	w := newWorld(t)
	issuer, one, two, other := w.browser(), w.browser(), w.browser(), w.browser()
	signIn := func() {
		for b, who := range map[*browser][2]string{one: {"jane", "s1"}, two: {"jane", "s2"}, other: {"bob", "s3"}} {
			w.grantSID(who[1])
			b.signIn(wikiStart, who[0])
		}
	}
	signIn()

	if a := issuer.logout("company sid=unknown jti=0"); a.status != 200 || a.body != "" {
		t.Errorf("no session: %d %s", a.status, a.body)
	}
	if a := issuer.logout("company sid=s1 sub=sub-jane jti=1"); a.status != 200 || a.body != "" {
		t.Errorf("%d %s", a.status, a.body)
	}
	one.wants(401)
	two.wants(200) // another session of hers at the issuer
	other.wants(200)
	if a := issuer.logout("company sub=sub-jane jti=2"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	two.wants(401)
	other.wants(200)

	// She may come back, and a token that was used is not used again.
	w.clock.advance(time.Second)
	w.grantSID("s4")
	two.signIn(wikiStart, "jane")
	two.wants(200)
	if a := issuer.logout("company sub=sub-jane jti=2"); a.status != 400 || !strings.Contains(a.body, `"error":"invalid_request"`) {
		t.Errorf("a replay: %d %s", a.status, a.body)
	}
	two.wants(200)
	if w.observed(words.IssuerOut) != 3 || w.observed(words.OldLogout) != 1 {
		t.Errorf("observed %d, %d", w.observed(words.IssuerOut), w.observed(words.OldLogout))
	}
}

// The issuer names its session in the logout token and did not in the ID token:
// which of hers it is cannot be told, so each that may be it ends.
func TestBackChannelLogoutOfASessionThatHadNoName(t *testing.T) {
	w := newWorld(t)
	issuer, unnamed, named, other := w.browser(), w.browser(), w.browser(), w.browser()
	for b, who := range map[*browser][2]string{unnamed: {"jane", ""}, named: {"jane", "s2"}, other: {"bob", ""}} {
		w.grantSID(who[1])
		b.signIn(wikiStart, who[0])
	}
	if a := issuer.logout("company sid=s1 jti=1"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	unnamed.wants(200) // nobody is named
	w.clock.advance(time.Second)
	w.grantSID("")
	late := w.browser()
	callback := late.begin(wikiStart, "jane") // under way
	if a := issuer.logout("company sid=s1 sub=sub-jane jti=2"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	late.get(callback)
	late.wants(401)
	unnamed.wants(401)
	named.wants(200)
	other.wants(200)
}

// A sign-in that was under way when its person's sessions were ended is refused,
// and takes nothing with it that the person has begun since.
func TestAStaleSignInEndsNothingElse(t *testing.T) {
	for _, end := range []func(w *world, desk *browser){
		func(_ *world, desk *browser) {
			desk.sendBody("POST", "https://wiki.example.com/akprox/sign_out", "everywhere=1", sameOrigin, formType)
		},
		func(w *world, _ *browser) { w.browser().logout("company sub=sub-jane jti=1") },
	} {
		w := newWorld(t)
		desk, phone, stale := w.browser(), w.browser(), w.browser()
		desk.signIn(wikiStart, "jane")
		callback := stale.begin(wikiStart, "jane") // a tab that is left at the issuer's page
		w.clock.advance(time.Second)
		end(w, desk)
		desk.wants(401)
		w.clock.advance(time.Minute)
		phone.signIn(wikiStart, "jane")
		phone.wants(200)
		stale.get(callback)
		stale.wants(401)
		phone.wants(200)
	}
}

func TestBackChannelLogoutRefusals(t *testing.T) {
	w := newWorld(t)
	b, issuer := w.browser(), w.browser()
	w.grantSID("s1")
	b.signIn(wikiStart, "jane")
	good := "logout_token=company+sid%3Ds1+jti%3D1"
	for _, row := range []struct {
		name, method, body string
		headers            []string
		status             int
	}{
		{"GET", "GET", "", nil, 405},
		{"PUT", "PUT", good, []string{formType}, 405},
		{"no content type", "POST", good, nil, 400},
		{"JSON", "POST", `{"logout_token":"company sid=s1 jti=1"}`, []string{"Content-Type: application/json"}, 400},
		{"text", "POST", good, []string{"Content-Type: text/plain"}, 400},
		{"no body", "POST", "", []string{formType}, 400},
		{"no token", "POST", "x=y", []string{formType}, 400},
		{"an empty token", "POST", "logout_token=", []string{formType}, 400},
		{"two tokens", "POST", good + "&" + good, []string{formType}, 400},
		{"a bad escape", "POST", good + "&x=%zz", []string{formType}, 400},
		{"too large", "POST", good + "&x=" + strings.Repeat("x", 40<<10), []string{formType}, 400},
		{"forged", "POST", "logout_token=forged+sid%3Ds1+jti%3D1", []string{formType}, 400},
		{"another issuer's", "POST", "logout_token=else+sid%3Ds1+jti%3D1", []string{formType}, 400},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := issuer.sendBody(row.method, backchannelURL, row.body, row.headers...)
			if a.status != row.status || !strings.Contains(a.body, `"error":"invalid_request","error_description":"`) || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", a.status, a.body)
			}
			if row.status == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
			b.wants(200)
		})
	}
	if strings.Contains(w.log.String(), "sid=s1") {
		t.Errorf("the log quotes a token: %s", w.log)
	}
	if a := issuer.sendBody("POST", backchannelURL, good, formType+"; charset=utf-8"); a.status != 200 {
		t.Errorf("the good one: %d %s", a.status, a.body)
	}
	b.wants(401)
}

// OIDC Back-Channel Logout 1.0, section 2.8: a logout that failed is 400, too.
// The issuer may send the token again.
func TestBackChannelLogoutThatFailedMayBeTriedAgain(t *testing.T) {
	for name, down := range map[string]func(*world, bool){
		"the store is silent":          func(w *world, yes bool) { w.store.broken.Store(yes) },
		"the store fails in between":   func(w *world, yes bool) { w.store.untagged.Store(yes) },
		"the issuer's keys are silent": func(w *world, yes bool) { w.issuer.set(func(i *stubIssuer) { i.down = yes }) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			w.grantSID("s1")
			b.signIn(wikiStart, "jane")
			down(w, true)
			a := w.browser().logout("company sid=s1 jti=1")
			if a.status != 400 || !strings.Contains(a.body, `"error":"temporarily_unavailable"`) || a.header.Get("Retry-After") == "" {
				t.Errorf("%d %s", a.status, a.body)
			}
			down(w, false)
			if a := w.browser().logout("company sid=s1 jti=1"); a.status != 200 {
				t.Errorf("again: %d %s", a.status, a.body)
			}
			b.wants(401)
		})
	}
}

// A logout token that arrives between the issuer's answer and our session ends
// that session, too.
func TestASignInThatWasEndedMeanwhileMakesNoSession(t *testing.T) {
	for name, row := range map[string]struct {
		token string
		lives bool
	}{
		"its session":              {"company sid=s1 jti=1", false},
		"its person":               {"company sub=sub-jane jti=1", false},
		"another session":          {"company sid=s2 sub=sub-jane jti=1", true},
		"another person":           {"company sub=sub-bob jti=1", true},
		"another person's session": {"company sub=sub-bob sid=s9 jti=1", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			back := b.begin(wikiStart, "jane")
			w.issuer.set(func(i *stubIssuer) {
				i.sid = "s1"
				i.meanwhile = func() {
					i.mu.Unlock()
					defer i.mu.Lock()
					if a := w.browser().logout(row.token); a.status != http.StatusOK {
						t.Errorf("%d %s", a.status, a.body)
					}
				}
			})
			a := b.get(back)
			if row.lives {
				if a.status != 302 {
					t.Errorf("%d %s", a.status, a.body)
				}
				b.wants(200)
				return
			}
			if a.status != 403 || !strings.Contains(a.body, "You were signed out meanwhile") || a.cookie("akprox_77696b69") != nil {
				t.Errorf("%d %s %v", a.status, a.body, a.header)
			}
			b.wants(401)
			if w.observed(words.Ended) != 1 || w.observed(words.SignedIn) != 0 {
				t.Error("not recorded as it was")
			}
			// With a new session at the issuer it works again.
			w.clock.advance(time.Second)
			w.issuer.set(func(i *stubIssuer) { i.sid, i.meanwhile = "s2", nil })
			b.signIn(wikiStart, "jane")
			b.wants(200)
		})
	}
}

// An issuer may vouch for a session a moment after it said that it ends; one
// that uses the same name again later means another session.
func TestASessionThatEndsAtTheIssuerDoesNotComeBackAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	w.grantSID("s1")
	if a := w.browser().logout("company sid=s1 jti=1"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	w.clock.advance(10 * time.Second)
	if a := b.signIn(wikiStart, "jane"); a.status != 403 {
		t.Errorf("at once: %d %s", a.status, a.body)
	}
	b.wants(401)
	w.clock.advance(time.Minute)
	b.signIn(wikiStart, "jane")
	b.wants(200)
}

func TestASignInIsNotTakenForGoodWhileTheStoreIsSilent(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	back := b.begin(wikiStart, "jane")
	w.store.silentFor(endedPrefix)
	a := b.get(back)
	if a.status != 503 || a.cookie("akprox_77696b69") != nil {
		t.Errorf("%d %v", a.status, a.header)
	}
}

// A flood of bad tokens does not fill the log, and the issuer is heard.
func TestAFloodOfBadLogoutTokens(t *testing.T) {
	w := newWorld(t)
	b, flood := w.browser(), w.browser()
	w.grantSID("s1")
	b.signIn(wikiStart, "jane")
	for range 300 {
		flood.logout("forged")
	}
	if n := strings.Count(w.log.String(), words.BadLogout); n == 0 || n > 60 {
		t.Errorf("%d lines", n)
	}
	if w.observed(words.BadLogout) != 300 {
		t.Errorf("%d counted", w.observed(words.BadLogout))
	}
	if a := flood.logout("company sid=s1 jti=1"); a.status != 200 {
		t.Errorf("the issuer: %d %s", a.status, a.body)
	}
	b.wants(401)
}
