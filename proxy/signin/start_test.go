package signin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/proxy/signin/words"
)

func TestSignInFromStartToEnd(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("https://wiki.example.com/akprox/start?rd=/app?a=1&b=2")
	c := a.cookie(flowCookie)
	if a.status != http.StatusFound || c == nil || c.Path != "/akprox/" || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 || c.Domain != "" {
		t.Fatalf("start: %d %v", a.status, a.header)
	}
	if !strings.Contains(a.body, "Signing in") || strings.Contains(a.body, w.issuer.states()[0]) {
		t.Errorf("the progress page: %q", a.body)
	}
	q := w.issuer.asked[w.issuer.states()[0]]
	if q.RedirectURL != "https://wiki.example.com/akprox/callback" || len(q.State) != 43 || len(q.Nonce) != 43 || len(q.Verifier) < 43 {
		t.Errorf("the issuer is asked with a redirect to %s", q.RedirectURL)
	}
	back, _ := w.issuer.signIn(a.location, "jane")
	a = b.get(back)
	if a.status != http.StatusFound || a.location != "https://wiki.example.com/app?a=1&b=2" {
		t.Fatalf("callback: %d %q %s", a.status, a.location, a.body)
	}
	if got := a.header.Get("Referrer-Policy"); got != "no-referrer" {
		t.Errorf("Referrer-Policy %q", got)
	}
	if b.count("wiki.example.com", flowCookie) != 0 || w.flows() != 0 {
		t.Error("the flow is still there")
	}
	a = b.get("https://wiki.example.com/akprox/userinfo")
	if want := `{"sub":"sub-jane","preferred_username":"jane","email":"jane@example.com","groups":["staff"],"provider":"company"}` + "\n"; a.status != 200 || a.body != want {
		t.Errorf("userinfo: %d %s", a.status, a.body)
	}
	if w.observed(words.Started) != 1 || w.observed(words.SignedIn) != 1 {
		t.Error("the metric was not told")
	}
}

func TestStart(t *testing.T) {
	for _, row := range []struct {
		name     string
		method   string
		url      string
		headers  []string
		status   int
		location string // a beginning of it
		flows    int
	}{
		{"a navigation goes to the issuer", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"Sec-Fetch-Mode: navigate"}, 302, "https://id.example.net/", 1},
		{"sign_in is an alias", "GET", "https://wiki.example.com/akprox/sign_in?rd=/", nil, 302, "https://id.example.net/", 1},
		{"without rd too", "GET", "https://wiki.example.com/akprox/start", nil, 302, "https://id.example.net/", 1},
		{"under the alias", "GET", "https://wiki.example.com/outpost.goauthentik.io/start", nil, 302, "https://id.example.net/", 1},
		{"a script gets JSON and no flow", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"Sec-Fetch-Mode: cors"}, 401, "", 0},
		{"an image gets no flow", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"Sec-Fetch-Mode: no-cors"}, 401, "", 0},
		{"a prefetch gets no flow", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"Sec-Purpose: prefetch;prerender", "Sec-Fetch-Mode: navigate"}, 204, "", 0},
		{"an old prefetch gets no flow", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"Purpose: prefetch"}, 204, "", 0},
		{"HEAD gets no flow", "HEAD", "https://wiki.example.com/akprox/start?rd=/", nil, 405, "", 0},
		{"POST is not served", "POST", "https://wiki.example.com/akprox/start?rd=/", nil, 405, "", 0},
		{"a host that nobody guards", "GET", "https://evil.test/akprox/start?rd=/", nil, 404, "", 0},
		{"an application without sign-in says so", "GET", "https://keys.example.com/akprox/start?rd=/", nil, 404, "", 0},
		{"a member of a domain signs in at the domain's own host", "GET", "https://git.example.org/akprox/start?rd=/x?a=1&b=2", nil, 302, "https://auth.example.org/akprox/start?rd=https%3A%2F%2Fgit.example.org%2Fx%3Fa%3D1%26b%3D2", 0},
		{"another application's page is signed in to there", "GET", "https://wiki.example.com/akprox/start?rd=https://ported.example.com:8443/x", nil, 302, "https://ported.example.com:8443/akprox/start?rd=https%3A%2F%2Fported.example.com%3A8443%2Fx", 0},
		{"ports do not matter for cookies", "GET", "https://ported.example.com:8443/akprox/start?rd=/x", nil, 302, "https://id.example.net/", 1},
		{"authentik domain level: a longer name is another host", "GET", "https://evil-example.org/akprox/start?rd=/", nil, 404, "", 0},
		{"callback URLs come from the document", "GET", "https://wiki.example.com/akprox/start?rd=/", []string{"X-Forwarded-Host: evil.test", "X-Forwarded-Proto: http", "Forwarded: host=evil.test"}, 302, "https://id.example.net/auth?redirect_uri=https%3A%2F%2Fwiki.example.com%2Fakprox%2Fcallback&", 1},
		{"Caddy CVE-2026-27588: a host in capitals", "GET", "https://WIKI.example.com/akprox/start?rd=/", nil, 302, "https://id.example.net/", 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			a := b.send(row.method, row.url, row.headers...)
			if a.status != row.status || !strings.HasPrefix(a.location, row.location) || row.location == "" && a.location != "" {
				t.Errorf("got %d %q, want %d %q", a.status, a.location, row.status, row.location)
			}
			if got := w.flows(); got != row.flows {
				t.Errorf("%d flows, want %d", got, row.flows)
			}
			if a.status == 405 && a.header.Get("Allow") != "GET" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
}

