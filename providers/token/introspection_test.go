package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

func TestG2TheQuestionIsThatOfTheRFC(t *testing.T) {
	const (
		bearer = "a+b/c-d._~=="
		id     = "gate way:ü&"
		secret = "s:e c/r+e%t@"
	)
	for _, auth := range []string{"", token.AuthBasic, token.AuthPost, token.AuthNone} {
		t.Run(auth, func(t *testing.T) {
			i := newIssuer(t)
			i.knows(bearer, object{"sub": "alice"})
			k := i.introspection(t, func(o *token.IntrospectionOptions) {
				o.Auth, o.ClientID, o.ClientSecret, o.UserAgent = auth, id, secret, "akprox/test"
			})
			if _, err := present(k, bearer); err != nil {
				t.Fatal(err)
			}
			q := i.question(t)
			if q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || q.URL.RawQuery != "" {
				t.Errorf("%s %s %s", q.Method, q.URL, q.Header)
			}
			if q.Header.Get("Accept") != "application/json" || q.Header.Get("User-Agent") != "akprox/test" {
				t.Errorf("header %v", q.Header)
			}
			if q.PostForm.Get("token") != bearer || q.PostForm.Get("token_type_hint") != "access_token" {
				t.Errorf("form %v", q.PostForm)
			}
			switch auth {
			case "", token.AuthBasic:
				if user, password := basicParts(t, q); user != id || password != secret {
					t.Errorf("Basic %q %q", user, password)
				}
				if len(q.PostForm) != 2 {
					t.Errorf("the form holds more: %v", q.PostForm)
				}
			case token.AuthPost:
				if q.Header["Authorization"] != nil || q.PostForm.Get("client_id") != id || q.PostForm.Get("client_secret") != secret {
					t.Errorf("header %v, form %v", q.Header, q.PostForm)
				}
			case token.AuthNone:
				if q.Header["Authorization"] != nil || q.PostForm.Has("client_secret") {
					t.Errorf("header %v, form %v", q.Header, q.PostForm)
				}
			}
		})
	}
}

