package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/oidc"
)

const oldRefresh = "r3fresh-that-must-not-leak"

// refreshing makes the issuer's token endpoint answer refreshes, as change has
// it; the answer holds a new ID token.
func (i *issuer) refreshing(t *testing.T, claims func(object), change func(object)) {
	t.Helper()
	i.instead["/token"] = func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("grant_type") != "refresh_token" || r.PostFormValue("refresh_token") != oldRefresh {
			t.Errorf("asked with %v", r.PostForm)
		}
		if id, secret, _ := r.BasicAuth(); id != clientID || secret == "" {
			t.Error("asked by somebody else")
		}
		told := object{
			"iss": i.URL, "aud": clientID, "sub": "u1", "iat": time.Now().Unix(), "exp": time.Now().Add(5 * time.Minute).Unix(),
			"preferred_username": "alice", "email": "alice@example.com", "email_verified": true, "name": "Alice", "groups": []string{"new"},
		}
		if claims != nil {
			claims(told)
		}
		answer := object{"access_token": accessToken, "token_type": "Bearer", "expires_in": 600, "refresh_token": "r2", "id_token": signed(jose.ES256, i.key, told)}
		if change != nil {
			change(answer)
		}
		write(w, answer)
	}
}

// before is the grant that is refreshed.
func before() *outpost.Grant {
	return &outpost.Grant{SID: "s1", Refresh: oldRefresh, Identity: &outpost.Identity{
		Subject: "u1", Username: "alice", Groups: []string{"old"}, Scopes: []string{"openid", "groups"}, Provider: "company",
		IDToken: unsigned(object{"nonce": "n1"}),
		Claims:  object{"sub": "u1", "preferred_username": "alice", "groups": []any{"old"}, "dept": "ops", "level": float64(7), "iss": "x"},
	}}
}

func without(keys ...string) func(object) {
	return func(o object) {
		for _, k := range keys {
			delete(o, k)
		}
	}
}

func with(key string, value any) func(object) { return func(o object) { o[key] = value } }

func TestRefreshIsTheSamePersonAsTheyAreNow(t *testing.T) {
	for name, c := range map[string]struct {
		claims, answer, document func(object)
		userinfo                 object
		groups                   string
		refresh                  string
		asked                    int // at userinfo
	}{
		"a new ID token":                      {groups: "new", refresh: "r2"},
		"the refresh token stays":             {answer: without("refresh_token"), groups: "new", refresh: oldRefresh},
		"the nonce of before":                 {claims: with("nonce", "n1"), groups: "new", refresh: "r2"},
		"groups from userinfo":                {claims: without("groups"), groups: "staff", refresh: "r2", asked: 1},
		"no ID token, all from userinfo":      {answer: without("id_token"), groups: "staff", refresh: "r2", asked: 1},
		"no ID token, no groups any more":     {answer: without("id_token"), userinfo: object{"sub": "u1"}, refresh: "r2", asked: 1},
		"no ID token and nothing to ask":      {answer: without("id_token"), document: without("userinfo_endpoint"), groups: "old", refresh: "r2"},
		"an audience beside ours, and azp":    {claims: func(o object) { o["aud"], o["azp"] = []string{clientID, "api"}, clientID }, groups: "new", refresh: "r2"},
		"scopes that the issuer tells anew":   {answer: with("scope", "openid groups"), groups: "new", refresh: "r2"},
		"no expiry told for the access token": {answer: without("expires_in"), groups: "new", refresh: "r2"},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.refreshing(t, c.claims, c.answer)
			i.document, i.userinfo = c.document, c.userinfo
			g, err := i.provider(t).Refresh(t.Context(), before())
			if err != nil {
				t.Fatal(err)
			}
			id := g.Identity
			if id.Subject != "u1" || id.Username != "alice" || id.Provider != "company" || g.SID != "s1" || g.Refresh != c.refresh {
				t.Errorf("got %+v %+v", g, id)
			}
			if strings.Join(id.Groups, " ") != c.groups || !slices.Equal(id.Scopes, []string{"openid", "groups"}) || id.IDToken == "" {
				t.Errorf("got groups %q, scopes %q", id.Groups, id.Scopes)
			}
			if n := i.count("/userinfo"); n != c.asked {
				t.Errorf("userinfo was asked %d times, want %d", n, c.asked)
			}
			if i.count("/token") != 1 {
				t.Errorf("the token endpoint was asked %d times", i.count("/token"))
			}
		})
	}
}

func TestRefreshKeepsClaimsThatUserinfoDoesNotTell(t *testing.T) {
	i := newIssuer(t)
	i.refreshing(t, nil, without("id_token"))
	g, err := i.provider(t).Refresh(t.Context(), before())
	if err != nil {
		t.Fatal(err)
	}
	if g.Identity.Claims["dept"] != "ops" || g.Identity.Claims["level"] != json.Number("7") {
		t.Errorf("got %v", g.Identity.Claims)
	}
}

func refusal(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		write(w, object{"error": code, "error_description": "of " + oldRefresh})
	}
}

