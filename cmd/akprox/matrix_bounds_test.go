package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/config"
)

// listening is a world that listens as the program does, with all limits of
// its server; at is the address. Its goroutines are labelled, for serving.
func listening(t *testing.T) (st *faulty, w *world, at string) {
	t.Helper()
	w, st = newFaultyWorld(t)
	at = freeAddress(t)
	ctx, stop := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	pprof.Do(ctx, pprof.Labels("listens", at), func(ctx context.Context) {
		go func() { done <- w.listen(ctx, config.Server{HTTP: at}, func() { close(ready) }) }()
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return st, w, at
}

// serving answers how many goroutines the listener at an address has, whatever
// tests run beside this one.
func serving(t *testing.T, at string) int {
	t.Helper()
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		t.Fatal(err)
	}
	sum, n := 0, 0
	for line := range strings.Lines(profile.String()) {
		if count, _, ok := strings.Cut(line, " @ "); ok {
			n, _ = strconv.Atoi(count)
		}
		if strings.HasPrefix(line, "# labels: ") && strings.Contains(line, `"`+at+`"`) {
			sum += n
		}
	}
	return sum
}

// freeAddress answers an address that nobody listens at, of those that the
// system gives to nobody who asks for any port: it stays free until it is used.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		at := fmt.Sprint("127.0.0.1:", 15000+rand.N(15000))
		if l, err := net.Listen("tcp", at); err == nil {
			_ = l.Close()
			return at
		}
	}
	t.Fatal("no port is free")
	return ""
}