// TestG4EveryAnswer has the rows of the reference, table 3.1.
func TestG4EveryAnswer(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) string { b, _ := json.Marshal(now.Add(d).Unix()); return string(b) }
	only := func(change func(*token.IntrospectionOptions)) func(*token.IntrospectionOptions) { return change }
	tests := []struct {
		name    string
		answer  http.HandlerFunc
		options func(*token.IntrospectionOptions)
		want    string
	}{
		{"active", answers(200, `{"active":true,"sub":"alice"}`), nil, good},
		{"active with a type of its own", answers(200, `{"active":true,"sub":"alice"}`, "Content-Type", "text/plain"), nil, good},
		{"inactive", answers(200, `{"active":false}`), nil, invalidToken},
		{"inactive and more", answers(200, `{"active":false,"sub":"alice"}`), nil, invalidToken},
		{"missing active", answers(200, `{"sub":"alice"}`), nil, unavailable},
		{`"active":"true"`, answers(200, `{"active":"true","sub":"alice"}`), nil, unavailable},
		{`"active":1`, answers(200, `{"active":1,"sub":"alice"}`), nil, unavailable},
		{`"active":null`, answers(200, `{"active":null,"sub":"alice"}`), nil, unavailable},
		{`"Active":true`, answers(200, `{"Active":true,"sub":"alice"}`), nil, unavailable},
		{"active twice", answers(200, `{"active":false,"active":true,"sub":"alice"}`), nil, unavailable},
		{"sub twice", answers(200, `{"active":true,"sub":"alice","sub":"admin"}`), nil, unavailable},
		{"HTML body", answers(200, `<html>active true</html>`), nil, unavailable},
		{"empty body", answers(200, ``), nil, unavailable},
		{"a list", answers(200, `[{"active":true}]`), nil, unavailable},
		{"true", answers(200, `true`), nil, unavailable},
		{"two objects", answers(200, `{"active":true,"sub":"a"}{"active":true}`), nil, unavailable},
		{"not UTF-8", answers(200, "{\"active\":true,\"sub\":\"a\xff\"}"), nil, unavailable},
		{"256 KiB", answers(200, `{"active":true,"sub":"alice","x":"`+strings.Repeat("x", 256<<10-50)+`"}`), nil, good},
		{"more than 256 KiB", answers(200, `{"active":true,"sub":"alice","x":"`+strings.Repeat("x", 256<<10)+`"}`), nil, unavailable},
		{"flood", flood, nil, unavailable},
		{"hang", hang(t), only(func(o *token.IntrospectionOptions) { o.Timeout = 500 * time.Millisecond }), unavailable},
		{"redirect", answers(302, `{"active":true,"sub":"alice"}`, "Location", "/elsewhere"), nil, unavailable},
		{"redirect that keeps the method", answers(307, "", "Location", "/elsewhere"), nil, unavailable},
		{"201", answers(201, `{"active":true,"sub":"alice"}`), nil, unavailable},
		{"400", answers(400, `{"error":"invalid_request"}`), nil, unavailable},
		{"400 about the token's type", answers(400, `{"error":"unsupported_token_type"}`), nil, invalidToken},
		{"401: our own credentials", answers(401, `{"error":"invalid_client"}`), nil, unavailable},
		{"403", answers(403, ``), nil, unavailable},
		{"404", answers(404, ``), nil, unavailable},
		{"429", answers(429, ``, "Retry-After", "1"), nil, unavailable},
		{"500", answers(500, `{"active":true,"sub":"alice"}`), nil, unavailable},
		{"503", answers(503, ``), nil, unavailable},

		{"exp in a minute", answers(200, `{"active":true,"sub":"a","exp":`+in(time.Minute)+`}`), nil, good},
		{"exp with a fraction", answers(200, `{"active":true,"sub":"a","exp":`+in(time.Minute)+`.5}`), nil, good},
		{"exp null", answers(200, `{"active":true,"sub":"a","exp":null}`), nil, good},
		{"exp a second ago", answers(200, `{"active":true,"sub":"a","exp":`+in(-time.Second)+`}`), nil, invalidToken},
		{"exp 0", answers(200, `{"active":true,"sub":"a","exp":0}`), nil, invalidToken},
		{"exp a text", answers(200, `{"active":true,"sub":"a","exp":"`+in(time.Minute)+`"}`), nil, unavailable},
		{"exp in milliseconds", answers(200, `{"active":true,"sub":"a","exp":`+in(time.Minute)+`000}`), nil, unavailable},
		{"nbf in 20 s", answers(200, `{"active":true,"sub":"a","nbf":`+in(20*time.Second)+`}`), nil, good},
		{"nbf in a minute", answers(200, `{"active":true,"sub":"a","nbf":`+in(time.Minute)+`}`), nil, invalidToken},

		{"token_use access_token", answers(200, `{"active":true,"sub":"a","token_use":"access_token"}`), nil, good},
		{"token_use refresh_token", answers(200, `{"active":true,"sub":"a","token_use":"refresh_token"}`), nil, invalidToken},
		{"token_use a list", answers(200, `{"active":true,"sub":"a","token_use":["access_token"]}`), nil, invalidToken},
		{"token_type bearer", answers(200, `{"active":true,"sub":"a","token_type":"bearer"}`), nil, good},
		{"token_type refresh_token", answers(200, `{"active":true,"sub":"a","token_type":"refresh_token"}`), nil, invalidToken},
		{"token_type DPoP", answers(200, `{"active":true,"sub":"a","token_type":"DPoP"}`), nil, invalidToken},
		{"bound to a key", answers(200, `{"active":true,"sub":"a","cnf":{"jkt":"x"}}`), nil, invalidToken},

		{"no sub, but a client", answers(200, `{"active":true,"client_id":"robot"}`), nil, good},
		{"neither sub nor client", answers(200, `{"active":true,"username":"alice"}`), nil, invalidToken},
		{"sub a number", answers(200, `{"active":true,"sub":7}`), nil, unavailable},
		{"sub with a header in it", answers(200, `{"active":true,"sub":"a\r\nX-Admin: 1"}`), nil, invalidToken},
		{"username with a header in it", answers(200, `{"active":true,"sub":"a","username":"a\nX"}`), nil, invalidToken},

		{"iss allowed", answers(200, `{"active":true,"sub":"a","iss":"https://i"}`), only(func(o *token.IntrospectionOptions) { o.Issuer = "https://i" }), good},
		{"iss with a slash", answers(200, `{"active":true,"sub":"a","iss":"https://i/"}`), only(func(o *token.IntrospectionOptions) { o.Issuer = "https://i" }), invalidToken},
		{"no iss", answers(200, `{"active":true,"sub":"a"}`), only(func(o *token.IntrospectionOptions) { o.Issuer = "https://i" }), invalidToken},
		{"aud allowed", answers(200, `{"active":true,"sub":"a","aud":["x","api"]}`), only(func(o *token.IntrospectionOptions) { o.Audience = []string{"api"} }), good},
		{"aud api2", answers(200, `{"active":true,"sub":"a","aud":"api2"}`), only(func(o *token.IntrospectionOptions) { o.Audience = []string{"api"} }), invalidToken},
		{"no aud", answers(200, `{"active":true,"sub":"a","aud":[]}`), only(func(o *token.IntrospectionOptions) { o.Audience = []string{"api"} }), invalidToken},
		{"client allowed", answers(200, `{"active":true,"sub":"a","client_id":"web"}`), only(func(o *token.IntrospectionOptions) { o.ClientIDs = []string{"web"} }), good},
		{"client of another", answers(200, `{"active":true,"sub":"a","client_id":"other"}`), only(func(o *token.IntrospectionOptions) { o.ClientIDs = []string{"web"} }), invalidToken},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := newIssuer(t)
			i.says("/introspect", test.answer)
			k := i.introspection(t, func(o *token.IntrospectionOptions) {
				o.Timeout = 20 * time.Second // whoever answers is not late on a busy machine
				if test.options != nil {
					test.options(o)
				}
			})
			began := time.Now()
			id, err := present(k, "t")
			if got := verdict(t, id, err); got != test.want {
				t.Errorf("got %s (%v), want %s", got, err, test.want)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if n := i.count("/elsewhere"); n != 0 {
				t.Error("a redirect was followed")
			}
			if (k.Ready() == nil) != (test.want != unavailable) {
				t.Errorf("ready: %v", k.Ready())
			}
			if test.want != unavailable {
				return
			}
			if s := k.Stats(); s.Entries+s.Negative != 0 {
				t.Errorf("a failure was remembered: %+v", s)
			}
		})
	}
}

