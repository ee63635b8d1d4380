package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/demo"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/proxy"
	"github.com/akprox/akprox/proxy/dialect"
	"github.com/akprox/akprox/proxy/reverse"
	"github.com/akprox/akprox/proxy/signin"
)

// faulty is a store in memory of which one call goes wrong, or all of them.
type faulty struct {
	*memory.Store
	calls atomic.Int64
	bad   atomic.Int64 // the number of the call that fails; 0: none, -1: every one
	how   atomic.Pointer[fault]
	under atomic.Int64 // faults under way
}

// fault is what a call does in the place of its work; it answers what Get and
// Take find, and the error.
type fault func(ctx context.Context) (store.Item, error)

var faults = map[string]fault{
	"unavailable": func(context.Context) (store.Item, error) {
		return store.Item{}, fmt.Errorf("%w: planted", store.ErrUnavailable)
	},
	"another error": func(context.Context) (store.Item, error) { return store.Item{}, errors.New("planted") },
	"not found":     func(context.Context) (store.Item, error) { return store.Item{}, store.ErrNotFound },
	"a panic":       func(context.Context) (store.Item, error) { panic("planted") },
	"no answer": func(ctx context.Context) (store.Item, error) {
		<-ctx.Done()
		return store.Item{}, ctx.Err()
	},
	"garbage":              garbage("\x00\xff{garbage"),
	"an empty item":        garbage(""),
	"null":                 garbage("null"),
	"an empty record":      garbage("{}"),
	"a record of nobody":   garbage(`{"identity":{},"cookie":"","created":"2999-01-01T00:00:00Z"}`),
	"a record of somebody": garbage(`{"identity":{"sub":"root","username":"root","provider":"company"},"created":"2999-01-01T00:00:00Z"}`),
}

// garbage is found at once, and anything is acknowledged.
func garbage(text string) fault {
	return func(context.Context) (store.Item, error) {
		return store.Item{Value: []byte(text), Expires: time.Now().Add(time.Hour)}, nil
	}
}

// turn answers what the next call does; nil: its work.
func (f *faulty) turn() fault {
	n, bad := f.calls.Add(1), f.bad.Load()
	if bad == -1 || bad == n {
		do := *f.how.Load()
		return func(ctx context.Context) (store.Item, error) {
			f.under.Add(1)
			defer f.under.Add(-1)
			return do(ctx)
		}
	}
	return nil
}

func (f *faulty) Get(ctx context.Context, key string) (store.Item, error) {
	if do := f.turn(); do != nil && key != "ready" {
		return do(ctx)
	}
	return f.Store.Get(ctx, key)
}

// Take takes in any case where the fault is in what it answers.
func (f *faulty) Take(ctx context.Context, key string) (store.Item, error) {
	do := f.turn()
	if do == nil {
		return f.Store.Take(ctx, key)
	}
	item, err := do(ctx)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		_ = f.Store.Delete(ctx, key)
	}
	return item, err
}

func (f *faulty) Put(ctx context.Context, key string, item store.Item) error {
	if do := f.turn(); do != nil {
		_, err := do(ctx)
		return err
	}
	return f.Store.Put(ctx, key, item)
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	if do := f.turn(); do != nil {
		if _, err := do(ctx); err != nil {
			return err
		}
	}
	return f.Store.Delete(ctx, key)
}

func (f *faulty) DeleteTagged(ctx context.Context, tag string) (int, error) {
	if do := f.turn(); do != nil {
		_, err := do(ctx)
		return 0, err
	}
	return f.Store.DeleteTagged(ctx, tag)
}

func (f *faulty) Count(ctx context.Context, prefix string) (int, error) {
	if do := f.turn(); do != nil {
		_, err := do(ctx)
		return 0, err
	}
	return f.Store.Count(ctx, prefix)
}

// newFaultyWorld is newWorld over a store that can fail.
func newFaultyWorld(t *testing.T, edits ...string) (*world, *faulty) {
	t.Helper()
	f := &faulty{Store: memory.New(memory.Options{})}
	w := newWorldOf(t, contractDocument, func(ctx context.Context, log *logrus.Logger, doc *config.Document) (*running, error) {
		rt, err := newRunning(ctx, log, doc, f)
		if rt != nil {
			rt.close = func() { _ = f.Close() }
		}
		return rt, err
	}, edits...)
	return w, f
}