// exchange sends raw over a connection of its own and answers the status, or
// 0 when it was hung up without an answer.
func exchange(t *testing.T, at, raw string) int {
	t.Helper()
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	go func() { _, _ = io.WriteString(conn, raw) }()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestSizesAtAndBeyondTheirBounds: at the bound a question is answered as a
// smaller one is; beyond it is refused, and nobody is served less for it.
func TestSizesAtAndBeyondTheirBounds(t *testing.T) {
	_, _, at := listening(t)
	ask := func(uri string, lines ...string) int {
		return exchange(t, at, wire("GET /akprox/auth/traefik", "x", append(lines, "X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test", "X-Forwarded-Uri: "+uri)))
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		name string
		got  int
		want []int
	}{
		{"a URI at its bound", ask("/" + long(16<<10-1)), []int{302}},
		{"a URI beyond", ask("/" + long(16<<10)), []int{400}},
		{"a public URI with a query beyond", ask("/health?" + long(16<<10)), []int{400}},
		{"an odd path at its bound", ask("/" + long(4<<10-5) + ";/x"), []int{302}},
		{"an odd path beyond", ask("/" + long(4<<10) + ";/x"), []int{400}},
		{"a path of many readings", ask("/" + strings.Repeat("%2f..;a/", 500)), []int{302, 400}},
		{"a host at its bound", exchange(t, at, wire("GET /akprox/auth/traefik", "x", []string{"X-Forwarded-Proto: http", "X-Forwarded-Uri: /", "X-Forwarded-Host: " + strings.Repeat("a.", 120) + "example.test"})), []int{302}},
		{"a host beyond", exchange(t, at, wire("GET /akprox/auth/traefik", "x", []string{"X-Forwarded-Proto: http", "X-Forwarded-Uri: /", "X-Forwarded-Host: " + strings.Repeat("a.", 130) + "example.test"})), []int{400}},
		{"a long cookie", ask("/page", "Cookie: a="+long(30<<10)), []int{302, 431}},
		{"a cookie of a mebibyte", ask("/page", "Cookie: a="+long(1<<20)), []int{302, 431, 0}},
		{"two mebibytes of headers", ask("/page", "X-Long: "+long(2<<20)), []int{431, 0}},
		{"ten thousand headers", ask("/page", strings.TrimSuffix(strings.Repeat("X-Many: x\r\n", 10000), "\r\n")), []int{302, 400, 431, 0}},
		{"forty addresses", ask("/page", "X-Forwarded-For: "+strings.Repeat("127.0.0.1,", 40)+"1.2.3.4"), []int{302}},
		{"a request line of a mebibyte", exchange(t, at, "GET /akprox/start?rd=/"+long(1<<20)+" HTTP/1.1\r\nHost: wiki.example.test\r\n\r\n"), []int{302, 431, 414, 400, 0}},
		{"a long return URL", exchange(t, at, "GET /akprox/start?rd=/"+long(8<<10)+" HTTP/1.1\r\nHost: wiki.example.test\r\nAccept: text/html\r\n\r\n"), []int{302}},
		{"a long callback", exchange(t, at, "GET /akprox/callback?code="+long(8<<10)+"&state="+long(43)+" HTTP/1.1\r\nHost: wiki.example.test\r\n\r\n"), []int{400}},
		{"a form of a mebibyte", exchange(t, at, "POST /akprox/sign_out HTTP/1.1\r\nHost: wiki.example.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1048576\r\n\r\n"+long(1<<20)), []int{200, 400, 403, 413, 0}},
		{"afterwards", ask("/health"), []int{200}},
	} {
		ok := false
		for _, want := range c.want {
			ok = ok || c.got == want
		}
		if !ok {
			t.Errorf("%s: %d, want one of %v", c.name, c.got, c.want)
		}
	}
}

// TestSlowClientsAndFloodsHoldNobodyUp: 2,000 connections that say half a
// sentence and no more, and everybody else is answered meanwhile; they are
// hung up on in bounded time.
func TestSlowClientsAndFloodsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	_, _, at := listening(t)
	before := serving(t, at)
	if before == 0 {
		t.Fatal("nobody listens")
	}
	const half = "GET /akprox/auth/traefik HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: wiki"
	const body = "POST /akprox/sign_out HTTP/1.1\r\nHost: wiki.example.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na="
	var conns []net.Conn
	for i := range 2000 {
		conn, err := net.Dial("tcp", at)
		if err != nil {
			t.Logf("%d connections: %v", i, err)
			break
		}
		conns = append(conns, conn)
		_, _ = io.WriteString(conn, []string{half, body, ""}[i%3])
	}
	var slowest time.Duration
	for range 50 {
		began := time.Now()
		if got := exchange(t, at, wire("GET /akprox/auth/nginx", "x", []string{"X-Original-URL: http://wiki.example.test/health"})); got != 200 {
			t.Errorf("somebody else gets %d", got)
		}
		slowest = max(slowest, time.Since(began))
	}
	t.Logf("%d connections; the slowest answer took %s", len(conns), slowest)
	hungUp := 0
	deadline := time.Now().Add(60 * time.Second)
	for i, conn := range conns {
		if i%3 == 2 {
			_ = conn.Close() // one that says nothing is idle, for longer
			continue
		}
		_ = conn.SetReadDeadline(deadline)
		if _, err := io.Copy(io.Discard, conn); err == nil {
			hungUp++
		}
		_ = conn.Close()
	}
	if talked := len(conns) - len(conns)/3; hungUp < talked-2 {
		t.Errorf("%d of %d slow clients were hung up on", hungUp, talked)
	}
	for end := time.Now().Add(40 * time.Second); serving(t, at) > before+12; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines were %d before", serving(t, at), before)
		}
	}
}