func TestG6WhatAnAnswerTells(t *testing.T) {
	hydra := object{
		"sub": "alice", "username": "alice@example.com", "scope": "orders:read orders:write", "client_id": "web", "iss": "https://i", "exp": time.Now().Add(time.Hour).Unix(),
		"ext": object{"email": "a@example.com", "groups": []string{"ops"}}, "token_use": "access_token",
	}
	tests := []struct {
		name   string
		claims token.Claims
		answer object
		want   *identity
	}{
		{"the seed's own names", token.Claims{Email: "username"}, hydra, &identity{Subject: "alice", Username: "alice@example.com", Email: "alice@example.com"}},
		{"nested claims", token.Claims{Email: "ext.email", Groups: "ext.groups"}, hydra, &identity{Subject: "alice", Username: "alice@example.com", Email: "a@example.com", Groups: []string{"ops"}}},
		{"missing claims are empty", token.Claims{}, object{"sub": "alice"}, &identity{Subject: "alice", Username: "alice"}},
		{"a machine", token.Claims{}, object{"client_id": "robot"}, &identity{Subject: "robot", Username: "robot"}},
		{"a user name that is no address", token.Claims{Email: "username"}, object{"sub": "1", "username": "alice"}, &identity{Subject: "1", Username: "alice"}},
		{"an address that nobody verified", token.Claims{Email: "ext.email"}, object{"sub": "1", "ext": object{"email": "a@b", "email_verified": false}}, &identity{Subject: "1", Username: "1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			i := newIssuer(t)
			i.knows("t", test.answer)
			id, err := present(i.introspection(t, func(o *token.IntrospectionOptions) { o.Claims = test.claims }), "t")
			if err != nil {
				t.Fatal(err)
			}
			wantList(t, []string{id.Subject, id.Username, id.Email, id.Provider}, test.want.Subject, test.want.Username, test.want.Email, "opaque")
			wantList(t, id.Groups, test.want.Groups...)
			if scope, _ := test.answer["scope"].(string); strings.Join(id.Scopes, " ") != scope {
				t.Errorf("scopes %q", id.Scopes)
			}
			for _, gone := range []string{"active", "exp", "token_use"} {
				if id.Claims[gone] != nil {
					t.Errorf("claims hold %s", gone)
				}
			}
		})
	}
}

