package exam

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
	"github.com/akprox/akprox/cmd/akprox/doctor/finding"
	"github.com/akprox/akprox/cmd/akprox/doctor/told"
)

func parsed(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestReasonIsReadInEveryForm(t *testing.T) {
	for body, want := range map[string]string{
		`<dl><div><dt>Request</dt><dd>A-1</dd></div><div><dt>Reason</dt><dd>bad_callback</dd></div></dl>`: "bad_callback",
		`{"error":"unknown_host","reason":"unknown_page","request_id":"A-1"}`:                             "unknown_page",
		"bad_request: untrusted_peer (request A-1)\n":                                                     "untrusted_peer",
		"unknown_host (request A-1)\n":                                                                    "unknown_host",
		"404 page not found\n":                                                                            "",
		"<center>nginx/1.22.1</center>":                                                                   "",
		"":                                                                                                "",
	} {
		if got := (browser.Answer{Body: body}).Reason(); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestValueOfAHeaderHoweverItIsShown(t *testing.T) {
	for text, want := range map[string]string{
		"X-Auth-Username: alice\nX-Other: x":                        "alice",
		`{"headers":{"X-Auth-Username":["alice"],"X-Other":["x"]}}`: "alice",
		`{"x-auth-username": "alice"}`:                              "alice",
		"HTTP_X_AUTH_USERNAME=alice\n":                              "alice",
		"X-Auth-Username: \nX-Other: x":                             "",
		`{"X-Auth-Username":[""],"X-Other":["x"]}`:                  "",
		"Not-X-Auth-Username: alice":                                "",
		"":                                                          "",
	} {
		if got := told.Value(text, "X-Auth-Username"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestFormsAreFilledInAsAPersonDoes(t *testing.T) {
	at := parsed(t, "https://id.example.com/login?x=1")
	for _, row := range []struct{ name, body, action, want string }{
		{"name and password", `<form method="post" action="/go"><input type=hidden name=csrf value=t><input name=login><input type=password name=pw><button name=ok value=1>`, "https://id.example.com/go", "csrf=t&login=alice&ok=1&pw=secret"},
		{"name alone", `<form method=POST><input type=email name=mail><input type=submit name=a value=b><input type=submit name=no value=no></form>`, "https://id.example.com/login?x=1", "a=b&mail=alice"},
		{"a search before it", `<form action="/search"><input name=q></form><form method=post action="https://elsewhere.example.com/"><input name=u></form>`, "https://elsewhere.example.com/", "u=alice"},
		{"choices are left alone", `<form method=post><input type=checkbox name=remember value=1><input name=u></form>`, "https://id.example.com/login?x=1", "u=alice"},
		{"no form", `<div id=app></div><script src=app.js></script>`, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := browser.FindForm(browser.Answer{URL: at, Body: row.body})
			if f == nil {
				if row.action != "" {
					t.Fatal("no form was found")
				}
				return
			}
			if got := f.Filled("alice", "secret"); got != row.want || f.Action.String() != row.action {
				t.Errorf("%s to %s", got, f.Action)
			}
		})
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add(`<form method=post action="//x"><input type=password name=p>`, "X-Auth-Username: a", "%zz")
	f.Add(`{"reason":"x"}`, "", "https://a.example/start?rd=")
	f.Fuzz(func(t *testing.T, body, text, location string) {
		a := browser.Answer{URL: parsed(t, "https://id.example.com/"), Status: 302, Body: body, Header: http.Header{"Location": {location}, "Set-Cookie": {location}}}
		if form := browser.FindForm(a); form != nil {
			_ = form.Filled("u", "p")
		}
		_ = told.Value(text, "X-Auth-Username")
		_ = a.SetsCookie(flowCookie)
		if strings.Contains(a.Told(), "state=") && !strings.Contains(location, "state=") {
			t.Error(a.Told())
		}
		if to := a.Next(); to != nil && strings.Contains(browser.Shown(to), "?") {
			t.Errorf("a query is shown: %s", browser.Shown(to))
		}
	})
}

func TestOnlyTheSiteAndItsIssuerAreAsked(t *testing.T) {
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer s.Close()
	a := browser.New(nil, nil)
	v := a.Visitor()
	if _, err := v.Browse(t.Context(), parsed(t, s.URL)); err == nil || asked != 0 {
		t.Errorf("%v, %d requests", err, asked)
	}
	a.Allow(parsed(t, s.URL))
	for range browser.MaxRequests + 5 {
		_, _ = v.Browse(t.Context(), parsed(t, s.URL))
	}
	if asked != browser.MaxRequests {
		t.Errorf("%d requests", asked)
	}
}

// TestAPasswordPageThatIsReachedByPlainHTTP: an issuer that leads from https to
// http does not get the password there.
func TestAPasswordPageThatIsReachedByPlainHTTP(t *testing.T) {
	e := &exam{start: parsed(t, "https://site.example.com/akprox/start?rd=/"), issuer: parsed(t, "https://id.example.com/auth?x=1")}
	e.Document.Prefix = "/akprox"
	for page, want := range map[string]bool{
		"https://id.example.com/login":            true,
		"https://id.example.com:443/login":        true,
		"http://id.example.com/login":             false,
		"https://id.example.com:8443/login":       false,
		"https://site.example.com/akprox/sign_in": true,
		"http://site.example.com/akprox/sign_in":  false,
		"https://site.example.com/login":          false,
		"https://elsewhere.example.com/login":     false,
	} {
		if got := e.asksPasswords(parsed(t, page)); got != want {
			t.Errorf("%s: %v", page, got)
		}
	}
}

func TestACredentialGoesToTheSiteAlone(t *testing.T) {
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.Header.Get("Authorization")) }))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	a := browser.New(map[string]string{"site.example.com:80": host, "*:81": host}, nil)
	a.Allow(parsed(t, "http://site.example.com"))
	a.Allow(parsed(t, "http://id.example.com:81"))
	v := a.Visitor()
	v.Header, v.Home = http.Header{"Authorization": {"Bearer x"}}, "http://site.example.com"
	for _, u := range []string{"http://site.example.com/", "http://id.example.com:81/"} {
		if _, err := v.Browse(t.Context(), parsed(t, u)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []string{"Bearer x", ""}) {
		t.Error(got)
	}
}

func TestClocksAreComparedWithEachOther(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name          string
		proxy, issuer time.Duration
		fault         bool
	}{
		{"all as one", 0, time.Second, false},
		{"the issuer is behind", 0, -2 * time.Minute, true},
		{"both are ahead of us", 5 * time.Minute, 5 * time.Minute, true},
		{"apart from each other", 40 * time.Second, -40 * time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := &exam{Options: Options{Now: func() time.Time { return now }}, report: &finding.Report{}, check: &finding.Check{State: finding.OK}}
			for who, d := range map[string]time.Duration{"the proxy": row.proxy, "the issuer": row.issuer} {
				e.sample(who, browser.Answer{Header: http.Header{"Date": {now.Add(d).Format(http.TimeFormat)}}})
			}
			e.clocks(t.Context())
			if (e.check.State == finding.Fault) != row.fault {
				t.Errorf("%+v", e.check)
			}
		})
	}
}

func TestPublicSuffixesAreNoCookieDomains(t *testing.T) {
	for domain, want := range map[string]bool{"co.uk": true, "com": true, "github.io": true, "example.com": false, "example.co.uk": false} {
		if public(domain) != want {
			t.Errorf("%s: %v", domain, !want)
		}
	}
}

// TestEveryMendHasItsLines: for the proxies whose configuration is known by
// heart, the lines that a finding shows are there.
func TestEveryMendHasItsLines(t *testing.T) {
	const folder = "../../../../proxy/dialect/testdata/snippets/"
	want := map[finding.Topic]map[string]string{
		finding.AboutQuestion: {
			"nginx": "auth_request     /akprox/auth/nginx;", "caddy": "uri /akprox/auth/caddy", "traefik": "/akprox/auth/traefik", "traefik-labels": "wiki.middlewares: akprox-wiki",
			"traefik-crd": "/akprox/auth/traefik", "ingress-nginx": "/akprox/auth/nginx?host=$host", "haproxy": "http-request lua.akprox_wiki", "envoy": "path_prefix: /akprox/auth/envoy", "gateway-api": "path: /akprox/auth/envoy",
		},
		finding.AboutOriginal: {
			"nginx": "proxy_set_header X-Original-URL ", "caddy": "forward_auth ", "traefik": "trustForwardHeader: false", "traefik-labels": "trustForwardHeader: ", "traefik-crd": "trustForwardHeader: ",
			"ingress-nginx": "auth-url: ", "haproxy": "X-Forwarded-Host", "envoy": "use_remote_address: true", "gateway-api": "x-forwarded-proto",
		},
		finding.AboutOwn: {
			"nginx": "location /akprox/ {", "caddy": "handle /akprox/* {", "traefik": "PathPrefix(`/akprox/`)", "traefik-labels": "PathPrefix(`/akprox/`)", "traefik-crd": "PathPrefix(`/akprox/`)",
			"ingress-nginx": "path: /akprox/", "haproxy": "path_beg /akprox/", "envoy": "prefix: /akprox/", "gateway-api": "value: /akprox",
		},
		finding.AboutIdentity: {
			"nginx": "proxy_set_header X-Auth-Username $identity_x_auth_username;", "caddy": "copy_headers {", "traefik": "- X-Auth-Username", "traefik-labels": "X-Auth-Username,", "traefik-crd": "X-Auth-Username",
			"ingress-nginx": "X-Auth-Username,", "haproxy": "x-auth-username", "envoy": `exact: "x-auth-username"`, "gateway-api": "x-auth-username",
		},
		finding.AboutStrip: {
			"nginx": "underscores_in_headers off;", "caddy": "request_header -*_*", "traefik": "authResponseHeadersRegex:", "traefik-labels": "authResponseHeadersRegex:", "traefik-crd": "authResponseHeadersRegex:",
			"ingress-nginx": "auth-response-headers: ", "haproxy": "[_.]", "envoy": `remove: "x-auth-username"`,
		},
		finding.AboutSignIn: {"nginx": "error_page 401 = @akprox_sign_in;", "ingress-nginx": "auth-signin: https://"},
		finding.AboutStatus: {"nginx": "if ($akprox_status = 429) { return 429; }"},
		finding.AboutSize: {
			"nginx": "proxy_buffer_size 32k;", "traefik": "maxResponseBodySize:", "traefik-labels": "maxResponseBodySize:", "traefik-crd": "maxResponseBodySize:", "ingress-nginx": "proxy-buffer-size: 32k", "haproxy": "tune.bufsize 65536",
		},
	}
	for topic, proxies := range want {
		for proxy, line := range proxies {
			text, err := os.ReadFile(folder + proxy + "-forward_single.txt")
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(finding.Pick(string(text), proxy, topic), "\n")
			if !strings.Contains(got, line) {
				t.Errorf("%s, %s: %q is not in\n%s", proxy, topic, line, got)
			}
			if strings.Count(got, "{") != strings.Count(got, "}") || strings.Contains(got, "#") {
				t.Errorf("%s, %s: not whole statements:\n%s", proxy, topic, got)
			}
		}
	}
}

func TestEveryKindIsToldInWords(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range finding.Kinds() {
		if seen[k.ID] || k.What == "" || k.Mend == "" || !strings.HasSuffix(k.What, ".") || !strings.HasSuffix(k.Mend, ".") {
			t.Errorf("%+v", k)
		}
		seen[k.ID] = true
	}
	page, err := os.ReadFile("../../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	code := ""
	for _, file := range []string{"question.go", "own.go", "issuer.go", "outpost.go", "signed.go", "program.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		code += string(text)
	}
	for id := range seen {
		if !strings.Contains(string(page), "\n| `"+id+"` |") {
			t.Errorf("docs/doctor.md does not explain %s", id)
		}
		if !strings.Contains(code, `e.find("`+id+`"`) {
			t.Errorf("nothing finds %s", id)
		}
	}
	for _, step := range steps() {
		if !strings.Contains(string(page), "\n| "+step.name+" |") {
			t.Errorf("docs/doctor.md does not tell of the check %q", step.name)
		}
	}
}
