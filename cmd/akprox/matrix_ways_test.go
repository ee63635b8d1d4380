package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// hostileWays are the rows of docs/security-tests.md that one question does
// not show: they lead through our own endpoints, or come from a stranger.
var hostileWays = []struct {
	id  string
	run func(t *testing.T, m *matrixWorld)
}{
	{"domain-suffix", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "https://evil-example.test/", "http://evil-example.test/", "http://example.test.evil.test/")
	}},
	{"CVE-2020-5233", func(t *testing.T, m *matrixWorld) { m.comesHome(t, `/\evil.test`, "/%5Cevil.test", "%2F%5Cevil.test") }},
	{"CVE-2020-11053", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "/%09/evil.test", "%2F%09%2Fevil.test", "/%0A/evil.test", "%2F%0D%2Fevil.test")
	}},
	{"CVE-2020-4037", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "https://evilexample.test", "http://evilexample.test/x")
	}},
	{"CVE-2021-21291", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, `/./\evil.test`, "/.//evil.test", "/%2e%2fevil.test/..//x")
	}},
	{"CVE-2021-29456", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "http://example.test.evil.test/", "http://wiki.example.test.evil.test/", "http://evil.test/.example.test")
	}},
	{"CVE-2021-29456", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "javascript:alert(1)", "//evil.test", "http:evil.test", "http://wiki.example.test@evil.test/", "http://user:pw@wiki.example.test/", "http://[::1", "ht%09tp://evil.test/")
	}},
	{"auth-signin", func(t *testing.T, m *matrixWorld) {
		m.comesHome(t, "https://evil.test/&rd=/page", "/page&rd=https://evil.test/", "http://evil.test%2F&rd=%2F")
		for rd, want := range map[string]string{
			"/page?a=1&b=2": "http://wiki.example.test/page?a=1&b=2", "http://wiki.example.test/page": "http://wiki.example.test/page",
			"/page&rd=http://wiki.example.test/page": "http://wiki.example.test/page",
		} {
			if got := m.endsAt(t, rd); got != want {
				t.Errorf("rd=%s ends at %s", rd, got)
			}
		}
	}},
	{"CVE-2017-1000069", callbackWithoutItsCookie},
	{"CVE-2021-32637", func(t *testing.T, m *matrixWorld) {
		for _, host := range []string{"\x00host", "host\x00", "ho st", "wiki.example.test\x0b"} {
			raw := wire("GET /akprox/auth/nginx", "outpost", []string{"X-Original-URL: http://" + host + "/health"})
			if resp := m.send("GET", raw); resp.StatusCode < 400 {
				t.Errorf("%q: %d", host, resp.StatusCode)
			}
		}
	}},
	{"CVE-2023-36456", strangersAreNotBelieved},
	{"CVE-2026-40575", strangersAreNotBelieved},
	{"CVE-2026-33495", strangersAreNotBelieved},
	{"CVE-2026-34454", signOutReallyDoes},
	{"sign-out-set", signOutReallyDoes},
	{"CVE-2024-39315", func(t *testing.T, m *matrixWorld) {
		alice := m.browser()
		m.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
		for _, path := range []string{"/akprox/userinfo", "/akprox/sign_out", "/akprox/start?rd=/"} {
			_, body := m.do(alice, "GET", "http://wiki.example.test"+path, "Accept: text/html")
			if strings.Contains(body, "eyJ") || strings.Contains(body, "token") && path == "/akprox/userinfo" {
				t.Errorf("%s shows a token: %s", path, body)
			}
		}
	}},
	{"S-image-sign-out", func(t *testing.T, m *matrixWorld) {
		alice := m.browser()
		m.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
		for _, lines := range [][]string{
			{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"},
			{"Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"},
			{"Referer: http://evil.test/"},
			{"Sec-Purpose: prefetch", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin"},
			{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"},
			{},
		} {
			m.do(alice, "GET", "http://wiki.example.test/akprox/sign_out", lines...)
		}
		m.do(alice, "POST", "http://wiki.example.test/akprox/sign_out", "Origin: http://evil.test", "Sec-Fetch-Site: cross-site")
		m.do(alice, "POST", "http://wiki.example.test/akprox/sign_out", "Origin: null")
		if resp := m.traefik("http://wiki.example.test/", cookies(alice, "wiki.example.test")); resp.StatusCode != 200 {
			t.Errorf("somebody else's page has signed alice out: %d", resp.StatusCode)
		}
	}},
	{"S-callback-text", func(t *testing.T, m *matrixWorld) {
		for _, query := range []string{"error=call%200900-evil", "error=call%200900-evil&state=" + strings.Repeat("a", 43), "error=access_denied&error_description=call%200900-evil", "state=0900-evil&code=0900-evil"} {
			if _, body := m.do(m.browser(), "GET", "http://wiki.example.test/akprox/callback?"+query, "Accept: text/html"); strings.Contains(body, "0900") {
				t.Errorf("%s is echoed", query)
			}
		}
	}},
	{"S-callback-twice", callbackTwice},
	{"S-start-host", func(t *testing.T, m *matrixWorld) {
		resp, _ := m.do(m.browser(), "GET", "http://wiki.example.test/akprox/start?rd=/", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "Forwarded: host=evil.test", "Accept: text/html")
		to, err := url.Parse(resp.Header.Get("Location"))
		if err != nil || to.Query().Get("redirect_uri") != "http://wiki.example.test/akprox/callback" {
			t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	}},
	{"CVE-2026-40574", addressesThatAreNobodys},
	{"CVE-2025-24806", oneUserInManySpellings},
	{"CVE-2026-33496", aTokenOfAnotherIssuer},
	{"CVE-2021-41230", claimsThatChanged},
	{"S-guesses", guessesAtNobody},
	{"S-renewal", tenAtTheMomentOfARenewal},
}

func TestHostileWays(t *testing.T) {
	m := newMatrixWorld(t)
	for _, w := range hostileWays {
		t.Run(w.id, func(t *testing.T) { m.t = t; w.run(t, m) })
	}
}

// endsAt answers where somebody who is signed in is sent by start.
func (m *matrixWorld) endsAt(t *testing.T, rd string) string {
	t.Helper()
	line := inCookies.FindString(m.credentials["alice"]("wiki.example.test")[0])
	resp := m.send("GET", wire("GET /akprox/start?rd="+rd, "wiki.example.test", []string{"Cookie: " + line, "Accept: text/html"}))
	if resp.StatusCode != 302 {
		t.Errorf("rd=%s: %d", rd, resp.StatusCode)
	}
	return resp.Header.Get("Location")
}

// comesHome: each of the return URLs leads to the application's own address.
func (m *matrixWorld) comesHome(t *testing.T, rds ...string) {
	t.Helper()
	for _, rd := range rds {
		if got := m.endsAt(t, rd); got != "http://wiki.example.test/" && got != "http://wiki.example.test/page" {
			t.Errorf("rd=%q leads to %q", rd, got)
		}
	}
}

// atCallback goes as far as the address that the issuer sends the browser to.
func (m *matrixWorld) atCallback(c *http.Client, user string) string {
	m.t.Helper()
	resp, _ := m.do(c, "GET", "http://wiki.example.test/akprox/start?rd=/page", "Accept: text/html")
	page := resp.Header.Get("Location")
	_, body := m.do(c, "GET", page)
	return m.submit(c, page, body, user)
}

func callbackWithoutItsCookie(t *testing.T, m *matrixWorld) {
	victim, attacker := m.browser(), m.browser()
	back := m.atCallback(attacker, "alice")
	resp, _ := m.do(victim, "GET", back, "Accept: text/html")
	if resp.StatusCode < 400 || len(resp.Header["Set-Cookie"]) > 0 && strings.Contains(cookies(victim, "wiki.example.test"), "akprox_") {
		t.Errorf("the victim gets %d %v", resp.StatusCode, resp.Header["Set-Cookie"])
	}
	if resp, _ := m.do(attacker, "GET", back, "Accept: text/html"); resp.StatusCode == 302 && resp.Header.Get("Location") == "http://wiki.example.test/page" {
		t.Error("the flow was not used up")
	}
	made := "http://wiki.example.test/akprox/callback?code=X&state=" + strings.Repeat("Y", 43)
	if resp, _ := m.do(victim, "GET", made, "Accept: text/html"); resp.StatusCode == 200 {
		t.Errorf("a made-up callback: %d", resp.StatusCode)
	}
	if resp := m.traefik("http://wiki.example.test/", cookies(victim, "wiki.example.test")); resp.StatusCode == 200 {
		t.Error("the victim is signed in as somebody else")
	}
}

func callbackTwice(t *testing.T, m *matrixWorld) {
	c := m.browser()
	back := m.atCallback(c, "bob")
	for range 5 {
		resp, _ := m.do(c, "GET", back, "Accept: text/html")
		if resp.StatusCode != 302 || !strings.HasPrefix(resp.Header.Get("Location"), "http://wiki.example.test/") {
			t.Fatalf("%d %s", resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	if resp := m.traefik("http://wiki.example.test/", cookies(c, "wiki.example.test")); resp.StatusCode != 200 || resp.Header.Get("X-Auth-Username") != "bob" {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

// signOutReallyDoes: whatever the client adds, the record is gone afterwards,
// the cookie is cleared, and nothing leads to where the client said.
func signOutReallyDoes(t *testing.T, m *matrixWorld) {
	for _, lines := range [][]string{
		{"Origin: http://wiki.example.test"},
		{"Origin: http://wiki.example.test", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https"},
	} {
		alice := m.browser()
		m.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
		kept := cookies(alice, "wiki.example.test")
		if resp, _ := m.do(alice, "GET", "http://wiki.example.test/akprox/sign_in?rd=/", "Accept: text/html"); resp.StatusCode >= 400 {
			t.Errorf("the sign-in page with a session: %d", resp.StatusCode)
		}
		resp, body := m.do(alice, "POST", "http://wiki.example.test/akprox/sign_out?redirect_url=https://evil.test&rd=https://evil.test", lines...)
		if strings.Contains(resp.Header.Get("Location"), "evil") || strings.Contains(body, "evil") {
			t.Errorf("sign-out leads to %s\n%s", resp.Header.Get("Location"), body)
		}
		if inCookies.MatchString(cookies(alice, "wiki.example.test")) && !strings.Contains(strings.Join(resp.Header["Set-Cookie"], "\n"), "Max-Age=0") {
			t.Errorf("the cookie is still there: %v", resp.Header["Set-Cookie"])
		}
		if resp := m.traefik("http://wiki.example.test/", kept); resp.StatusCode == 200 {
			t.Error("a kept cookie is good after sign-out")
		}
	}
}

// strangersAreNotBelieved: what a peer tells that is not listed opens nothing.
func strangersAreNotBelieved(t *testing.T, outer *matrixWorld) {
	m := newMatrixWorld(t, "nginx_original_url: true", `nginx_original_url: true, trusted_proxies: ["127.0.0.2/32"]`)
	for _, name := range dialects(t) {
		for _, uri := range []string{"/health", "/public/x", "/page"} {
			for _, who := range []string{"nobody", "alice", "key"} {
				a := asked{name, "GET", "http", "wiki.example.test", uri, "10.1.2.3", who, "page", false}
				if name == "proxy" {
					continue
				}
				if problem := disagreement(a, expected{outcome: "bad_request"}, m.ask(a)); problem != "" {
					t.Errorf("%+v: %s", a, problem)
				}
			}
		}
	}
	spoofed := asked{"proxy", "GET", "https", "legacy.test", "/internal/x", "10.1.2.3", "key", "page", false}
	if resp := m.ask(spoofed, "X-Forwarded-Uri: /health", "X-Forwarded-Host: wiki.example.test"); resp.StatusCode != 200 {
		t.Errorf("a made-up address counts: %d", resp.StatusCode) // robots may not from 10.0.0.0/8
	}
	spoofed.uri, spoofed.who = "/old/x", "alice"
	if resp := m.ask(spoofed, "X-Forwarded-Uri: /health"); resp.StatusCode != 403 {
		t.Errorf("a made-up URI counts: %d", resp.StatusCode)
	}
}
