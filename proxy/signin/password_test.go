package signin

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/signin/form"
	"github.com/akprox/akprox/proxy/signin/words"
)

const (
	peoplePage = "https://people.example.com/akprox/sign_in"
	formType   = "Content-Type: application/x-www-form-urlencoded"
	sameOrigin = "Sec-Fetch-Site: same-origin"
)

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z]+)" value="([^"]*)">`)

// filled answers the form of a page as a browser posts it.
func filled(body, username, password string) url.Values {
	v := url.Values{"username": {username}, "password": {password}}
	for _, m := range hidden.FindAllStringSubmatch(body, -1) {
		v.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
	}
	return v
}

// post posts the form as browsers do.
func (b *browser) post(u string, v url.Values, headers ...string) answer {
	b.w.t.Helper()
	return b.sendBody("POST", u, v.Encode(), append([]string{formType}, headers...)...)
}

func TestPasswordFromStartToEnd(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("https://people.example.com/akprox/start?rd=/app?a=1&b=2", "Sec-Fetch-Mode: navigate")
	if want := peoplePage + "?rd=https%3A%2F%2Fpeople.example.com%2Fapp%3Fa%3D1%26b%3D2"; a.status != 302 || a.location != want {
		t.Fatalf("start: %d %q, want %q", a.status, a.location, want)
	}
	if len(w.browser().cookies("people.example.com")) != 0 || w.flows() != 0 {
		t.Error("start left something behind")
	}
	a = b.get(a.location)
	for _, want := range []string{
		"<h1>Sign in to people</h1>", "people.example.com</span>", `<form method="post" action="/akprox/sign_in">`,
		`<label for="username">`, `autocomplete="username"`, `<label for="password">`, `type="password"`, `autocomplete="current-password"`,
		"autofocus", `name="robots" content="noindex"`, `value="https://people.example.com/app?a=1&amp;b=2"`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %s:\n%s", want, a.body)
		}
	}
	c := a.cookie(form.Cookie)
	if a.status != 200 || c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteLaxMode || c.Path != "/akprox/" || strings.Contains(a.body, "<script") {
		t.Fatalf("the page: %d %v", a.status, a.header)
	}
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %s", csp)
	}
	a = b.post(peoplePage, filled(a.body, "jane", "jane's"), sameOrigin)
	if a.status != 303 || a.location != "https://people.example.com/app?a=1&b=2" || a.body != "" {
		t.Fatalf("post: %d %q %s", a.status, a.location, a.body)
	}
	session := a.cookie("akprox_70656f70")
	if session == nil || !session.HttpOnly || !session.Secure || session.SameSite != http.SameSiteLaxMode || session.Path != "/" {
		t.Errorf("session cookie %v", a.header)
	}
	if a = b.get("https://people.example.com/akprox/userinfo"); a.status != 200 || !strings.Contains(a.body, `"preferred_username":"jane"`) {
		t.Errorf("userinfo: %d %s", a.status, a.body)
	}
	if w.observed(words.SignedIn) != 1 || w.users.clients[0].String() != "198.51.100.7" || !strings.Contains(w.log.String(), "198.51.100.7") {
		t.Errorf("observed %d, asked for %v", w.observed(words.SignedIn), w.users.clients)
	}
	for _, secret := range []string{"jane's", c.Value, session.Value} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	if a = b.get(peoplePage + "?rd=/b"); a.location != "https://people.example.com/b" {
		t.Errorf("who is signed in: %d %q", a.status, a.location)
	}
}

func TestWhatIsWrongGetsOneAnswer(t *testing.T) {
	w := newWorld(t)
	var bodies []string
	for _, typed := range [][2]string{{"jane", "wrong"}, {"nobody", "wrong"}, {"nobody", "jane's"}, {"", ""}, {"", "jane's"}, {"jane", ""}, {"Service Account", "x"}} {
		b := w.browser()
		a := b.post(peoplePage, filled(b.get(peoplePage+"?rd=/x").body, typed[0], typed[1]), sameOrigin)
		if a.status != 401 || a.header.Get("WWW-Authenticate") != "" || a.cookie("akprox_70656f70") != nil || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%v: %d %v", typed, a.status, a.header)
		}
		body := hidden.ReplaceAllString(a.body, "")
		body = strings.ReplaceAll(strings.Replace(body, `value="`+typed[0]+`"`, `value=""`, 1), " autofocus", "")
		bodies = append(bodies, body)
	}
	for i, body := range bodies[1:] {
		if body != bodies[0] {
			t.Errorf("answer %d differs:\n%s\n%s", i+1, body, bodies[0])
		}
	}
}

func TestTheNameStaysInTheFormAndIsNoMarkup(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.post(peoplePage, filled(b.get(peoplePage).body, `"><script>x</script>`, "wrong"), sameOrigin)
	if strings.Contains(a.body, "<script") || !strings.Contains(a.body, "&#34;&gt;&lt;script&gt;") || strings.Contains(a.body, "wrong\"") {
		t.Error(a.body)
	}
	if a = b.post(peoplePage, filled(a.body, "jane", "jane's"), sameOrigin); a.status != 303 {
		t.Errorf("the second try: %d", a.status)
	}
}

type pausing struct{ time.Duration }

func (p pausing) Error() string            { return "paused" }
func (p pausing) Throttled() time.Duration { return p.Duration }

func TestWhenNobodyLooks(t *testing.T) {
	for _, row := range []struct {
		name   string
		answer error
		status int
		retry  string
		text   string
		result string
	}{
		{"too many attempts", fmt.Errorf("x: %w", pausing{4*time.Minute + 500*time.Millisecond}), 429, "241", "in 5 minutes", words.Throttled},
		{"nobody could", fmt.Errorf("x: %w", outpost.ErrUnavailable), 503, "5", "Not available just now", words.Unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			v := filled(b.get(peoplePage).body, "jane", "jane's")
			w.users.set(func(u *stubUsers) { u.answer = row.answer })
			a := b.post(peoplePage, v, sameOrigin)
			if a.status != row.status || a.header.Get("Retry-After") != row.retry || !strings.Contains(a.body, row.text) || w.observed(row.result) != 1 {
				t.Errorf("%d %v %s", a.status, a.header, a.body)
			}
		})
	}
}

