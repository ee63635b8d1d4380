package page

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/akprox/akprox/outpost"
)

// reasons lists what may stand behind each refusing outcome.
func reasons() map[outpost.Outcome][]outpost.Reason {
	return map[outpost.Outcome][]outpost.Reason{
		outpost.Forbidden: {
			outpost.ReasonNobody, outpost.ReasonUser, outpost.ReasonGroup, outpost.ReasonScope, outpost.ReasonCredential,
			outpost.ReasonClientUnknown, outpost.ReasonPathUnknown, outpost.ReasonInternal, "never_heard_of",
		},
		outpost.SignIn:       {outpost.ReasonNoSession},
		outpost.Unauthorized: {outpost.ReasonNoCredential, outpost.ReasonBadCredential},
		outpost.RateLimited:  {"rate_limited"},
		outpost.Unavailable:  {outpost.ReasonIssuer, outpost.ReasonUnavailable},
		outpost.UnknownHost:  {outpost.ReasonUnknownHost},
		outpost.Malformed: {
			outpost.ReasonUntrustedPeer, outpost.ReasonRepeatedHeader, outpost.ReasonHeaderTwin, outpost.ReasonMissingHeader,
			outpost.ReasonBadHost, outpost.ReasonBadURI, outpost.ReasonBadScheme, outpost.ReasonBadMethod,
			outpost.ReasonTooManyReadings, outpost.ReasonAmbiguous, outpost.ReasonSpoofedIdentity, outpost.ReasonOversized,
			outpost.ReasonMethodNotAllowed,
		},
	}
}

func write(t *testing.T, method string, p Page) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Write(w, httptest.NewRequest(method, "http://wiki.example.com/x", nil), "/akprox", p)
	return w
}

func TestEveryRefusalSaysWhatHappenedWhyAndWhatToDo(t *testing.T) {
	req := &outpost.Request{Host: "wiki.example.com", Ways: outpost.WaysUnder("/akprox"), Navigation: true}
	for outcome, list := range reasons() {
		for _, reason := range list {
			p := Refusal(outpost.Decision{Outcome: outcome, Reason: reason}, req, "abc-1")
			if p.Title == "" || p.Lead == "" || p.Next == "" || p.Status < 400 {
				t.Errorf("%s, %s: %+v", outcome, reason, p)
			}
			body := write(t, "GET", p).Body.String()
			for _, want := range []string{string(reason), "abc-1", "wiki.example.com"} {
				if !strings.Contains(body, want) {
					t.Errorf("%s, %s: the page lacks %q", outcome, reason, want)
				}
			}
			if resp := write(t, "GET", p); resp.Code != p.Status {
				t.Errorf("%s, %s: status %d, want %d", outcome, reason, resp.Code, p.Status)
			}
		}
	}
}

func TestARefusalWithoutARequestIsAPageToo(t *testing.T) {
	p := Refusal(outpost.Refuse(outpost.Bad(outpost.ReasonRepeatedHeader, "X-Forwarded-Uri")), nil, "")
	if body := write(t, "GET", p).Body.String(); !strings.Contains(body, "repeated_header") || strings.Contains(body, "X-Forwarded-Uri") {
		t.Error(body)
	}
}

func TestTheZeroPageAndTheZeroDecisionRefuse(t *testing.T) {
	if got := write(t, "GET", Page{}).Code; got != http.StatusForbidden {
		t.Errorf("zero page: %d", got)
	}
	if got := Refusal(outpost.Decision{}, nil, "").Status; got != http.StatusForbidden {
		t.Errorf("zero decision: %d", got)
	}
}