// hostileQuestions are asked over and over by the flood.
func hostileQuestions() []string {
	var all []string
	ask := func(lines ...string) { all = append(all, wire("GET /akprox/auth/traefik", "x", lines)) }
	const host = "X-Forwarded-Host: wiki.example.test"
	ask("X-Forwarded-Proto: http", host, "X-Forwarded-Uri: /page/NUMBER", "Accept: text/html")
	ask("X-Forwarded-Proto: http", host, "X-Forwarded-Uri: /page", "Cookie: akprox_NUMBER=NUMBER; akprox_flow_NUMBER=x")
	ask("X-Forwarded-Proto: http", "X-Forwarded-Host: NUMBER.example.test", "X-Forwarded-Uri: /public/..%2fNUMBER;x/../y")
	ask("X-Forwarded-Proto: http", "X-Forwarded-Host: NUMBER.evil.test", "X-Forwarded-Uri: /", "X-Forwarded-For: 10.0.NUMBER, 1.2.3.4")
	ask("X-Forwarded-Proto: http", host, host, "X-Forwarded-Uri: /")
	ask("X-Forwarded-Proto: NUMBER", host, "X-Forwarded-Uri: /", "X-Forwarded-Method: NUMBER")
	ask("X-Forwarded-Proto: http", host, "X-Forwarded-Uri: /%zz", "Authorization: Bearer NUMBER.NUMBER.NUMBER")
	all = append(all,
		wire("GET /akprox/auth/nginx", "x", []string{"X-Original-URL: http://wiki.example.test/NUMBER", "Authorization: Basic NUMBER"}),
		wire("GET /akprox/callback?code=NUMBER&state="+strings.Repeat("A", 43), "wiki.example.test", nil),
		wire("GET /NUMBER", "legacy.test", []string{"X-Forwarded-For: 198.51.100.7"}),
		wire("GET /akprox/nope/NUMBER", "NUMBER.test", nil),
		wire("GET /akprox/userinfo", "wiki.example.test", []string{"Cookie: akprox_NUMBER=NUMBER"}),
	)
	return all
}

// TestMemoryIsFlatAfter100000HostileRequests, and nothing is stored.
func TestMemoryIsFlatAfter100000HostileRequests(t *testing.T) {
	kept, w, at := listening(t)
	questions := hostileQuestions()
	var passed atomic.Int64
	flood := func(n int) {
		var all sync.WaitGroup
		for part := range 8 {
			all.Go(func() {
				conn, err := net.Dial("tcp", at)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				in := bufio.NewReader(conn)
				for i := range n / 8 {
					raw := strings.ReplaceAll(questions[i%len(questions)], "NUMBER", strconv.Itoa(i*8+part))
					if _, err := io.WriteString(conn, raw); err != nil {
						t.Error(err)
						return
					}
					resp, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					if resp.StatusCode < 300 {
						passed.Add(1)
					}
					if resp.Close { // as after a 400 of net/http
						_ = conn.Close()
						if conn, err = net.Dial("tcp", at); err != nil {
							t.Error(err)
							return
						}
						in.Reset(conn)
					}
				}
			})
		}
		all.Wait()
		w.log.mu.Lock()
		w.log.b = bytes.Buffer{} // the log is the test's own, and grows
		w.log.mu.Unlock()
	}
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	const part = 5000 // so that the test's own copy of the log stays small
	for range 4 {
		flood(part)
	}
	goroutines, grown := runtime.NumGoroutine(), 0
	for range 3 { // what leaks grows each time; what the runtime keeps after other tests does not
		rss := resident(t)
		for range n / part {
			flood(part)
		}
		grown = resident(t) - rss
		t.Logf("%d requests: resident memory grew by %d KiB to %d KiB; %d goroutines, %d before", n, grown>>10, resident(t)>>10, runtime.NumGoroutine(), goroutines)
		if grown <= 32<<20 {
			break
		}
	}
	if passed.Load() > 0 {
		t.Errorf("%d passed", passed.Load())
	}
	if grown > 32<<20 {
		t.Errorf("resident memory grew by %d MiB", grown>>20)
	}
	settles(t, goroutines)
	for _, prefix := range []string{"session:", "flow:", ""} {
		if got, err := kept.Store.Count(t.Context(), prefix); err != nil || got > 0 {
			t.Errorf("%d items with the prefix %q, %v", got, prefix, err)
		}
	}
}

// resident answers the process's resident memory in bytes, after a collection.
func resident(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