func TestAStoreThatIsDownSignsNobodyInByPassword(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	v := filled(b.get(peoplePage).body, "jane", "jane's")
	w.store.broken.Store(true)
	if a := b.post(peoplePage, v, sameOrigin); a.status != 503 || a.header.Get("Set-Cookie") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
	w.store.broken.Store(false)
	if a := b.post(peoplePage, v, sameOrigin); a.status != 303 {
		t.Errorf("healed: %d", a.status)
	}
}

func TestAnotherSiteSignsNobodyIn(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers []string
		token   string // "own", "other", "" for none
		cookie  bool
		status  int
	}{
		{"the form itself", []string{sameOrigin}, "own", true, 303},
		{"a browser without Sec-Fetch-Site", []string{"Origin: https://people.example.com"}, "own", true, 303},
		{"a port is no other site", []string{"Origin: https://people.example.com:8443"}, "own", true, 303},
		{"sent again by hand", []string{"Sec-Fetch-Site: none"}, "own", true, 303},
		{"curl with a form", nil, "own", true, 303},
		{"curl", nil, "", false, 303},
		{"curl that keeps cookies", nil, "", true, 303},
		{"curl with a token of its own", nil, "other", true, 403},
		{"another site", []string{"Sec-Fetch-Site: cross-site"}, "own", true, 403},
		{"a sibling host", []string{"Sec-Fetch-Site: same-site"}, "own", true, 403},
		{"a word that nobody knows", []string{"Sec-Fetch-Site: x"}, "own", true, 403},
		{"another origin", []string{"Origin: https://evil.test"}, "own", true, 403},
		{"an origin that begins alike", []string{"Origin: https://people.example.com.evil.test"}, "own", true, 403},
		{"a hidden origin", []string{"Origin: null"}, "own", true, 403},
		{"two origins", []string{"Origin: https://people.example.com", "Origin: https://evil.test"}, "own", true, 403},
		{"without the cookie", []string{sameOrigin}, "own", false, 403},
		{"without the token", []string{sameOrigin}, "", true, 403},
		{"with another token", []string{sameOrigin}, "other", true, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser()
			v := filled(b.get(peoplePage+"?rd=/x").body, "jane", "jane's")
			switch row.token {
			case "":
				v.Del("token")
			case "other":
				v.Set("token", random())
			}
			if !row.cookie {
				b = w.browser()
			}
			a := b.post(peoplePage, v, row.headers...)
			if a.status != row.status || row.status == 403 && (w.users.asked() != 0 || a.cookie("akprox_70656f70") != nil || w.observed(words.FormExpired) != 1) {
				t.Errorf("%d, asked %d times", a.status, w.users.asked())
			}
			if row.status == 403 && row.cookie && row.token == "own" && !strings.Contains(a.body, `name="username" type="text" value=""`) {
				t.Error("what another site has filled in is shown")
			}
		})
	}
}

