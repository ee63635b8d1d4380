package e2e_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/publicsuffix"

	"github.com/akprox/akprox/cmd/akprox/demo"
	"github.com/akprox/akprox/e2e/parts"
)

// signIns is how many there are in TestKill, by workers at a time.
const (
	signIns = 1000
	workers = 8
)

// TestKill: kill -9 in the middle of many sign-ins loses no session whose
// cookie a browser has got.
func TestKill(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	k := newKill(t)
	var done atomic.Int64
	var wg sync.WaitGroup
	half := make(chan struct{})
	for range workers {
		wg.Go(func() {
			for range signIns / workers {
				if k.signIn() && done.Add(1) == signIns/2 {
					close(half)
				}
			}
		})
	}
	<-half
	before := len(k.got())
	k.akprox.Kill()
	k.akprox.Restart()
	wg.Wait()
	cookies := k.got()
	t.Logf("%d sessions before the kill, %d in all; %d sign-ins failed, the last with %v", before, len(cookies), k.failed.Load(), k.lastError.Load())
	if failed := k.failed.Load(); failed > signIns/2 || len(cookies) < signIns/2 {
		t.Errorf("%d of %d sign-ins failed", failed, signIns)
	}
	for i, c := range cookies {
		if err := k.accepted(c); err != nil {
			t.Errorf("session %d of %d, %d before the kill: %v", i, len(cookies), before, err)
		}
	}
}

// kill is an akprox in proxy mode and a quick issuer.
type kill struct {
	app       string
	akprox    *parts.Process
	failed    atomic.Int64
	lastError atomic.Value

	t       *testing.T
	clients sync.Pool
	mu      sync.Mutex
	cookies []*http.Cookie
}

func newKill(t *testing.T) *kill {
	t.Helper()
	return newKillWith(t, func(config string, port int) *parts.Process { return parts.Akprox(t, config, port, "") })
}

// newKillWith is newKill with another way to start akprox.
func newKillWith(t *testing.T, start func(config string, port int) *parts.Process) *kill {
	t.Helper()
	port := parts.Port(t)
	k := &kill{t: t, app: fmt.Sprintf("http://%s:%d", appHost, port)}
	issuer := httptest.NewUnstartedServer(nil)
	name := "http://" + issuer.Listener.Addr().String()
	client := demo.Client{ID: "akprox", Secret: "secret-of-the-kill-test-0123456789", Redirects: []string{k.app + "/akprox/callback"}}
	handler, err := demo.NewIssuer(name, client, demo.Users())
	if err != nil {
		t.Fatal(err)
	}
	issuer.Config.Handler = handler
	issuer.Start()
	t.Cleanup(issuer.Close)
	k.akprox = start(fmt.Sprintf(`version: 1
server: { http: "127.0.0.1:%d", https: "", metrics: "" }
store: { kind: disk, path: store }
providers:
  - { name: company, kind: oidc, issuer: %q, client_id: %s, client_secret: { value: %s } }
applications:
  - { name: app, mode: proxy, external_url: %q, upstream: %q, credentials: [company] }
`, port, name, client.ID, client.Secret, k.app, parts.Upstream(t).URL), port)
	eventually(t, "nobody can sign in", k.signIn)
	k.failed.Store(0)
	return k
}

// client answers a browser with a fresh profile and an old connection.
func (k *kill) client() *http.Client {
	c, ok := k.clients.Get().(*http.Client)
	if !ok {
		c = parts.Client(k.t)
	}
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		panic(err) // it never answers one
	}
	c.Jar = jar
	return c
}

// signIn signs somebody in and keeps the cookie as soon as it is here.
func (k *kill) signIn() bool {
	c := k.client()
	defer k.clients.Put(c)
	cookie, err := k.follow(c)
	if err != nil {
		k.failed.Add(1)
		k.lastError.Store(err.Error())
		// akprox may be down: not all tries at once.
		_ = waitFor(k.app + "/akprox/ping")
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cookies = append(k.cookies, cookie)
	return true
}

func (k *kill) got() []*http.Cookie {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]*http.Cookie(nil), k.cookies...)
}

var errNoCookie = errors.New("no cookie")

// follow walks from the application to the issuer and back.
func (k *kill) follow(c *http.Client) (*http.Cookie, error) {
	next := k.app + "/"
	for range 6 {
		resp, err := ask(c, next)
		if err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		for _, cookie := range resp.Cookies() {
			if strings.HasPrefix(cookie.Name, "akprox_") && !strings.HasPrefix(cookie.Name, "akprox_flow") && cookie.Path == "/" && cookie.MaxAge >= 0 {
				return cookie, nil
			}
		}
		if next = resp.Header.Get("Location"); next == "" {
			return nil, fmt.Errorf("%s: %w", resp.Status, errNoCookie)
		}
	}
	return nil, errNoCookie
}

// ask gets an address; at the issuer's, it posts the form of its page.
func ask(c *http.Client, address string) (*http.Response, error) {
	if !strings.Contains(address, "/authorize?") {
		req, err := http.NewRequest(http.MethodGet, address, http.NoBody)
		if err != nil {
			return nil, err
		}
		req.Header = navigation.Clone()
		return c.Do(req)
	}
	u := demo.Users()[0]
	return c.PostForm(address, url.Values{"username": {u.Username}, "password": {u.Password}})
}

// accepted asks the application with a cookie alone.
func (k *kill) accepted(cookie *http.Cookie) error {
	c := k.client()
	defer k.clients.Put(c)
	req, err := http.NewRequest(http.MethodGet, k.app+"/", http.NoBody)
	if err != nil {
		return err
	}
	req.AddCookie(cookie)
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it is answered %s", resp.Status)
	}
	return nil
}
