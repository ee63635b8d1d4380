package dialect

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost"
)

func TestEnvoyReads(t *testing.T) {
	for _, row := range []struct {
		name, host, method, uri string // "" is wiki.example.com, GET, /a?b=c
		lines                   []string
		want                    string // method, host, path and query; "" with a reason
		reason                  outpost.Reason
	}{
		{name: "an honest question", want: "GET wiki.example.com /a b=c"},
		{name: "the request's own method", method: "POST", want: "POST wiki.example.com /a b=c"},
		{name: "CVE-2026-77560: upper case, port and dot", host: "WIKI.example.com.:443", want: "GET wiki.example.com /a b=c"},
		{name: "the path stays as it is", uri: "/a//b/%2e%2e/c%2fd", want: "GET wiki.example.com /a//b/%2e%2e/c%2fd "},
		{name: "another proxy's headers are not read", lines: []string{"+X-Forwarded-Uri: /public", "+X-Forwarded-Host: pub", "+X-Original-URL: https://pub/"}, want: "GET wiki.example.com /a b=c"},
		{name: "CVE-2026-35051: a forwarded prefix is not read", lines: []string{"+X-Forwarded-Prefix: /public"}, want: "GET wiki.example.com /a b=c"},
		{name: "a path without its slash", uri: "x", reason: outpost.ReasonBadURI},
		{name: "user info for a path", uri: "@pub/x", reason: outpost.ReasonBadURI},
		{name: "GHSA-xg2q: no path at all", uri: " ", reason: outpost.ReasonBadURI},
		{name: "a query for a path", uri: "?/public", reason: outpost.ReasonBadURI},
		{name: "all of a server", method: "OPTIONS", uri: "*", reason: outpost.ReasonBadURI},
		{name: "a whole URL", uri: "http://pub/x", reason: outpost.ReasonBadURI},
		{name: "a bad escape", uri: "/%zz", reason: outpost.ReasonBadURI},
		{name: "a literal #", uri: "/foo#/bar", reason: outpost.ReasonBadURI},
		{name: "user info before the host", host: "adm.example.com@wiki.example.com", reason: outpost.ReasonBadHost},
		{name: "two hosts", host: "wiki.example.com, b", reason: outpost.ReasonBadHost},
		{name: "no host", host: " ", reason: outpost.ReasonBadHost},
		{name: "a scheme of scripts", lines: []string{"X-Forwarded-Proto: javascript"}, reason: outpost.ReasonBadScheme},
		{name: "two schemes in one line", lines: []string{"X-Forwarded-Proto: https,http"}, reason: outpost.ReasonBadScheme},
		{name: "two lines of the scheme", lines: []string{"+X-Forwarded-Proto: https"}, reason: outpost.ReasonRepeatedHeader},
		{name: "no scheme", lines: []string{"-X-Forwarded-Proto"}, reason: outpost.ReasonMissingHeader},
		{name: "CVE-2026-39858: a twin of the scheme", lines: []string{"+X_Forwarded_Proto: https"}, reason: outpost.ReasonHeaderTwin},
		{name: "a twin of the client", lines: []string{"+X.Forwarded.For: 10.0.0.1"}, reason: outpost.ReasonHeaderTwin},
		{name: "a method that is none", method: "GET, POST", reason: outpost.ReasonBadMethod},
	} {
		t.Run(row.name, func(t *testing.T) {
			changes := append([]string{"-X-Forwarded-Uri", "-X-Forwarded-Host", "-X-Forwarded-Method"}, row.lines...)
			r := ask("wiki.example.com", forwardedLines(changes...)...)
			r.RequestURI = "/a?b=c"
			if row.host != "" {
				r.Host = strings.TrimSpace(row.host)
			}
			if row.method != "" {
				r.Method = row.method
			}
			if row.uri != "" {
				r.RequestURI = strings.TrimSpace(row.uri)
			}
			req, err := Envoy().Read(r, edge("127.0.0.0/8"))
			if row.reason != "" {
				if err == nil || outpost.ReasonOf(err) != row.reason {
					t.Errorf("got %+v, %v; want %s", req, err, row.reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := req.Method + " " + req.Host + " " + req.Path.Raw() + " " + req.Query; got != row.want || req.Scheme != "https" || req.Client.String() != "198.51.100.7" {
				t.Errorf("got %q, %+v", got, req)
			}
		})
	}
}

func TestEnvoyTakesAwayWhatHasNoValue(t *testing.T) {
	r := ask("x", "X_auth_username: root", "X.auth.groups: root", "X.kept: kept", "Authorization: Bearer x")
	req := &outpost.Request{}
	describe(req, r.Header)
	w := httptest.NewRecorder()
	Envoy().Write(w, r, Answer{
		Decision: outpost.Decision{Outcome: outpost.Allow, Headers: []outpost.Header{
			{Name: "X-Auth-Username", Values: []string{"alice"}}, {Name: "X-Auth-Groups", Values: []string{""}},
		}},
		Request: req, Consumed: []string{"Authorization", "X-Auth-Username"},
	})
	if got := w.Header().Get("X-Envoy-Auth-Headers-To-Remove"); got != "authorization,x-auth-groups,x.auth.groups,x_auth_username" {
		t.Errorf("it is to remove %q", got)
	}
	if _, there := w.Header()["X-Auth-Groups"]; !there || w.Code != 200 || w.Header().Get("X-Auth-Username") != "alice" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	w = httptest.NewRecorder()
	Envoy().Write(w, r, Answer{Request: req, Consumed: []string{"Authorization"}})
	if _, there := w.Header()["X-Envoy-Auth-Headers-To-Remove"]; there || w.Code != 403 {
		t.Errorf("the zero answer: %d %v", w.Code, w.Header())
	}
	if got := (Answer{}).Removed(); len(got) > 0 || slices.Contains(got, "") {
		t.Errorf("of nothing there is to remove %q", got)
	}
}