func TestAFormThatCannotBeRead(t *testing.T) {
	good := "username=jane&password=jane%27s&rd=%2F"
	for _, row := range []struct {
		name, kind, body string
		status           int
	}{
		{"good", "application/x-www-form-urlencoded; charset=UTF-8", good, 303},
		{"no type", "", good, 400},
		{"JSON", "application/json", `{"username":"jane"}`, 400},
		{"plain text, as another site may post", "text/plain", good, 400},
		{"multipart", "multipart/form-data; boundary=x", "--x--", 400},
		{"a bad type", ";;", good, 400},
		{"too large", "application/x-www-form-urlencoded", good + "&x=" + strings.Repeat("a", 8<<10), 413},
		{"a megabyte", "application/x-www-form-urlencoded", strings.Repeat("a", 1<<20), 413},
		{"a bad escape", "application/x-www-form-urlencoded", good + "&x=%zz", 400},
		{"not UTF-8", "application/x-www-form-urlencoded", "username=%ff&password=x", 400},
		{"a password that is not UTF-8", "application/x-www-form-urlencoded", "username=jane&password=%c3%28", 400},
		{"two names", "application/x-www-form-urlencoded", good + "&username=bob", 400},
		{"two return URLs", "application/x-www-form-urlencoded", good + "&rd=/x", 400},
		{"nothing", "application/x-www-form-urlencoded", "", 401},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.browser().sendBody("POST", peoplePage, row.body, "Content-Type: "+row.kind)
			if a.status != row.status || row.status != 303 && !strings.Contains(a.body, "<h1>") {
				t.Errorf("got %d, want %d\n%s", a.status, row.status, a.body)
			}
			if (row.status == 400 || row.status == 413) && w.users.asked() != 0 {
				t.Error("the password was looked at")
			}
		})
	}
}

func TestTheReturnURLIsJudgedAgainWhenPosted(t *testing.T) {
	for rd, want := range map[string]string{
		"/a?b=c": "https://people.example.com/a?b=c", "": "https://people.example.com/", "https://evil.test/": "https://people.example.com/",
		"//evil.test": "https://people.example.com/", `/\evil.test`: "https://people.example.com/", "https:evil.test": "https://people.example.com/",
		"javascript:alert(1)": "https://people.example.com/", "/akprox/sign_out": "https://people.example.com/", "/auth/sign-out": "https://people.example.com/",
		"https://people.example.com@evil.test/": "https://people.example.com/",
		"https://wiki.example.com/x":            "https://wiki.example.com/akprox/start?rd=https%3A%2F%2Fwiki.example.com%2Fx", // has a sign-in of its own
	} {
		w := newWorld(t)
		b := w.browser()
		v := filled(b.get(peoplePage).body, "jane", "jane's")
		v.Set("rd", rd)
		a := b.post(peoplePage, v, sameOrigin)
		if a.status != 303 || a.location != want || strings.HasPrefix(rd, "https://wiki.") && w.users.asked() != 0 {
			t.Errorf("%q: %d %q, want %q", rd, a.status, a.location, want)
		}
	}
}