// walk is somebody's whole way: to the issuer and back, some checks, and out
// again, at a moment when anything may fail. It holds, at each step, that
// nobody passes who may not, and that nobody is somebody else.
type walk struct {
	*world
	t     *testing.T
	name  string
	user  string
	me    *http.Client
	wait  time.Duration // for each answer
	ended bool          // sign-out has been acknowledged
}

func (k *walk) run() {
	k.me = k.browser()
	k.me.Timeout = k.wait
	page := "http://wiki.example.test/akprox/start?rd=/page"
	resp, _ := k.try("GET", page)
	if resp != nil {
		page = resp.Header.Get("Location")
	}
	k.check()
	if resp, body := k.try("GET", page); resp != nil && resp.StatusCode == 200 && strings.Contains(body, `id="user-`+k.user+`"`) {
		back := k.submit(k.me, page, body, k.user)
		k.check()
		k.try("GET", back)
	}
	k.check()
	k.check()
	if resp, body := k.try("GET", "http://wiki.example.test/akprox/userinfo"); resp != nil && resp.StatusCode == 200 && !strings.Contains(body, `"`+k.user+`"`) {
		k.t.Errorf("%s: userinfo of %s: %s", k.name, k.user, body)
	}
	kept := cookies(k.me, "wiki.example.test")
	resp, body := k.try("POST", "http://wiki.example.test/akprox/sign_out", "Origin: http://wiki.example.test")
	k.ended = resp != nil && (resp.StatusCode == 303 || resp.StatusCode == 200 && strings.Contains(body, "signed out"))
	k.check(kept)
}

// try makes a request that may fail in every way.
func (k *walk) try(method, address string, lines ...string) (*http.Response, string) {
	req, err := http.NewRequest(method, address, nil)
	if err != nil || !strings.HasPrefix(address, "http") {
		return nil, ""
	}
	req.Header.Set("Accept", "text/html")
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header.Set(name, value)
	}
	resp, err := k.me.Do(req)
	if err != nil {
		return nil, ""
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	if strings.Contains(string(body), "planted") {
		k.t.Errorf("%s: a page tells what went wrong inside: %s", k.name, body)
	}
	return resp, string(body)
}

// check asks through every dialect, for nobody and with the walk's cookies.
func (k *walk) check(kept ...string) {
	lines := append(kept, cookies(k.me, "wiki.example.test"))
	for _, name := range []string{"nginx", "traefik", "caddy"} {
		for i, cookie := range append([]string{"X-None: x"}, lines...) {
			resp := k.ask(name, cookie)
			if resp == nil || resp.StatusCode >= 300 {
				continue
			}
			switch got := resp.Header.Get("X-Auth-Username"); {
			case i == 0:
				k.t.Errorf("%s: %s: nobody passes as %q", k.name, name, got)
			case got != k.user:
				k.t.Errorf("%s: %s: %s passes as %q", k.name, name, k.user, got)
			case k.ended:
				k.t.Errorf("%s: %s: passes after a sign-out that was acknowledged", k.name, name)
			}
		}
	}
}