func TestOneCookieServesTheWholeDomain(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("https://git.example.org/akprox/start?rd=https://git.example.org/x")
	a = b.signIn(a.location, "jane")
	if a.location != "https://git.example.org/x" {
		t.Fatalf("%d %q", a.status, a.location)
	}
	for _, host := range []string{"auth.example.org", "git.example.org", "a.b.example.org"} {
		if got := b.get("https://" + host + "/akprox/userinfo"); got.status != 200 {
			t.Errorf("%s: %d", host, got.status)
		}
	}
	if got := b.get("https://wiki.example.com/akprox/userinfo"); got.status != 401 {
		t.Errorf("another site: %d", got.status)
	}
}

func TestWhoIsSignedInGoesBackAtOnce(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://wiki.example.com/akprox/start?rd=/a", "jane")
	if a := b.get("https://wiki.example.com/akprox/start?rd=/b"); a.location != "https://wiki.example.com/b" || w.flows() != 0 {
		t.Errorf("%d %q, %d flows", a.status, a.location, w.flows())
	}
}

func TestASessionOfAnotherProviderSignsInAnew(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("https://wiki.example.com/akprox/start?rd=/a", "jane")
	other := w.app("wiki", "https", "wiki.example.com", "/", "")
	other.SignIn.Provider = "other"
	w.serveApps(other)
	if a := b.get("https://wiki.example.com/akprox/start?rd=/b"); !strings.HasPrefix(a.location, "https://id.example.net/") {
		t.Errorf("%d %q", a.status, a.location)
	}
}

func TestANinthTabEndsTheOldestSignIn(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	var backs []string
	for i := range 9 {
		backs = append(backs, b.begin(fmt.Sprintf("https://wiki.example.com/akprox/start?rd=/%d", i), "jane"))
		w.clock.advance(time.Second)
	}
	if got := b.count("wiki.example.com", flowCookie); got != maxOwnFlows {
		t.Errorf("%d flow cookies, want %d", got, maxOwnFlows)
	}
	for i, back := range backs[1:] {
		if a := b.get(back); a.location != fmt.Sprintf("https://wiki.example.com/%d", i+1) {
			t.Errorf("tab %d: %d %q", i+1, a.status, a.location)
		}
	}
	if a := b.get(backs[0]); a.status != http.StatusBadRequest {
		t.Errorf("the first tab: %d %q", a.status, a.location)
	}
}

func TestAFlowCookieThatWeDidNotMakeGoesFirst(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for i := range 7 {
		b.begin(fmt.Sprintf("https://wiki.example.com/akprox/start?rd=/%d", i), "jane")
	}
	u, _ := url.Parse("https://wiki.example.com/akprox/")
	b.jar.SetCookies(u, []*http.Cookie{{Name: flowCookie + "00000000", Value: "made-up", Path: "/akprox/"}})
	b.begin("https://wiki.example.com/akprox/start?rd=/8", "jane")
	if _, there := b.cookies("wiki.example.com")[flowCookie+"00000000"]; there || b.count("wiki.example.com", flowCookie) != 8 {
		t.Errorf("%v", b.cookies("wiki.example.com"))
	}
}