func TestASessionIdThatTheBrowserHadIsNeverKept(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := b.post(peoplePage, filled(b.get(peoplePage).body, "jane", "jane's"), sameOrigin).cookie("akprox_70656f70").Value
	a := b.get(peoplePage + "?again=1&rd=/")
	second := b.post(peoplePage, filled(a.body, "bob", "bob's"), sameOrigin).cookie("akprox_70656f70").Value
	if first == second {
		t.Error("the id stayed")
	}
	if a = w.browser().get("https://people.example.com/akprox/userinfo", "Cookie: akprox_70656f70="+first); a.status != 401 {
		t.Errorf("the old session: %d", a.status)
	}
}

func TestAUserWhoIsGoneIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.post(peoplePage, filled(b.get(peoplePage).body, "jane", "jane's"), sameOrigin)
	w.users.set(func(u *stubUsers) { u.gone = true })
	if a := b.get(peoplePage + "?rd=/x"); a.status != 200 || !strings.Contains(a.body, `type="password"`) {
		t.Errorf("%d %q", a.status, a.location)
	}
	if a := b.get("https://people.example.com/akprox/userinfo"); a.status != 401 {
		t.Errorf("userinfo: %d", a.status)
	}
}

func TestSignOutOfAPasswordSession(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	session := b.post(peoplePage, filled(b.get(peoplePage).body, "jane", "jane's"), sameOrigin).cookie("akprox_70656f70").Value
	a := b.send("POST", "https://people.example.com/akprox/sign_out", sameOrigin)
	if a.status != 200 || !strings.Contains(a.body, "You are signed out") || len(b.cookies("people.example.com")) != 0 {
		t.Errorf("%d %v %s", a.status, b.cookies("people.example.com"), a.body)
	}
	if a = w.browser().get("https://people.example.com/akprox/userinfo", "Cookie: akprox_70656f70="+session); a.status != 401 {
		t.Errorf("the old cookie: %d", a.status)
	}
}

func TestPasswordsOfADomainAreAskedForAtItsOwnHost(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("https://git.example.info/akprox/start?rd=/x?a=1")
	for range 2 {
		a = b.get(a.location)
	}
	if a.status != 200 || !strings.Contains(a.body, "auth.example.info</span>") || !strings.Contains(a.body, "Afterwards you go on to git.example.info.") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if got := b.post("https://git.example.info/akprox/sign_in", filled(a.body, "jane", "jane's")); got.status != 303 || got.cookie("akprox_") != nil || w.users.asked() != 0 {
		t.Errorf("posted to a member: %d %q", got.status, got.location)
	}
	if a = b.post("https://auth.example.info/akprox/sign_in", filled(a.body, "jane", "jane's"), sameOrigin); a.location != "https://git.example.info/x?a=1" {
		t.Errorf("%d %q", a.status, a.location)
	}
	if a = b.get("https://git.example.info/akprox/userinfo"); a.status != 200 {
		t.Errorf("userinfo: %d", a.status)
	}
}

func TestThePageIsForPeopleAlone(t *testing.T) {
	for _, row := range []struct {
		name, method, url string
		headers           []string
		status            int
	}{
		{"a script", "GET", peoplePage, []string{"Sec-Fetch-Mode: cors"}, 401},
		{"a prefetch", "GET", peoplePage, []string{"Sec-Purpose: prefetch"}, 204},
		{"DELETE", "DELETE", peoplePage, nil, 405},
		{"POST where an issuer is", "POST", "https://wiki.example.com/akprox/sign_in", []string{formType}, 303},
		{"POST where nobody signs in", "POST", "https://keys.example.com/akprox/sign_in", []string{formType}, 404},
		{"a host that nobody guards", "GET", "https://evil.test/akprox/sign_in", nil, 404},
		{"POST to start", "POST", "https://people.example.com/akprox/start", []string{formType}, 405},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			a := w.browser().send(row.method, row.url, row.headers...)
			if a.status != row.status || a.cookie(form.Cookie) != nil {
				t.Errorf("got %d, want %d", a.status, row.status)
			}
		})
	}
}

