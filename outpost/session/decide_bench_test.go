package session_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store/memory"
)

// BenchmarkDecideWithSession is one whole decision, in process: rules, the
// session of a cookie, identity headers.
func BenchmarkDecideWithSession(b *testing.B) {
	st := memory.New(memory.Options{})
	defer func() { _ = st.Close() }()
	sessions := session.New(st, [][]byte{make([]byte, 32)}, session.Options{})
	headers, err := outpost.NewHeaderMap("", "", nil, outpost.Meta{})
	if err != nil {
		b.Fatal(err)
	}
	app := &outpost.Application{
		Name: "wiki", Cookie: outpost.CookieReach{Name: "akprox_wiki"}, Headers: headers,
		Session: outpost.Lifetimes{Idle: time.Hour, Absolute: time.Hour},
		Rules: outpost.NewRules([]outpost.Rule{
			{Name: "rules[0]", Paths: []canon.Glob{canon.NewGlob("/public/**")}, Admit: outpost.Anyone},
			{Name: "rules[1]", Paths: []canon.Glob{canon.NewGlob("/page/**")}, Admit: outpost.SignedIn, Groups: []string{"staff"}},
		}),
	}
	app.Credentials = []outpost.Named{{Provider: "company", Credential: sessions.Credential("company", nil, app.Cookie, app.Session)}}
	w := httptest.NewRecorder()
	grant := &outpost.Grant{Identity: &outpost.Identity{Subject: "1", Username: "alice", Groups: []string{"staff"}, Provider: "company"}}
	if err := sessions.Create(b.Context(), w, httptest.NewRequest("GET", "/", nil), app, grant); err != nil {
		b.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	r := &outpost.Request{Method: "GET", Scheme: "https", Host: "wiki.example.com", Header: http.Header{"Cookie": {"theme=dark; " + c.Name + "=" + c.Value}}}
	r.Path, _, _ = canon.SplitURI("/page/of/a/wiki")
	b.ReportAllocs()
	for b.Loop() {
		if d := app.Decide(b.Context(), r); d.Outcome != outpost.Allow {
			b.Fatal(d.Reason)
		}
	}
}
