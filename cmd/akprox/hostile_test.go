package main

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/outpost/config"
)

// Proxies choose a site by its name and hand the port of the Host header on as
// the client wrote it: a made-up one must not lead to the domain's rules.
func TestAMadeUpPortIsNobodysApplication(t *testing.T) {
	w := newWorld(t)
	for _, host := range []string{"wiki.example.test:9999", "wiki.example.test:443", "WIKI.example.test.:1"} {
		if resp := w.traefik("http://" + host + "/old/x"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", host, resp.StatusCode)
		}
	}
	if resp := w.traefik("http://wiki.example.test:80/old/x"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("the default port: %d", resp.StatusCode)
	}
	if resp := w.traefik("http://other.example.test:8080/"); resp.StatusCode != http.StatusFound {
		t.Errorf("a host of the domain that nobody else claims: %d", resp.StatusCode)
	}
}

func TestOwnPathsInAnotherSpellingAreNotOurs(t *testing.T) {
	w := newWorld(t, "nginx_original_url: true", "nginx_original_url: true, compat: [knocker, auth-server]")
	for _, path := range []string{"/auth/sign%2Din", "/%61uth/sign-in", "/%6bnock", "/knock", "/akprox/%73tart", "/akprox/knock"} {
		resp, _ := w.do(w.browser(), "GET", "http://legacy.test"+path, "Accept: application/json")
		if resp.StatusCode < 400 {
			t.Errorf("%s reaches the program: %d", path, resp.StatusCode)
		}
	}
}

func TestACallbackThatNamesAnotherIssuerIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.browser()
	resp, _ := w.do(c, "GET", "http://wiki.example.test/akprox/start?rd=/", "Accept: text/html")
	page := resp.Header.Get("Location")
	_, body := w.do(c, "GET", page)
	back, err := url.Parse(w.submit(c, page, body, "alice"))
	if err != nil {
		t.Fatal(err)
	}
	q := back.Query()
	q.Set("iss", "https://evil.test")
	back.RawQuery = q.Encode()
	if resp, _ := w.do(c, "GET", back.String(), "Accept: text/html"); resp.StatusCode < 400 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if resp := w.traefik("http://wiki.example.test/", cookies(c, "wiki.example.test")); resp.StatusCode == 200 {
		t.Error("somebody is signed in")
	}
}

func TestTwoApplicationsOfOneCookieAreAProblem(t *testing.T) {
	text := strings.NewReplacer("ISSUER", "http://127.0.0.1:1", "UPSTREAM", "http://127.0.0.1:1", "name: wiki", "name: example.test").Replace(contractDocument)
	doc, problems := config.Parse([]byte(text), "akprox.yaml", kinds.Settings(), stores.Kinds())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := tryDocument(doc); err == nil || !strings.Contains(err.Error(), "session cookie") {
		t.Errorf("got %v", err)
	}
}

func TestABodyThatNeverEndsIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("POST /akprox/sign_out HTTP/1.1\r\nHost: wiki.example.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na="))
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buf := make([]byte, 4096); ; {
		if _, err := conn.Read(buf); err != nil {
			if nerr, ok := err.(net.Error); ok && nerr.Timeout() { //nolint:errorlint // what Read answers
				t.Error("the connection is still held")
			}
			return
		}
	}
}

// One address alone cannot use up the sign-ins in progress.
func TestOneAddressCannotLockTheOthersOut(t *testing.T) {
	w := newWorld(t)
	c := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	start := func(client string) int {
		req, err := http.NewRequest("GET", w.url+"/akprox/start?rd=/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "wiki.example.test"
		req.Header.Set("X-Forwarded-For", client)
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	refused := 0
	for range 2100 {
		if start("198.51.100.7") == http.StatusServiceUnavailable {
			refused++
		}
	}
	if refused != 100 {
		t.Errorf("%d of 2100 were refused", refused)
	}
	if got := start("198.51.100.8"); got != http.StatusFound {
		t.Errorf("somebody else: %d", got)
	}
}
