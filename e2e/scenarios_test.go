package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// scenarios is the one table that runs on every stage, in this order: the
// last one stops the issuer.
var scenarios = []struct {
	name string
	run  func(t *testing.T, s *stage)
}{
	{"sign in and come back", signInAndComeBack},
	{"come back to a long address", comeBackToALongAddress},
	{"headers overwrite forged ones", headersOverwriteForgedOnes},
	{"forged control headers", forgedControlHeaders},
	{"two hosts in one request", twoHosts},
	{"second host", secondHost},
	{"group refused", groupRefused},
	{"programs get 401", programsGet401},
	{"sign out", signOut},
	{"bodies arrive", bodiesArrive},
	{"WebSocket", webSocket},
	{"issuer down", issuerDown},
}

// TestScenarios runs the table over each proxy, each mode and both issuers.
func TestScenarios(t *testing.T) {
	t.Parallel()
	parallel := func(f front, mode, issuer string) {
		t.Run(f.name+"/"+mode+"/"+issuer, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, f, mode, issuer)
			for _, c := range scenarios {
				t.Run(c.name, func(t *testing.T) { c.run(t, s) })
			}
		})
	}
	for issuer := range issuers {
		for _, f := range []front{nginx, traefik, caddy, caddyDebian, haproxy} {
			parallel(f, "forward_single", issuer)
			parallel(f, "forward_domain", issuer)
		}
		parallel(itself, "proxy", issuer)
	}
	// Other forms of the same proxies: once is enough.
	for _, f := range []front{ingress, labels, envoyHTTP, envoyGRPC} {
		parallel(f, "forward_single", "dex")
		parallel(f, "forward_domain", "oidc-provider")
	}
}

func signInAndComeBack(t *testing.T, s *stage) {
	p := s.person(t)
	e := p.arrive(s.app+"/app?a=1&b=2&c=%26%3D&d=x+y", "alice")
	if e.RequestURI != "/app?a=1&b=2&c=%26%3D&d=x+y" {
		t.Errorf("the program was asked for %q", e.RequestURI)
	}
	if e.Host != strings.TrimPrefix(s.app, "http://") {
		t.Errorf("the program was told the host %q", e.Host)
	}
	if r := p.get(s.app + "/later"); r.status != http.StatusOK {
		t.Errorf("a moment later: %d", r.status)
	}
}

// comeBackToALongAddress: the answers that send a person to sign in, and back,
// hold the address, escaped or with cookies: more than the page of memory that
// some proxies have for headers.
func comeBackToALongAddress(t *testing.T, s *stage) {
	s.person(t).arrive(s.app+"/app?long="+strings.Repeat("a", 3900), "alice")
}

func headersOverwriteForgedOnes(t *testing.T, s *stage) {
	forged := with(navigation,
		"X-Auth-Username", "root", "X-Auth-Groups", "admins", "X-Forwarded-Email", "root@example.test",
		"X-Forwarded-Preferred-Username", "root", "X-Forwarded-User", "root",
		"X_Auth_Username", "root", "X-Auth_Groups", "admins", "X.Auth.Username", "root", "X-Forwarded.User", "root",
		"Authorization", "Bearer of-somebody", "X-Kept", "kept")
	want := map[string]string{
		"X-Auth-Username": "alice", "X-Auth-Groups": "dev|ops", "X-Forwarded-Email": "alice@example.test",
		"X-Forwarded-Preferred-Username": "alice", "Authorization": "", "X-Kept": "kept",
	}
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	signedIn := p.send(http.MethodGet, s.app+"/x", forged, nil).echo(t).Header
	nobody := s.person(t).send(http.MethodGet, s.app+"/public/x", forged, nil).echo(t).Header
	for name, value := range want {
		if got := strings.Join(signedIn[name], "\n"); got != value {
			t.Errorf("the program was told %s: %q, not %q", name, got, value)
		}
		if got := strings.Join(nobody[name], "\n"); got != "" && name != "X-Kept" {
			t.Errorf("the program was told of nobody %s: %q", name, got)
		}
	}
	if got := signedIn["X-Forwarded-User"]; len(got) != 1 || got[0] == "root" || got[0] == "" {
		t.Errorf("the program was told the subject %q", got)
	}
	for _, h := range []http.Header{signedIn, nobody} {
		for name := range h {
			if strings.Contains(name, "_") || strings.Contains(name, ".") && !s.front.keepsDots {
				t.Errorf("the program was told %s: %q", name, h[name])
			}
		}
	}
}