func TestG8OneQuestionAMinute(t *testing.T) {
	i := newIssuer(t)
	i.knows("t", object{"sub": "alice"})
	var c clock
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Now = c.now })
	var first *identity
	for range 100 {
		id, err := present(k, "t")
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = id
		}
		if id != first {
			t.Fatal("another identity")
		}
	}
	if n := i.count("/introspect"); n != 1 {
		t.Errorf("100 requests: %d questions, want 1", n)
	}
	i.revokes("t")
	c.move(59 * time.Second)
	if _, err := present(k, "t"); err != nil {
		t.Errorf("revoked 59 s ago: %v", err)
	}
	c.move(2 * time.Second)
	id, err := present(k, "t")
	if got := verdict(t, id, err); got != invalidToken || i.count("/introspect") != 2 {
		t.Errorf("revoked 61 s ago: %s, %d questions", got, i.count("/introspect"))
	}
	if s := k.Stats(); s.Hits != 100 || s.Misses != 2 || s.Entries != 0 || s.Negative != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestG8NeverBeyondExp(t *testing.T) {
	i := newIssuer(t)
	i.knows("t", object{"sub": "alice", "exp": time.Now().Add(3 * time.Second).Unix()})
	var c clock
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Now = c.now })
	if _, err := present(k, "t"); err != nil {
		t.Fatal(err)
	}
	c.move(3 * time.Second)
	id, err := present(k, "t")
	if got := verdict(t, id, err); got != invalidToken {
		t.Errorf("after its exp: %s", got)
	}
}

func TestG8WithoutACacheEveryRequestAsks(t *testing.T) {
	i := newIssuer(t)
	i.knows("t", object{"sub": "alice"})
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Cache, o.NegativeCache = 0, 0 })
	for range 5 {
		if _, err := present(k, "t"); err != nil {
			t.Fatal(err)
		}
	}
	i.revokes("t")
	for range 5 {
		if id, err := present(k, "t"); verdict(t, id, err) != invalidToken {
			t.Error("revoked, and accepted")
		}
	}
	if n := i.count("/introspect"); n != 10 {
		t.Errorf("%d questions, want 10", n)
	}
}

func TestG9ABadTokenIsAskedAboutOnceIn5s(t *testing.T) {
	i := newIssuer(t)
	var c clock
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Now = c.now })
	for range 20 {
		if id, err := present(k, "t"); verdict(t, id, err) != invalidToken {
			t.Error("accepted")
		}
	}
	if n := i.count("/introspect"); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	i.knows("t", object{"sub": "alice"})
	c.move(6 * time.Second)
	if _, err := present(k, "t"); err != nil {
		t.Errorf("good since 6 s: %v", err)
	}
	if s := k.Stats(); s.NegativeHits != 19 || s.Negative != 0 || s.Entries != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestG8FiftyAtOnceAreOneQuestion(t *testing.T) {
	for name, told := range map[string]object{"good": {"sub": "alice"}, "bad": nil} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			if told != nil {
				i.knows("t", told)
			}
			k := i.introspection(t, nil)
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() {
					if _, err := present(k, "t"); (err == nil) != (told != nil) {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if n := i.count("/introspect"); n != 1 {
				t.Errorf("%d questions, want 1", n)
			}
		})
	}
}

func TestG8WhoLeavesDoesNotTakeTheAnswerAlong(t *testing.T) {
	i := newIssuer(t)
	release := make(chan struct{})
	i.says("/introspect", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		select {
		case <-release:
			reply(w, object{"active": true, "sub": "alice"})
		case <-r.Context().Done():
			t.Error("the question was given up")
		}
	})
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Timeout = 5 * time.Second })
	leaving, leave := context.WithCancel(context.Background())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := k.Identify(leaving, request("Bearer t")); left <- err }()
	eventually(t, func() bool { return i.count("/introspect") == 1 }, "not asked")
	go func() { _, err := present(k, "t"); stayed <- err }()
	leave()
	if err := <-left; !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("who left got %v", err)
	}
	close(release)
	if err := <-stayed; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	if n := i.count("/introspect"); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
}