func TestFlowsAreBoundedInAll(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.begin("https://wiki.example.com/akprox/start", "jane")
	w.signIn.crowd.n = maxFlows
	a := b.get("https://wiki.example.com/akprox/start?rd=/")
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if w.observed(words.Crowded) != 1 || w.flows() != 1 {
		t.Errorf("%d flows", w.flows())
	}
	w.clock.advance(recount)
	b.begin("https://wiki.example.com/akprox/start", "jane") // those that ended are counted no longer
}

func TestWhatIsDownLeavesNothingBehind(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	w.issuer.set(func(i *stubIssuer) { i.down = true })
	a := b.get("https://wiki.example.com/akprox/start?rd=/")
	if a.status != 503 || a.header.Get("Retry-After") == "" || a.header.Get("Set-Cookie") != "" || w.flows() != 0 || w.observed(words.IssuerDown) != 1 {
		t.Errorf("issuer down: %d %v", a.status, a.header)
	}
	w.issuer.set(func(i *stubIssuer) { i.down = false })
	w.store.broken.Store(true)
	a = b.get("https://wiki.example.com/akprox/start?rd=/")
	if a.status != 503 || a.header.Get("Set-Cookie") != "" || w.observed(words.Unavailable) != 1 {
		t.Errorf("store down: %d %v", a.status, a.header)
	}
	w.store.broken.Store(false)
	if a := b.signIn("https://wiki.example.com/akprox/start?rd=/", "jane"); a.location != "https://wiki.example.com/" {
		t.Errorf("healed: %d %q", a.status, a.location)
	}
}

func TestALoopEndsInAPageThatNamesTheCause(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	start := "https://wiki.example.com/akprox/start?rd=/x"
	b.signIn(start, "jane")
	for range maxRounds - 1 {
		if a := b.get(start); a.location != "https://wiki.example.com/x" {
			t.Fatalf("%d %q", a.status, a.location)
		}
	}
	a := b.get(start)
	if a.status != 400 || !strings.Contains(a.body, "external_url") || w.observed(words.Looping) != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if other := b.get("https://wiki.example.com/akprox/start?rd=/y"); other.location != "https://wiki.example.com/y" {
		t.Errorf("another tab: %d %q", other.status, other.location)
	}
	anew := b.get("https://wiki.example.com/akprox/start?again=1&rd=/x")
	if !strings.HasPrefix(anew.location, "https://id.example.net/") || b.count("wiki.example.com", roundsCookie) != 1 {
		t.Errorf("again: %d %q %v", anew.status, anew.location, b.cookies("wiki.example.com"))
	}
}

func TestABrowserThatLosesItsSessionCookieIsStopped(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	start := "https://wiki.example.com/akprox/start?rd=/x"
	for range maxRounds {
		b.signIn(start, "jane")
		u, _ := url.Parse("https://wiki.example.com/")
		b.jar.SetCookies(u, []*http.Cookie{{Name: w.apps.Load().All()[0].Cookie.Name, MaxAge: -1, Path: "/"}})
	}
	if a := b.get(start); a.status != 400 || w.observed(words.Looping) != 1 {
		t.Errorf("%d %q", a.status, a.location)
	}
}

func TestManyTabsAreNoLoop(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	var backs []string
	for i := range maxOwnFlows {
		backs = append(backs, b.begin(fmt.Sprintf("https://wiki.example.com/akprox/start?rd=/%d", i), "jane"))
	}
	for i, back := range backs {
		if a := b.get(back); a.location != fmt.Sprintf("https://wiki.example.com/%d", i) {
			t.Errorf("tab %d: %d %q", i, a.status, a.location)
		}
	}
	for i := range 20 {
		if a := b.get(fmt.Sprintf("https://wiki.example.com/akprox/start?rd=/%d", i)); a.location != fmt.Sprintf("https://wiki.example.com/%d", i) {
			t.Errorf("later tab %d: %d %q", i, a.status, a.location)
		}
	}
}
