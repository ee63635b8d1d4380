package signin

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/signin/words"
)

func TestSignOut(t *testing.T) {
	const here = "https://wiki.example.com/akprox/sign_out"
	for _, row := range []struct {
		name    string
		method  string
		headers []string
		out     bool
		status  int
	}{
		{"a link on the same site signs out", "GET", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"}, true, 302},
		{"a link on a sibling host signs out", "GET", []string{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: navigate"}, true, 302},
		{"an address typed in asks", "GET", []string{"Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"}, false, 200},
		{"a link on another site asks", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, false, 200},
		{"an image on another site does nothing", "GET", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, false, 200},
		{"an image on the same site does nothing", "GET", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors"}, false, 200},
		{"a prefetch does nothing", "GET", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate", "Sec-Purpose: prefetch"}, false, 200},
		{"an old browser is asked", "GET", nil, false, 200},
		{"HEAD does nothing", "HEAD", []string{"Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"}, false, 200},
		{"the form signs out", "POST", []string{"Sec-Fetch-Site: same-origin", "Origin: null"}, true, 303},
		{"a form without a site behind it signs out", "POST", []string{"Sec-Fetch-Site: none"}, true, 303},
		{"a form on another site asks", "POST", []string{"Sec-Fetch-Site: cross-site", "Origin: https://wiki.example.com"}, false, 403},
		{"the form of a browser that tells only the origin", "POST", []string{"Origin: https://wiki.example.com"}, true, 303},
		{"a port is no other site", "POST", []string{"Origin: https://wiki.example.com:8443"}, true, 303},
		{"another origin asks", "POST", []string{"Origin: https://evil.test"}, false, 403},
		{"an origin that begins alike asks", "POST", []string{"Origin: https://wiki.example.com.evil.test"}, false, 403},
		{"an origin that is hidden asks", "POST", []string{"Origin: null"}, false, 403},
		{"what is no browser signs out", "POST", nil, true, 303},
		{"caddy-security 2024: X-Forwarded-Host means nothing", "POST", []string{"Sec-Fetch-Site: same-origin", "X-Forwarded-Host: evil.test"}, true, 303},
		{"DELETE is not served", "DELETE", nil, false, 405},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
			before := b.cookies("wiki.example.com")
			a := b.send(row.method, here, row.headers...)
			if a.status != row.status {
				t.Errorf("got %d, want %d", a.status, row.status)
			}
			wantLocation := "https://id.example.net/end?id_token_hint=id-token-of-jane&to=https%3A%2F%2Fwiki.example.com%2Fbye"
			if row.out && a.location != wantLocation || !row.out && a.location != "" {
				t.Errorf("location %q", a.location)
			}
			if got := b.get("https://wiki.example.com/akprox/userinfo").status; got == 200 == row.out {
				t.Errorf("userinfo afterwards: %d", got)
			}
			name := w.apps.Load().All()[0].Cookie.Name
			if _, there := b.cookies("wiki.example.com")[name]; there == row.out {
				t.Errorf("the cookie is there: %v", there)
			}
			thief := w.browser() // the record is gone, not only the cookie
			if got := thief.get("https://wiki.example.com/akprox/userinfo", "Cookie: "+name+"="+before[name]).status; got == 200 == row.out {
				t.Errorf("the old cookie: %d", got)
			}
		})
	}
}

func TestTheConfirmationIsAFormThatWorks(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
	a := b.get("https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
	for _, want := range []string{`<form method="post" action="/akprox/sign_out">`, "signed in as jane", `href="https://wiki.example.com/"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if a.header.Get("Set-Cookie") != "" || a.header.Get("Referrer-Policy") != "same-origin" {
		t.Errorf("%v", a.header)
	}
}

func TestSignOutEndsEverySessionOfTheHost(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
	b.signIn("https://wiki.example.com/akprox/start?rd=/docs", "jane")
	b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin")
	if got := b.cookies("wiki.example.com"); len(got) != 0 {
		t.Errorf("cookies left: %v", got)
	}
	if w.observed(words.SignedOut) != 2 {
		t.Errorf("%d sessions ended, want 2", w.observed(words.SignedOut))
	}
}

func TestSignOutOfADomainWorksOnEveryHostOfIt(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://auth.example.org/akprox/start?rd=https://git.example.org/", "jane")
	if a := b.send("POST", "https://git.example.org/akprox/sign_out", "Sec-Fetch-Site: same-origin"); a.status != 303 {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, host := range []string{"auth.example.org", "git.example.org"} {
		if got := b.get("https://" + host + "/akprox/userinfo").status; got != 401 {
			t.Errorf("%s: %d", host, got)
		}
	}
}

func TestWhoIsNotSignedInIsSignedOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, method := range []string{"GET", "POST"} {
		a := b.send(method, "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate")
		if a.status != 200 || !strings.Contains(a.body, "You are signed out") || !strings.Contains(a.body, "Sign in again") {
			t.Errorf("%s: %d %s", method, a.status, a.body)
		}
	}
	if a := b.get("https://wiki.example.com/akprox/sign_out"); !strings.Contains(a.body, "You are signed out") {
		t.Errorf("from the issuer: %d %s", a.status, a.body)
	}
	if w.observed(words.SignedOut) != 0 {
		t.Error("nothing was ended")
	}
	if a := b.send("POST", "https://keys.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin"); a.status != 200 || strings.Contains(a.body, "Sign in again") {
		t.Errorf("an application without sign-in: %d %s", a.status, a.body)
	}
}

func TestSignOutWhereTheIssuerHasNoPageForIt(t *testing.T) {
	for name, change := range map[string]func(*stubIssuer){
		"it has none":     func(i *stubIssuer) { i.noSignOut = true },
		"it is not there": func(i *stubIssuer) { i.down = true },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
			w.issuer.set(change)
			a := b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin")
			if a.status != 200 || !strings.Contains(a.body, "You are signed out") {
				t.Errorf("%d %s", a.status, a.body)
			}
			if got := b.get("https://wiki.example.com/akprox/userinfo").status; got != 401 {
				t.Errorf("userinfo: %d", got)
			}
		})
	}
}

func TestSignOutWithTheStoreGoneKeepsTheCookie(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
	w.store.broken.Store(true)
	a := b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin")
	if a.status != 503 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	w.store.broken.Store(false)
	if a := b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin"); a.status != 303 {
		t.Errorf("again: %d", a.status)
	}
}

func TestSigningOutAndInAgainIsNoLoop(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for range 2 * maxRounds {
		if a := b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane"); a.location != "https://wiki.example.com/" {
			t.Fatalf("%d %q", a.status, a.location)
		}
		b.send("POST", "https://wiki.example.com/akprox/sign_out", "Sec-Fetch-Site: same-origin")
	}
}

func TestSignOutOverPlainHTTP(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("http://bare.example.com/akprox/start?rd=/", "jane")
	a := b.send("POST", "http://bare.example.com/akprox/sign_out", "Origin: http://bare.example.com")
	if u, _ := url.Parse(a.location); a.status != 303 || u.Host != "id.example.net" {
		t.Errorf("%d %q", a.status, a.location)
	}
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for _, row := range []struct {
		name, method, url string
		status            int
		body              string
	}{
		{"nobody", "GET", "https://wiki.example.com/akprox/userinfo", 401, `{"error":"unauthorized","reason":"no_session","request_id":"req-1"}`},
		{"a host that nobody guards", "GET", "https://evil.test/akprox/userinfo", 404, `{"error":"unknown_host","reason":"unknown_host","request_id":"req-1"}`},
		{"POST is not served", "POST", "https://wiki.example.com/akprox/userinfo", 405, `{"error":"bad_request","reason":"method_not_allowed","request_id":"req-1"}`},
		{"HEAD has no body", "HEAD", "https://wiki.example.com/akprox/userinfo", 401, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := b.send(row.method, row.url)
			if a.status != row.status || strings.TrimSpace(a.body) != row.body || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane")
	w.signIn.Sessions.Rekey([][]byte{[]byte(strings.Repeat("k", 32))}) // forgets what is in memory
	w.store.broken.Store(true)
	if a := b.get("https://wiki.example.com/akprox/userinfo"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("store down: %d %s", a.status, a.body)
	}
	w.store.broken.Store(false)
	if a := b.get("https://wiki.example.com/akprox/userinfo"); a.status != 200 {
		t.Errorf("healed: %d %s", a.status, a.body)
	}
}

func TestSignOutEverywhere(t *testing.T) {
	const here = "https://wiki.example.com/akprox/sign_out"
	w := newWorld(t)
	desk, phone, other := w.browser(), w.browser(), w.browser()
	signIn := func() {
		desk.signIn(wikiStart, "jane")
		phone.signIn("https://auth.example.org/akprox/start?rd=https://git.example.org/", "jane")
	}
	elsewhere := func() int { return phone.get("https://git.example.org/akprox/userinfo").status }
	post := func(headers ...string) answer {
		return desk.sendBody("POST", here, "everywhere=1", append(headers, formType)...)
	}
	link := func(headers ...string) answer { return desk.get(here+"?everywhere=1", headers...) }
	signIn()
	other.signIn(wikiStart, "bob")
	for name, a := range map[string]answer{
		"a form on another site":    post("Sec-Fetch-Site: cross-site"),
		"a hidden origin":           post("Origin: null"),
		"a link on the same site":   link("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"),
		"a link on another site":    link("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),
		"an image on the same site": link("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: no-cors"),
	} {
		if !strings.Contains(a.body, `name="everywhere" value="1" aria-describedby="other"`) || a.status != 200 && a.status != 403 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if desk.wants(200); elsewhere() != 200 {
		t.Error("one of them ended something")
	}

	w.store.untagged.Store(true)
	if a := post(sameOrigin); a.status != 503 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("the store is silent: %d %v", a.status, a.header)
	}
	w.store.untagged.Store(false)
	desk.wants(200)

	a := post(sameOrigin)
	if a.status != 303 || !strings.HasPrefix(a.location, "https://id.example.net/end?id_token_hint=id-token-of-jane") {
		t.Errorf("%d %q", a.status, a.location)
	}
	if desk.wants(401); elsewhere() != 401 {
		t.Error("the other browser is signed in on the other host")
	}
	if got := desk.cookies("wiki.example.com"); len(got) != 0 {
		t.Errorf("cookies left: %v", got)
	}
	other.wants(200)
	if w.observed(words.Everywhere) != 1 {
		t.Errorf("observed %d", w.observed(words.Everywhere))
	}

	w.clock.advance(time.Second)
	signIn()
	if desk.wants(200); elsewhere() != 200 {
		t.Error("she cannot sign in again")
	}
	desk.send("POST", here, sameOrigin) // about this host alone
	if desk.wants(401); elsewhere() != 200 {
		t.Error("the plain sign-out reached elsewhere")
	}
	if a := post(sameOrigin); a.status != 200 || !strings.Contains(a.body, "You are signed out") {
		t.Errorf("nobody there: %d", a.status)
	}
	if elsewhere() != 200 {
		t.Error("who is not signed in here ended a session elsewhere")
	}
}