func TestEveryTabHasTheSameToken(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	first := filled(b.get(peoplePage+"?rd=/1").body, "jane", "jane's")
	second := filled(b.get(peoplePage+"?rd=/2").body, "jane", "jane's")
	if first.Get("token") != second.Get("token") || first.Get("token") == filled(w.browser().get(peoplePage).body, "", "").Get("token") {
		t.Errorf("%v %v", first, second)
	}
	if a := b.post(peoplePage, first, sameOrigin); a.location != "https://people.example.com/1" {
		t.Errorf("%d %q", a.status, a.location)
	}
	other := w.browser()
	other.jar.SetCookies(&url.URL{Scheme: "https", Host: "people.example.com", Path: "/akprox/"}, []*http.Cookie{{Name: form.Cookie, Value: "short"}})
	if got := filled(other.get(peoplePage).body, "", "").Get("token"); len(got) != 43 {
		t.Errorf("a cookie that we did not make is taken: %q", got)
	}
}

func TestAPasswordLoopEnds(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	for range maxRounds {
		b.post(peoplePage, filled(b.get(peoplePage+"?rd=/x").body, "jane", "jane's"), sameOrigin)
		b.jar.SetCookies(&url.URL{Scheme: "https", Host: "people.example.com", Path: "/"}, []*http.Cookie{{Name: "akprox_70656f70", MaxAge: -1, Path: "/"}})
	}
	a := b.get(peoplePage + "?rd=/x")
	if a.status != 400 || w.observed(words.Looping) != 1 {
		t.Fatalf("%d %q", a.status, a.location)
	}
	if a = b.get("https://people.example.com/akprox/start?again=1&rd=/x"); !strings.HasPrefix(a.location, peoplePage+"?again=1&rd=") {
		t.Fatalf("%d %q", a.status, a.location)
	}
	if a = b.get(a.location); a.status != 200 {
		t.Errorf("again: %d", a.status)
	}
}

// The tinyauth advisory CVE-2026-33544, for the page.
func TestCVE_2026_33544_FiftySignInsAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 50 {
		user := []string{"jane", "bob"}[i%2]
		b := w.browser()
		all.Go(func() {
			v := url.Values{"username": {user}, "password": {user + "'s"}}
			b.post(peoplePage, v)
			if a := b.get("https://people.example.com/akprox/userinfo"); !strings.Contains(a.body, `"`+user+`"`) {
				t.Errorf("%s is %s", user, a.body)
			}
		})
	}
	all.Wait()
}

func TestTheAuthServersOwnPage(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	a := b.get("https://people.example.com/auth/sign-in?reason=%3Cscript%3E&redirect=%2Ftest%3Fa%3D1%26b%3D2")
	if a.status != 200 || strings.Contains(a.body, "<script") || strings.Contains(a.body, "&lt;script") || strings.Contains(a.body, "favicon") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	v := filled(a.body, "", "jane's")
	v.Set("email", "jane")
	if v.Get("redirect") != "https://people.example.com/test?a=1&b=2" || !strings.Contains(a.body, `action="/auth/password-authenticate"`) {
		t.Errorf("%v", v)
	}
	if c := a.cookie(form.Cookie); c == nil || c.Path != "/auth/" {
		t.Errorf("%v", a.header)
	}
	if a = b.post("https://people.example.com/auth/password-authenticate", v, sameOrigin); a.status != 303 || a.location != "https://people.example.com/test?a=1&b=2" {
		t.Errorf("%d %q %s", a.status, a.location, a.body)
	}
	a = b.get("https://people.example.com/auth/sign-out", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
	if a.status != 200 || !strings.Contains(a.body, `<form method="post" action="/auth/sign-out">`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = b.get("https://wiki.example.com/auth/sign-in?redirect=/x"); a.location != "https://wiki.example.com/akprox/start?rd=https%3A%2F%2Fwiki.example.com%2Fx" {
		t.Errorf("with an issuer: %d %q", a.status, a.location)
	}
}