func TestAnIssuerThatHangsDelaysByItsTimeoutAtMost(t *testing.T) {
	t.Parallel() // it waits, most of its time
	i := newIssuer(t)
	i.knows("known", object{"sub": "alice"})
	k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Timeout = 5 * time.Second })
	if _, err := present(k, "known"); err != nil {
		t.Fatal(err)
	}
	i.says("/introspect", hang(t))
	var all sync.WaitGroup
	for n := range 200 { // more than there are connections
		all.Go(func() {
			began := time.Now()
			id, err := present(k, "t"+strings.Repeat("x", n))
			if got := verdict(t, id, err); got != unavailable {
				t.Errorf("got %s (%v)", got, err)
			}
			if took := time.Since(began); took > 9900*time.Millisecond { // who waited for others to time out would be later
				t.Errorf("it took %s", took)
			}
		})
	}
	all.Go(func() {
		if _, err := present(k, "known"); err != nil {
			t.Errorf("a known token: %v", err)
		}
	})
	all.Wait()
	i.says("/introspect", nil)
	i.knows("new", object{"sub": "bob"})
	if _, err := present(k, "new"); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestOurOwnCredentialsRefusedIsLoudOnceAMinute(t *testing.T) {
	for _, status := range []int{401, 403, 404, 302} {
		i := newIssuer(t)
		i.says("/introspect", answers(status, "", "Location", "/elsewhere"))
		var c clock
		var loud []string
		k := i.introspection(t, func(o *token.IntrospectionOptions) {
			o.Now, o.Loud = c.now, func(msg string) { loud = append(loud, msg) }
		})
		for range 5 {
			if id, err := present(k, "t"); verdict(t, id, err) != unavailable {
				t.Errorf("%d is not unavailable", status)
			}
			c.move(10 * time.Second)
		}
		if len(loud) != 1 || !strings.Contains(loud[0], "opaque: ") || !strings.Contains(loud[0], "client_secret") {
			t.Errorf("%d: within a minute: %q", status, loud)
		}
		c.move(20 * time.Second)
		_, _ = present(k, "t")
		if len(loud) != 2 {
			t.Errorf("%d: after a minute: %q", status, loud)
		}
	}
	// What a client can provoke is not loud.
	for _, answer := range []http.HandlerFunc{answers(413, ""), answers(500, ""), answers(400, `{"error":"unsupported_token_type"}`), answers(200, `{"active":1}`)} {
		i := newIssuer(t)
		i.says("/introspect", answer)
		_, _ = present(i.introspection(t, func(o *token.IntrospectionOptions) { o.Loud = func(msg string) { t.Error(msg) } }), "t")
	}
}

func TestAnOverloadedIssuerIsLeftAlone(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": time.Second, "0": time.Second, "7": 7 * time.Second, "86400": 30 * time.Second, "junk": time.Second, "-1": time.Second,
		time.Now().Add(24 * time.Hour).UTC().Format(http.TimeFormat): 30 * time.Second,
	} {
		i := newIssuer(t)
		i.knows("known", object{"sub": "alice"})
		var c clock
		k := i.introspection(t, func(o *token.IntrospectionOptions) { o.Now = c.now })
		if _, err := present(k, "known"); err != nil {
			t.Fatal(err)
		}
		i.says("/introspect", answers(429, "", "Retry-After", header))
		_, err := present(k, "t")
		var u *token.Unavailable
		if !errors.As(err, &u) || u.Retry != want {
			t.Errorf("%q: got %v", header, err)
			continue
		}
		i.says("/introspect", nil)
		c.move(want - 500*time.Millisecond)
		if id, err := present(k, "t"); verdict(t, id, err) != unavailable || i.count("/introspect") != 2 {
			t.Errorf("%q: it was asked all the same", header)
		}
		if _, err := present(k, "known"); err != nil {
			t.Errorf("%q: a known token: %v", header, err)
		}
		c.move(time.Second)
		if id, err := present(k, "t"); verdict(t, id, err) != invalidToken {
			t.Errorf("%q: it was not asked again", header)
		}
	}
}