// forgedControlHeaders: what a client itself says about what it asks for opens
// nothing, whether its proxy overwrites, drops or refuses it.
func forgedControlHeaders(t *testing.T, s *stage) {
	open := s.app + "/public/x"
	for name, h := range map[string][]string{
		"forwarded":   {"X-Forwarded-Uri", "/public/x", "X-Forwarded-Host", appHost, "X-Forwarded-Proto", "http", "X-Forwarded-Method", "GET"},
		"original":    {"X-Original-Url", open, "X-Original-Uri", "/public/x", "X-Original-Method", "GET"},
		"underscores": {"X_Forwarded_Uri", "/public/x", "X_Original_Url", open},
		"dots":        {"X.Forwarded.Uri", "/public/x", "X.Original.Url", open},
		"Connection":  {"Connection", "X-Forwarded-Uri, X-Forwarded-Host, X-Forwarded-Proto, X-Original-Url, Cookie", "X-Forwarded-Uri", "/public/x"},
		"prefix":      {"X-Forwarded-Prefix", "/public"},
	} {
		if r := s.person(t).send(http.MethodGet, s.app+"/secret", with(navigation, h...), nil); r.status == http.StatusOK {
			t.Errorf("%s: the program answered: %s", name, r.body)
		}
	}
}

// twoHosts: a request target with a host of its own counts for more than Host
// (RFC 9112 3.2.2). Whoever may see one application must not see another by
// naming both; where there is one application, nobody must see it so.
func twoHosts(t *testing.T, s *stage) {
	session := ""
	if s.mode != "forward_domain" {
		p := s.person(t)
		p.arrive(s.app+"/", "alice")
		session = p.cookies(s.app)[0].Name + "=" + p.cookies(s.app)[0].Value
	}
	conn, err := net.Dial("tcp", "127.0.0.1:"+port(s))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "GET %s/x HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
		s.other, strings.TrimPrefix(s.app, "http://"), session)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Errorf("Host: %s with the cookies %q opens %s", s.app, session, s.other)
	}
}

func secondHost(t *testing.T, s *stage) {
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	r := p.get(s.other + "/there")
	if s.mode == "forward_domain" {
		if got := r.echo(t).Header.Get("X-Auth-Username"); got != "alice" {
			t.Errorf("on the second host the program was told %q", got)
		}
		return
	}
	if r.next() == "" {
		t.Fatalf("a session of one application counts for the other: %d %s", r.status, r.body)
	}
	p.arrive(s.other+"/there", "alice")
	mine, theirs := p.cookies(s.app), p.cookies(s.other)
	if len(mine) != 1 || len(theirs) != 1 || mine[0].Name == theirs[0].Name {
		t.Errorf("the cookies are %v and %v", mine, theirs)
	}
	stolen, err := url.Parse(s.other)
	if err != nil {
		t.Fatal(err)
	}
	thief := s.person(t)
	thief.Jar.SetCookies(stolen, []*http.Cookie{
		{Name: theirs[0].Name, Value: mine[0].Value}, {Name: mine[0].Name, Value: mine[0].Value},
	})
	if r := thief.get(s.other + "/there"); r.status == http.StatusOK {
		t.Error("the cookie of one application opens the other")
	}
}

func groupRefused(t *testing.T, s *stage) {
	alice, bob := s.person(t), s.person(t)
	alice.arrive(s.app+"/admin/users", "alice")
	if r := bob.visit(s.app+"/admin/users", "bob"); r.status != http.StatusForbidden {
		t.Errorf("bob got %d: %s", r.status, r.body)
	}
	bob.arrive(s.app+"/elsewhere", "bob")
	for _, path := range []string{"/public/..%2fadmin/users", "//admin/users", "/x/%2e%2e/admin/users", "/admin%2fusers"} {
		if r := bob.get(s.app + path); r.status == http.StatusOK {
			t.Errorf("bob got %s: %s", path, r.body)
		}
	}
}

func programsGet401(t *testing.T, s *stage) {
	for name, header := range map[string]http.Header{
		"fetch": program, "JSON": {"Accept": {"application/json"}}, "XMLHttpRequest": with(http.Header{}, "X-Requested-With", "XMLHttpRequest"),
	} {
		r := s.person(t).patient(s.app+"/api", header)
		refused := r.status == http.StatusUnauthorized && r.header.Get("Location") == "" && len(r.header["Set-Cookie"]) == 0
		if s.front.sendsPrograms {
			refused = strings.Contains(r.next(), "/akprox/start?")
		}
		if !refused {
			t.Errorf("%s: %d %v", name, r.status, r.header)
		}
	}
}