func (k *walk) ask(name, line string) *http.Response {
	req, err := http.NewRequest("GET", k.url+"/akprox/auth/"+name, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	for _, l := range []string{line, "X-Original-URL: http://wiki.example.test/page", "X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test", "X-Forwarded-Uri: /page"} {
		n, value, _ := strings.Cut(l, ": ")
		req.Header.Set(n, value)
	}
	c := &http.Client{Timeout: k.me.Timeout, Transport: http.DefaultTransport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := c.Do(req)
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

// TestAStoreThatFailsAtAnyCall lets each store call of a whole walk fail, one
// after the other, in each way; and then all of them at once.
func TestAStoreThatFailsAtAnyCall(t *testing.T) {
	t.Parallel()
	const short, long = 400 * time.Millisecond, 20 * time.Second // short: for the store that does not answer
	walks := atomic.Int64{}
	for name, how := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, f := newFaultyWorld(t)
			before := f.calls.Load()
			good := &walk{world: w, t: t, name: "nothing fails", user: "alice", wait: long}
			good.run()
			if n := f.calls.Load() - before; !good.ended || n < 6 {
				t.Fatalf("without a fault: %d calls, signed out %v", n, good.ended)
			}
			calls := int(f.calls.Load() - before)
			f.how.Store(&how)
			for k := 1; k <= calls+1; k++ {
				f.calls.Store(0)
				f.bad.Store(int64(k))
				(&walk{world: w, t: t, name: fmt.Sprint(name, " at call ", k), user: []string{"alice", "bob"}[k%2], wait: short}).run()
				walks.Add(1)
			}
			f.bad.Store(-1)
			(&walk{world: w, t: t, name: name + " at every call", user: "bob", wait: short}).run()
			f.bad.Store(0)
			after := &walk{world: w, t: t, name: name + " is over", user: "bob", wait: long}
			after.run()
			if !after.ended {
				t.Error("nothing works after the fault is over")
			}
			for deadline := time.Now().Add(30 * time.Second); f.under.Load() > 0; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("somebody waits for the store without an end")
				}
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d walks with a fault each", walks.Load()) })
}

// planted is a part that goes wrong in its own way.
type planted struct {
	do func() (*outpost.Identity, error)
}

func (p planted) Identify(context.Context, *outpost.Request) (*outpost.Identity, error) {
	return p.do()
}

func (p planted) Take(context.Context, string) (limit.Limit, error) {
	_, err := p.do()
	return limit.Limit{}, err
}

func (p planted) Full(string) bool {
	_, err := p.do()
	return err == nil
}

// TestAPartThatBreaksOpensNothing breaks each part that Decide asks. Somebody
// else's answer, half an answer and a panic are never a way in.
func TestAPartThatBreaksOpensNothing(t *testing.T) {
	w := newWorld(t)
	root := &outpost.Identity{Subject: "root", Username: "root", Provider: "planted", Groups: []string{"admin"}}
	breaks := map[string]func() (*outpost.Identity, error){
		"a panic":                     func() (*outpost.Identity, error) { panic("planted") },
		"a panic of the runtime":      func() (*outpost.Identity, error) { return make([]*outpost.Identity, 1)[len(os.Args)+1], nil },
		"nobody, and no error":        func() (*outpost.Identity, error) { return nil, nil },
		"somebody and an error":       func() (*outpost.Identity, error) { return root, errors.New("planted") },
		"somebody and no credential":  func() (*outpost.Identity, error) { return root, outpost.ErrNoCredential },
		"somebody and nobody asked":   func() (*outpost.Identity, error) { return root, outpost.ErrUnavailable },
		"somebody and not my own":     func() (*outpost.Identity, error) { return root, outpost.ErrUnclaimed },
		"the client's own going away": func() (*outpost.Identity, error) { return nil, context.Canceled },
		"an abort":                    func() (*outpost.Identity, error) { panic(http.ErrAbortHandler) },
	}
	apps := w.live.Applications().All()
	n := 0
	for name, do := range breaks {
		for part, plant := range map[string]func(a *outpost.Application){
			"the first credential kind": func(a *outpost.Application) {
				a.Credentials = append([]outpost.Named{{Provider: "planted", Credential: planted{do}}}, a.Credentials...)
			},
			"the last credential kind": func(a *outpost.Application) {
				a.Credentials = append(a.Credentials[:len(a.Credentials):len(a.Credentials)], outpost.Named{Provider: "planted", Credential: planted{do}})
			},
			"the gate": func(a *outpost.Application) {
				a.Gate = []outpost.Named{{Provider: "planted", Credential: planted{do}}}
			},
			"the limit": func(a *outpost.Application) { a.Limit = planted{do} },
			"a rule's limit": func(a *outpost.Application) {
				a.Rules = outpost.NewRules([]outpost.Rule{{Name: "rules[0]", Admit: outpost.SignedIn, Limit: planted{do}}})
			},
			"own paths": func(a *outpost.Application) {
				a.Own = func(*outpost.Request) bool { _, err := do(); return err == nil && false }
			},
			"headers":       func(a *outpost.Application) { a.Headers, a.Own = nil, func(*outpost.Request) bool { return true } },
			"rules":         func(a *outpost.Application) { a.Rules = outpost.Rules{} },
			"the issuer":    func(a *outpost.Application) { way := *a.SignIn; way.Issuer = nil; a.SignIn = &way },
			"everything":    func(a *outpost.Application) { *a = outpost.Application{External: a.External, Domain: a.Domain} },
			"no rules told": func(a *outpost.Application) { a.Rules = outpost.NewRules(nil); a.Credentials = nil },
		} {
			var copies []*outpost.Application
			for _, a := range apps {
				changed := *a
				plant(&changed)
				copies = append(copies, &changed)
			}
			w.live.Swap(proxy.New(proxy.Options{
				Applications: outpost.NewApplications(copies), Prefixes: []string{"/akprox"}, Recorder: w.recorder,
				Edge: &dialect.Edge{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, NginxOriginalURL: true}, Forwarder: reverse.New(reverse.Options{}), SignIn: signin.New(signin.Options{}),
			}))
			k := &walk{world: w, t: t, name: part + " answers " + name, me: &http.Client{Timeout: 10 * time.Second}}
			for _, dialect := range []string{"nginx", "traefik", "caddy"} {
				n++
				if resp := k.ask(dialect, "X-None: x"); resp != nil && resp.StatusCode < 300 {
					t.Errorf("%s: %s: nobody passes as %q", k.name, dialect, resp.Header.Get("X-Auth-Username"))
				}
			}
			if resp, err := k.browser().Get("http://legacy.test/page"); err == nil {
				_ = resp.Body.Close()
				if resp.StatusCode < 300 {
					t.Errorf("%s: proxy mode: nobody passes", k.name)
				}
			}
		}
	}
	t.Logf("%d questions to a broken part", n)
}

// TestADialectThatBreaksOpensNothing lets Read panic: its edge is not there.
func TestADialectThatBreaksOpensNothing(t *testing.T) {
	w := newWorld(t)
	w.live.Swap(proxy.New(proxy.Options{Applications: w.live.Applications(), Prefixes: []string{"/akprox"}, Recorder: w.recorder, SignIn: signin.New(signin.Options{})}))
	for _, d := range dialect.All() {
		k := &walk{world: w, t: t, me: &http.Client{Timeout: 10 * time.Second}}
		if resp := k.ask(d.Name(), "X-None: x"); resp != nil && resp.StatusCode < 400 {
			t.Errorf("%s: %d", d.Name(), resp.StatusCode)
		}
	}
	w.logs("internal error", 1)
}

// broken is a connection that fails at the n-th write of any kind.
type broken struct {
	*httptest.ResponseRecorder
	after, panics int
}

func (b *broken) Write(p []byte) (int, error) {
	if b.after--; b.after < 0 {
		if b.panics > 0 {
			b.panics--
			panic(errors.New("the connection panics"))
		}
		return len(p) / 2, io.ErrShortWrite
	}
	return b.ResponseRecorder.Write(p)
}

// TestAnAnswerThatCannotBeWritten and contexts that have ended: whoever may
// not pass gets no 2xx, and no handler breaks.
func TestAnAnswerThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	alice := w.browser()
	w.signIn(alice, "http://wiki.example.test/akprox/start?rd=/", "alice")
	line := strings.TrimPrefix(cookies(alice, "wiki.example.test"), "Cookie: ")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancelLate()
	for _, target := range []string{
		"/akprox/auth/nginx", "/akprox/auth/traefik", "/akprox/auth/caddy", "/akprox/start?rd=/", "/akprox/sign_in", "/akprox/userinfo",
		"/akprox/callback?code=x&state=" + strings.Repeat("x", 43), "/akprox/sign_out", "/page", "/akprox/static/akprox.css",
	} {
		for _, cookie := range []string{"", line} {
			for name, ctx := range map[string]context.Context{"": t.Context(), "gone": gone, "late": late} {
				for _, b := range []*broken{{after: 0}, {after: 1}, {after: 0, panics: 1}, {after: 1 << 20}} {
					b.ResponseRecorder = httptest.NewRecorder()
					req := httptest.NewRequestWithContext(ctx, "GET", target, nil)
					req.Host, req.RemoteAddr = "wiki.example.test", "127.0.0.1:1234"
					if target == "/page" {
						req.Host = "legacy.test"
					}
					req.Header = http.Header{
						"X-Original-Url": {"http://wiki.example.test/page"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"wiki.example.test"},
						"X-Forwarded-Uri": {"/page"}, "Cookie": {cookie}, "Accept": {"text/html"},
					}
					w.live.ServeHTTP(b, req)
					guarded := strings.Contains(target, "/auth/") || target == "/page" || strings.HasSuffix(target, "userinfo")
					if guarded && cookie == "" && b.Code < 300 {
						t.Errorf("%s %s: nobody passes", name, target)
					}
					if user := b.Header().Get("X-Auth-Username"); user != "" && (cookie == "" || user != "alice") {
						t.Errorf("%s %s: passes as %q", name, target, user)
					}
				}
			}
		}
	}
}

// manyPeople are people beside alice and bob.
func manyPeople() []demo.User {
	var all []demo.User
	for i := range 50 {
		name := fmt.Sprintf("person%02d", i)
		all = append(all, demo.User{Username: name, Name: name, Email: name + "@example.com", Password: "x" + name, Groups: []string{"of-" + name}})
	}
	return all
}

// TestCVE202633544FiftySignInsAtOnce: each of fifty people is who they are,
// from the first step to the last, over real connections and under -race.
func TestCVE202633544FiftySignInsAtOnce(t *testing.T) {
	w := newWorld(t)
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for _, p := range manyPeople() {
		all.Go(func() {
			c := w.browser()
			if end := w.signIn(c, "http://wiki.example.test/akprox/start?rd=/of/"+p.Username, p.Username); end != "http://wiki.example.test/of/"+p.Username {
				t.Errorf("%s ended at %s", p.Username, end)
			}
			for range 20 {
				resp := w.traefik("http://wiki.example.test/page", cookies(c, "wiki.example.test"))
				if got := resp.Header.Get("X-Auth-Username") + resp.Header.Get("X-Auth-Groups") + resp.Header.Get("X-Forwarded-Email"); resp.StatusCode != 200 || got != p.Username+"of-"+p.Username+p.Email {
					t.Errorf("%s passes as %d %s", p.Username, resp.StatusCode, got)
				}
			}
			kept := cookies(c, "wiki.example.test")
			w.do(c, "POST", "http://wiki.example.test/akprox/sign_out", "Origin: http://wiki.example.test")
			if resp := w.traefik("http://wiki.example.test/page", kept); resp.StatusCode != 302 {
				t.Errorf("%s passes after sign-out: %d", p.Username, resp.StatusCode)
			}
		})
	}
	all.Wait()
	settles(t, before)
}

// settles waits until there are no more goroutines than before, some spare.
// Connections that are kept for the next request are not counted.
func settles(t *testing.T, before int) {
	t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	deadline := time.Now().Add(40 * time.Second)
	for {
		buf := make([]byte, 1<<22)
		busy := 0
		stacks := string(buf[:runtime.Stack(buf, true)])
		for g := range strings.SplitSeq(stacks, "\n\n") {
			idle := strings.Contains(g, "(*conn).serve") && strings.Contains(g, "(*Reader).Peek")
			if !idle && !strings.Contains(g, "persistConn") {
				busy++
			}
		}
		if busy <= before+12 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines were %d before:\n%s", busy, before, stacks[:min(len(stacks), 1<<14)])
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestConnectionsThatBreakLeaveNothingBehind: half a request, half an answer.
func TestConnectionsThatBreakLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	before := runtime.NumGoroutine()
	full := "GET /akprox/auth/traefik HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: wiki.example.test\r\nX-Forwarded-Uri: /page\r\nAccept: text/html\r\n\r\n"
	for i := range 2 * len(full) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, strings.Repeat(full, 2)[:i])
		if i%2 == 0 {
			_ = conn.(*net.TCPConn).SetLinger(0)
		}
		_ = conn.Close()
	}
	settles(t, before)
	if resp := w.traefik("http://wiki.example.test/health"); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}