func TestRefusalOffersTheWayOn(t *testing.T) {
	req := &outpost.Request{Host: "wiki.example.com", Ways: outpost.WaysUnder("/akprox"), Navigation: true}
	jane := &outpost.Identity{Username: "jane"}
	for _, row := range []struct {
		name string
		d    outpost.Decision
		want []Link
	}{
		{"a person without the group may sign out", outpost.Decision{Reason: outpost.ReasonGroup, Identity: jane, SignOut: "https://a/akprox/sign_out"}, []Link{{"Sign out", "https://a/akprox/sign_out"}}},
		{"a stranger may sign in", outpost.Decision{Outcome: outpost.SignIn, Location: "https://a/start?rd=x"}, []Link{{"Sign in", "https://a/start?rd=x"}}},
		{"what is down may be tried again", outpost.Decision{Outcome: outpost.Unavailable}, []Link{{"Try again", ""}}},
		{"nobody may pass, and nothing helps", outpost.Decision{Reason: outpost.ReasonNobody}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := Refusal(row.d, req, "").Links; fmt.Sprint(got) != fmt.Sprint(row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestAPageIsProtected(t *testing.T) {
	resp := write(t, "GET", Page{Status: 403, Title: "No"})
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
		"Content-Type": "text/html; charset=utf-8",
	} {
		if got := resp.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	csp := resp.Header().Get("Content-Security-Policy")
	sheet := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(resp.Body.String())
	if sheet == nil || !strings.Contains(csp, "style-src 'sha256-"+digest(sheet[1])+"'") {
		t.Errorf("the policy does not name the stylesheet that the page holds: %s", csp)
	}
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %q", csp, want)
		}
	}
}

func TestAFormTellsItsOriginAndMayLeaveOnlyWhereItSays(t *testing.T) {
	stays := write(t, "GET", Page{Status: 200, Form: &Form{Action: "/x", Button: "Go"}})
	leaves := write(t, "GET", Page{Status: 200, Form: &Form{Action: "/x", Button: "Go", Leaves: true}})
	if got := stays.Header().Get("Referrer-Policy"); got != "same-origin" {
		t.Errorf("Referrer-Policy %q: the browser would post with Origin: null", got)
	}
	if got := stays.Header().Get("Content-Security-Policy"); !strings.HasSuffix(got, "form-action 'self'") {
		t.Error(got)
	}
	if got := leaves.Header().Get("Content-Security-Policy"); !strings.HasSuffix(got, "form-action 'self' https: http:") {
		t.Error(got)
	}
}

func TestNothingThatAPageIsGivenBecomesMarkup(t *testing.T) {
	evil := `"><script>alert(1)</script>`
	body := write(t, "GET", Page{
		Status: 403, Host: evil, Title: evil, Lead: evil, Next: evil, Reason: evil, RequestID: evil,
		Links: []Link{{evil, "javascript:alert(1)"}}, Form: &Form{Action: "javascript:alert(1)", Button: evil, Fields: []Field{{Name: evil, Value: evil}, {Name: evil, Value: evil, Label: evil, Autocomplete: evil}}},
	}).Body.String()
	if strings.Contains(body, "<script") || strings.Contains(body, "javascript:") {
		t.Error(body)
	}
}

func TestHeadHasNoBody(t *testing.T) {
	resp := write(t, "HEAD", Page{Status: 403, Title: "No"})
	if got := resp.Body.String(); got != "" || resp.Code != 403 {
		t.Errorf("%d %q", resp.Code, got)
	}
}

func TestAScreenReaderFindsItsWay(t *testing.T) {
	body := write(t, "GET", Page{
		Status: 403, Host: "h", Title: "No", Lead: "why", Next: "then", Reason: "r", RequestID: "i",
		Links: []Link{{"Back", "/"}}, Form: &Form{Action: "/x", Button: "Go"},
	}).Body.String()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	count, lang, hidden := map[string]int{}, "", 0
	for n := range doc.Descendants() {
		count[n.Data]++
		for _, a := range n.Attr {
			switch {
			case n.Data == "html" && a.Key == "lang":
				lang = a.Val
			case a.Key == "aria-hidden":
				hidden++
			case a.Key == "style" || strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s> is not allowed by the policy", n.Data, a.Key)
			}
		}
	}
	if lang != "en" || count["h1"] != 1 || count["main"] != 1 || count["title"] != 1 || count["header"] != 1 || count["footer"] != 1 {
		t.Errorf("lang %q, elements %v", lang, count)
	}
	if hidden != count["svg"] {
		t.Errorf("%d pictures, %d hidden from screen readers", count["svg"], hidden)
	}
}

func TestColoursAreReadableInLightAndDark(t *testing.T) {
	light, dark, _ := strings.Cut(content("akprox.css"), "prefers-color-scheme: dark")
	dark, _, _ = strings.Cut(dark, "* {")
	for scheme, css := range map[string]string{"light": light, "dark": dark} {
		colour := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
			colour[m[1]] = m[2]
		}
		for _, pair := range []struct {
			front, back string
			want        float64
		}{
			{"text", "card", 7},
			{"soft", "card", 4.5},
			{"soft", "ground", 4.5},
			{"on-accent", "accent", 4.5},
			{"on-accent", "accent-over", 4.5},
			{"rim", "card", 3},
			{"accent", "card", 3},
			{"stop", "stop-tint", 4.5},
			{"wait", "wait-tint", 4.5},
			{"good", "good-tint", 4.5},
			{"calm", "calm-tint", 4.5},
		} {
			if got := contrast(t, colour[pair.front], colour[pair.back]); got < pair.want {
				t.Errorf("%s: %s on %s has contrast %.2f, want %.1f", scheme, pair.front, pair.back, got, pair.want)
			}
		}
	}
}

// contrast is WCAG 2's contrast ratio.
func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	var c [3]uint8
	if _, err := fmt.Sscanf(hex, "#%02x%02x%02x", &c[0], &c[1], &c[2]); err != nil {
		t.Fatalf("colour %q: %v", hex, err)
	}
	var sum float64
	for i, weight := range [3]float64{0.2126, 0.7152, 0.0722} {
		v := float64(c[i]) / 255
		if v <= 0.03928 {
			v /= 12.92
		} else {
			v = math.Pow((v+0.055)/1.055, 2.4)
		}
		sum += weight * v
	}
	return sum
}