func signOut(t *testing.T, s *stage) {
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	kept := p.cookies(s.app)
	at := s.signInOrigin()
	r := p.send(http.MethodPost, at+"/akprox/sign_out", with(navigation, "Origin", at), nil)
	if next := r.next(); s.issuer.EndsSessions() {
		back, err := s.issuer.SignOut(p.Client, next)
		if err != nil || back != s.app+"/public/bye" {
			t.Errorf("the issuer's sign-out leads to %q, %v", back, err)
		}
	} else if r.status != http.StatusOK {
		t.Errorf("sign-out answers %d %s", r.status, r.body)
	}
	if got := p.cookies(s.app); len(got) > 0 {
		t.Errorf("the browser still has %v", got)
	}
	if r := p.get(s.app + "/"); r.status == http.StatusOK {
		t.Error("still signed in")
	}
	thief := s.person(t)
	u, err := url.Parse(s.app)
	if err != nil {
		t.Fatal(err)
	}
	thief.Jar.SetCookies(u, kept)
	if r := thief.get(s.app + "/"); r.next() == "" {
		t.Errorf("the cookie of a session that has ended: %d %s", r.status, r.body)
	}
}

func bodiesArrive(t *testing.T, s *stage) {
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	for round := range 6 {
		body := bytes.Repeat([]byte{byte('a' + round)}, 1<<10)
		if round%2 == 1 {
			body = bytes.Repeat(body, 1<<10)
		}
		sum := sha256.Sum256(body)
		e := p.send(http.MethodPost, s.app+"/upload", program, body).echo(t)
		if e.Method != http.MethodPost || e.BodyLength != int64(len(body)) || e.BodySHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("round %d: of %d bytes there came %d, %s", round, len(body), e.BodyLength, e.BodySHA256)
		}
		start := time.Now()
		r, err := s.person(t).try(http.MethodPost, s.app+"/upload", program, body)
		if err != nil && len(body) > 1<<10 {
			continue // refused and hung up, with most of the body still unsent: HAProxy does so
		}
		if err != nil {
			t.Fatal(err)
		}
		if wanted := r.status == http.StatusUnauthorized || s.front.sendsPrograms && r.next() != ""; !wanted || time.Since(start) > 8*time.Second {
			t.Errorf("nobody's post got %d after %v", r.status, time.Since(start))
		}
	}
}

func webSocket(t *testing.T, s *stage) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stranger := s.person(t)
	conn, resp, err := websocket.Dial(ctx, s.app+"/ws", &websocket.DialOptions{HTTPClient: stranger.Client})
	if err == nil {
		_ = conn.CloseNow()
		t.Fatal("a stranger has got a WebSocket")
	}
	if resp == nil || resp.StatusCode != http.StatusUnauthorized && !s.front.sendsPrograms {
		t.Errorf("a stranger's WebSocket: %v", err)
	}
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	conn, _, err = websocket.Dial(ctx, s.app+"/ws", &websocket.DialOptions{HTTPClient: p.Client})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	for _, said := range []string{"one", strings.Repeat("two", 10000)} {
		if err := conn.Write(ctx, websocket.MessageText, []byte(said)); err != nil {
			t.Fatal(err)
		}
		conn.SetReadLimit(1 << 20)
		if _, heard, err := conn.Read(ctx); err != nil || string(heard) != said {
			t.Fatalf("said %d bytes, heard %d, %v", len(said), len(heard), err)
		}
	}
}

// issuerDown: nobody new can sign in, and everybody is told so; who is signed
// in stays so; and it ends by itself.
func issuerDown(t *testing.T, s *stage) {
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	s.issuer.Stop()
	unavailable := http.StatusServiceUnavailable
	if s.front.refusesIn403 {
		unavailable = http.StatusForbidden
	}
	eventually(t, "strangers are never told that the issuer is down", func() bool {
		r := s.person(t).get(s.app + "/")
		return r.status == unavailable && (s.front.refusesIn403 || s.front.ownErrors || r.header.Get("Retry-After") != "")
	})
	if r := p.get(s.app + "/still"); r.status != http.StatusOK {
		t.Errorf("somebody who is signed in gets %d while the issuer is down", r.status)
	}
	if r := s.person(t).get(s.app + "/public/page"); r.status != http.StatusOK {
		t.Errorf("a public page is %d while the issuer is down", r.status)
	}
	s.issuer.Restart()
	eventually(t, "no sign-in after the issuer came back", func() bool { return s.person(t).get(s.app+"/").next() != "" })
	s.person(t).arrive(s.app+"/back", "bob")
}