func TestEveryCallIsObserved(t *testing.T) {
	i := newIssuer(t)
	i.knows("good", object{"sub": "a"})
	var calls, failures atomic.Int64
	k := i.introspection(t, func(o *token.IntrospectionOptions) {
		o.Observe = func(call string, took time.Duration, err error) {
			if call != "introspection" || took <= 0 {
				t.Errorf("%s %s", call, took)
			}
			calls.Add(1)
			if err != nil {
				failures.Add(1)
				if strings.Contains(err.Error(), "secret-token") || strings.Contains(err.Error(), i.URL) {
					t.Errorf("it tells too much: %v", err)
				}
			}
		}
	})
	for _, bearer := range []string{"good", "bad"} {
		_, _ = present(k, bearer)
	}
	i.says("/introspect", answers(500, "secret-token"))
	_, _ = present(k, "secret-token")
	i.Close()
	_, err := present(k, "secret-token2")
	if calls.Load() != 4 || failures.Load() != 2 {
		t.Errorf("%d calls, %d failures", calls.Load(), failures.Load())
	}
	if strings.Contains(err.Error(), "secret-token") {
		t.Errorf("the log holds the token: %v", err)
	}
}

// A token that one introspector vouched for is not good at another
// (CVE-2026-33494 and its like): each has its own cache.
func TestEachKindHasItsOwnCache(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	a.knows("t", object{"sub": "alice"})
	if _, err := present(a.introspection(t, nil), "t"); err != nil {
		t.Fatal(err)
	}
	if id, err := present(b.introspection(t, nil), "t"); verdict(t, id, err) != invalidToken {
		t.Error("accepted by another introspector")
	}
}

func TestIntrospectionOptionsAreChecked(t *testing.T) {
	sound := token.IntrospectionOptions{URL: "https://id.example.com/introspect", ClientID: "a", ClientSecret: "b"}
	if _, err := token.NewIntrospection(sound); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*token.IntrospectionOptions){
		"url: it is empty":           func(o *token.IntrospectionOptions) { o.URL = "" },
		"url: it holds a user":       func(o *token.IntrospectionOptions) { o.URL = "https://a:b@c/" },
		"url: \"https://a/#b\"":      func(o *token.IntrospectionOptions) { o.URL = "https://a/#b" },
		"client_id: it is empty":     func(o *token.IntrospectionOptions) { o.ClientID = "" },
		"client_secret: it is empty": func(o *token.IntrospectionOptions) { o.ClientSecret, o.Auth = "", token.AuthPost },
		`auth: "jwt"`:                func(o *token.IntrospectionOptions) { o.Auth = "jwt" },
		"cache: -1s":                 func(o *token.IntrospectionOptions) { o.Cache = -time.Second },
		"negative_cache: 2h0m0s":     func(o *token.IntrospectionOptions) { o.NegativeCache = 2 * time.Hour },
		"timeout: 1h0m0s":            func(o *token.IntrospectionOptions) { o.Timeout = time.Hour },
		"max_entries: 2147483647":    func(o *token.IntrospectionOptions) { o.MaxEntries = 1<<31 - 1 },
	} {
		o := sound
		change(&o)
		if _, err := token.NewIntrospection(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "a:b@") {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := token.NewIntrospection(token.IntrospectionOptions{URL: sound.URL, Auth: token.AuthNone}); err != nil {
		t.Error("without a client:", err)
	}
}

// A token goes to the JWT of its issuer first, wherever both kinds are asked.
func TestG3TheCallersOrder(t *testing.T) {
	mine, other := newIssuer(t), newIssuer(t)
	foreign := other.mint(t, nil)
	mine.knows("opaque", object{"sub": "bob"})
	kinds := []outpost.Credential{mine.jwt(t, nil), other.jwt(t, nil), mine.introspection(t, nil)}
	ask := func(bearer string) (int, *identity, error) {
		for n, k := range kinds {
			id, err := present(k, bearer)
			if !errors.Is(err, outpost.ErrNoCredential) {
				return n, id, err
			}
		}
		return -1, nil, outpost.ErrNoCredential
	}
	third := sign(t, object{"alg": "ES256", "kid": "ec"}, object{"iss": "https://third.example"}, keys().otherEC)
	for _, test := range []struct {
		bearer string
		by     int
		want   string
	}{
		{mine.mint(t, nil), 0, good},
		{mine.mint(t, object{"exp": 1}), 0, invalidToken},
		{foreign, 1, good},
		{"opaque", 2, good},
		{third, 2, invalidToken},
	} {
		by, id, err := ask(test.bearer)
		if got := verdict(t, id, err); by != test.by || got != test.want {
			t.Errorf("answered by %d: %s (%v), want %d: %s", by, got, err, test.by, test.want)
		}
	}
	asked := slices.Clone(mine.seen)
	if len(asked) != 2 {
		t.Errorf("%d questions, want those about the opaque and the third issuer's token", len(asked))
	}
}