func TestRefreshTellsNoFromSilence(t *testing.T) {
	plain := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		token, userinfo http.HandlerFunc
		claims, answer  func(object)
		sign            bool // by somebody else
		silent          bool
		rotated         bool // the new refresh token is answered all the same
	}{
		"invalid_grant":                    {token: refusal(400, "invalid_grant")},
		"used before, as some say it":      {token: refusal(400, "invalid_request")},
		"invalid_grant with 401":           {token: refusal(401, "invalid_grant")},
		"login_required":                   {token: refusal(400, "login_required")},
		"access_denied":                    {token: refusal(403, "access_denied")},
		"invalid_client":                   {token: refusal(401, "invalid_client"), silent: true},
		"invalid_client with 400":          {token: refusal(400, "invalid_client"), silent: true},
		"unauthorized_client":              {token: refusal(400, "unauthorized_client"), silent: true},
		"unsupported_grant_type":           {token: refusal(400, "unsupported_grant_type"), silent: true},
		"a code that nobody knows":         {token: refusal(400, "oops"), silent: true},
		"429":                              {token: plain(429, ""), silent: true},
		"500":                              {token: plain(500, ""), silent: true},
		"500 that says invalid_grant":      {token: refusal(500, "invalid_grant"), silent: true},
		"503":                              {token: plain(503, "<html>"), silent: true},
		"404, another server":              {token: plain(404, "<html>not here"), silent: true},
		"403 of a filter in between":       {token: plain(403, "<html>"), silent: true},
		"302 to a sign-in page":            {token: plain(302, ""), silent: true},
		"200 that is no answer":            {token: plain(200, "<html>"), silent: true},
		"200 without an access token":      {answer: without("access_token"), silent: true},
		"no answer":                        {token: func(_ http.ResponseWriter, r *http.Request) { _ = r.ParseForm(); <-r.Context().Done() }, silent: true},
		"a cut connection":                 {token: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, silent: true},
		"about somebody else":              {claims: with("sub", "u2")},
		"of another issuer":                {claims: with("iss", "https://evil.example.com")},
		"for another client":               {claims: with("aud", "other")},
		"for two, without azp":             {claims: with("aud", []string{clientID, "other"})},
		"made for another (azp)":           {claims: with("azp", "other")},
		"another nonce":                    {claims: with("nonce", "n2")},
		"signed by somebody else":          {sign: true},
		"expired, so the clocks differ":    {claims: with("exp", time.Now().Add(-time.Hour).Unix()), silent: true, rotated: true},
		"made in the future, so they do":   {claims: with("iat", time.Now().Add(time.Hour).Unix()), silent: true, rotated: true},
		"userinfo about somebody else":     {answer: without("id_token"), userinfo: func(w http.ResponseWriter, _ *http.Request) { write(w, object{"sub": "u2"}) }},
		"userinfo refuses":                 {answer: without("id_token"), userinfo: plain(401, "")},
		"userinfo is not there":            {answer: without("id_token"), userinfo: plain(404, ""), silent: true, rotated: true},
		"userinfo fails":                   {answer: without("id_token"), userinfo: plain(502, ""), silent: true, rotated: true},
		"userinfo fails after an ID token": {claims: without("groups"), userinfo: plain(502, ""), silent: true, rotated: true},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.refreshing(t, c.claims, c.answer)
			if c.token != nil {
				i.instead["/token"] = c.token
			}
			if c.userinfo != nil {
				i.instead["/userinfo"] = c.userinfo
			}
			if c.sign {
				other := newIssuer(t)
				i.refreshing(t, nil, with("id_token", signed(jose.ES256, other.key, object{
					"iss": i.URL, "aud": clientID, "sub": "u1", "exp": time.Now().Add(time.Minute).Unix(),
				})))
			}
			g, err := i.provider(t).Refresh(t.Context(), before())
			if err == nil {
				t.Fatalf("got %+v", g)
			}
			noSecret(t, err.Error(), oldRefresh)
			if errors.Is(err, outpost.ErrUnavailable) != c.silent {
				t.Errorf("silence %v: %v", !c.silent, err)
			}
			if (g != nil) != c.rotated || g != nil && g.Refresh != "r2" {
				t.Errorf("beside the error: %+v", g)
			}
		})
	}
}

func TestRefreshOfAnIssuerThatIsDown(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t)
	i.down.Store(true)
	if _, err := p.Refresh(t.Context(), before()); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	i.down.Store(false)
	if _, err := p.Refresh(ctx, before()); !errors.Is(err, outpost.ErrUnavailable) {
		t.Errorf("given up: %v", err)
	}
}

func TestRefreshWithoutAToken(t *testing.T) {
	p := newIssuer(t).provider(t)
	for name, g := range map[string]*outpost.Grant{"none": nil, "nobody": {Refresh: "r"}, "no token": {Identity: &outpost.Identity{}}} {
		if _, err := p.Refresh(t.Context(), g); err == nil {
			t.Error(name)
		}
	}
}

func TestPromptOfEverySignIn(t *testing.T) {
	i := newIssuer(t)
	p := i.provider(t, func(o *oidc.Options) { o.Prompt = "consent" })
	for asked, want := range map[string]string{"": "consent", "login": "login consent", "consent": "consent", "none": "none"} {
		q := query()
		q.Prompt = asked
		u, err := p.AuthURL(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got := i.visit(t, u).Get("prompt"); got != want {
			t.Errorf("%q: got %q, want %q", asked, got, want)
		}
	}
	if _, err := oidc.New(oidc.Options{Name: "x", Issuer: i.URL, ClientID: "x", Prompt: "none"}); err == nil {
		t.Error("prompt none was taken")
	}
}