func TestProgramsGetJSON(t *testing.T) {
	w := httptest.NewRecorder()
	WriteJSON(w, 403, "forbidden", "group_missing", "abc-1")
	var got map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"error": "forbidden", "reason": "group_missing", "request_id": "abc-1"}
	if fmt.Sprint(got) != fmt.Sprint(want) || w.Code != 403 || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", w.Code, got, w.Header())
	}
}

func TestWaitingIsSaidInWords(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "in a moment", 300 * time.Millisecond: "in a moment", 4500 * time.Millisecond: "in 5 seconds",
		119 * time.Second: "in 119 seconds", 5 * time.Minute: "in 5 minutes",
	} {
		if got := Soon(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestStaticFiles(t *testing.T) {
	ask := func(method, path, etag string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, path, nil)
		req.Header.Set("If-None-Match", etag)
		w := httptest.NewRecorder()
		Static().ServeHTTP(w, req)
		return w
	}
	for _, name := range StaticNames() {
		first := ask("GET", "/akprox/static/"+name, "")
		if first.Code != 200 || first.Body.String() != content(name) || first.Header().Get("Cache-Control") == "" || content(name) == "" {
			t.Errorf("%s: %d %v", name, first.Code, first.Header())
		}
		if again := ask("GET", "/akprox/static/"+name, first.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s with its ETag: %d", name, again.Code)
		}
	}
	for _, row := range []struct {
		name, method, path string
		want               int
	}{
		{"HEAD is served", "HEAD", "/akprox/static/akprox.css", 200},
		{"POST is not", "POST", "/akprox/static/akprox.css", 405},
		{"a layout is no static file", "GET", "/akprox/static/page.html", 404},
		{"nor is the folder", "GET", "/akprox/static/", 404},
		{"nor anything outside", "GET", "/akprox/static/..%2f..%2fpage.go", 404},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := ask(row.method, row.path, "").Code; got != row.want {
				t.Errorf("got %d, want %d", got, row.want)
			}
		})
	}
}

func TestASignInFormIsOneThatPasswordManagersKnow(t *testing.T) {
	p := Page{Status: 401, Title: "Sign in", Alert: "Not right.", Form: &Form{Action: "/x", Button: "Sign in", Fields: []Field{
		{Name: "username", Label: "User name", Value: "jane", Autocomplete: "username", Max: 9},
		{Name: "password", Label: "Password", Autocomplete: "current-password", Secret: true, Focus: true},
		{Name: "token", Value: "t"},
	}}}
	body := write(t, "GET", p).Body.String()
	for _, want := range []string{
		`<label for="username">User name</label>`, `id="username" name="username" type="text" value="jane" required maxlength="9" autocomplete="username"`,
		`name="password" type="password" value="" required autocomplete="current-password"`, `autofocus aria-describedby="alert"`,
		`<p class="alert" role="alert" id="alert">Not right.</p>`, `<input type="hidden" name="token" value="t">`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s:\n%s", want, body)
		}
	}
	if strings.Count(body, "autofocus") != 1 || strings.Contains(body, "<p></p>") {
		t.Error(body)
	}
}

func TestPeopleAreCalledByName(t *testing.T) {
	for want, id := range map[string]*outpost.Identity{
		"": nil, "jane": {Username: "jane", Name: "jane"}, "Jane Doe (jane)": {Username: "jane", Name: "Jane Doe"}, "sub": {Subject: "sub"},
	} {
		if got := Called(id); got != want {
			t.Errorf("%+v is called %q, want %q", id, got, want)
		}
	}
	if got := Called(&outpost.Identity{Username: strings.Repeat("x", 200)}); got != "" {
		t.Errorf("a long one: %q", got)
	}
}
