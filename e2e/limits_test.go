package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// The hosts of the applications with limits.
const (
	limitedHost = "limited.example.test" // three requests in ten seconds
	exportHost  = "export.example.test"  // two for each of two rules
)

// testKey is the API key of a name in testdata/gateway.
func testKey(name string) string { return "gateway-test-key-of-" + name }

// TestG13Limits: limits count identities, and addresses while nobody is known,
// behind each proxy and in proxy mode.
func TestG13Limits(t *testing.T) {
	t.Parallel()
	g := newLimits(t)
	for _, edge := range []string{caddy.name, nginx.name, traefik.name, itself.name} {
		t.Run(edge, func(t *testing.T) {
			t.Parallel()
			limitsOf(t, g, edge)
		})
	}
	t.Run("addresses", func(t *testing.T) {
		t.Parallel()
		limitedAddresses(t, g)
	})
}

func newLimits(t *testing.T) *gateway {
	t.Helper()
	parts.Need(t)
	port := parts.Port(t)
	g := &gateway{address: fmt.Sprintf("127.0.0.1:%d", port), stages: map[string]*stage{}, program: strings.TrimPrefix(parts.Upstream(t).URL, "http://")}
	proxied := fmt.Sprintf("%s:%d", limitedHost, port)
	g.config = strings.NewReplacer("ADDRESS", g.address, "PROXIED", proxied, "PROGRAM", g.program).Replace(gatewayFile(t, "limits.yaml"))
	each := gatewayFile(t, "limited.yaml")
	g.stages[itself.name] = &stage{front: itself, port: port}
	for _, f := range edges {
		s := &stage{front: f, mode: "forward_single", port: parts.Port(t), address: g.address, program: g.program}
		s.app = s.origin(limitedHost)
		g.stages[f.name] = s
		g.config += strings.NewReplacer("EDGE", f.name, "LIMITED", s.app, "EXPORT", s.origin(exportHost)).Replace(each)
	}
	g.akprox = parts.Akprox(t, g.config, port, "")
	t.Cleanup(func() { faultless(t, g.akprox) })
	for _, f := range edges {
		f.start(t, g.stages[f.name], snippets(t, f.snippet, g.config, []string{"limited-" + f.name, "export-" + f.name}))
	}
	return g
}

// limitsOf lets alice use up what she has, in two parts, four seconds apart:
// when she is admitted again, it is for the first part alone.
func limitsOf(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, limitedHost)
	alice, bob := bearer(testKey("alice")), bearer(testKey("bob"))
	c.want(http.StatusOK, "/x", alice)
	first := time.Now()
	if edge != itself.name { // which has one application only
		t.Run("rules", func(t *testing.T) { limitedRules(t, g, edge) })
	}
	time.Sleep(time.Until(first.Add(4 * time.Second)))
	c.want(http.StatusOK, "/x", with(program, "X-Api-Key", testKey("alice"))) // the same identity, another way
	if r := c.send(http.MethodPost, c.base+"/y", alice, []byte("x")); r.status != http.StatusOK {
		t.Errorf("POST: %d", r.status)
	}
	var after int
	for name, h := range map[string]http.Header{
		"alice": alice, "alice as bob": bearer(testKey("alice"), "X-User-Id", "bob", "X-Forwarded-For", "192.0.2.1", "X-Real-Ip", "192.0.2.1"),
		"alice by her key": with(program, "X-Api-Key", testKey("alice")), "a browser": with(navigation, "Authorization", "Bearer "+testKey("alice")),
	} {
		r := c.want(http.StatusTooManyRequests, "/x?"+strconv.Itoa(len(name)), h)
		got, err := strconv.Atoi(r.header.Get("Retry-After"))
		if after = got; err != nil || got < 1 || got > 6 {
			t.Errorf("%s: Retry-After %q, %v after the first of three", name, r.header["Retry-After"], time.Since(first))
		}
		if edge != nginx.name && (r.header.Get("RateLimit-Policy") != `"default";q=3;w=10` || !strings.HasPrefix(r.header.Get("RateLimit"), `"default";r=0;t=`)) {
			t.Errorf("%s: RateLimit-Policy %q, RateLimit %q", name, r.header["Ratelimit-Policy"], r.header["Ratelimit"])
		}
	}
	for range 3 {
		c.want(http.StatusOK, "/x", bob)
	}
	c.want(http.StatusTooManyRequests, "/x", bob)
	time.Sleep(time.Duration(after)*time.Second + 50*time.Millisecond)
	c.want(http.StatusOK, "/x", alice)
	c.want(http.StatusTooManyRequests, "/x", alice) // the two of the second part still count
}

func limitedRules(t *testing.T, g *gateway, edge string) {
	c := g.at(t, edge, exportHost)
	carol := bearer(testKey("carol"))
	for range 2 {
		c.want(http.StatusOK, "/export/all", carol)
		c.want(http.StatusOK, "/other/x", carol)
	}
	if r := c.want(http.StatusTooManyRequests, "/export/more", carol); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	c.want(http.StatusTooManyRequests, "/other", carol)
	c.want(http.StatusTooManyRequests, "//export/more", carol)
	for range 5 {
		c.want(http.StatusOK, "/elsewhere", carol)
	}
	c.want(http.StatusOK, "/export/all", bearer(testKey("bob")))
}

// limitedAddresses asks akprox as Traefik does for clients of many addresses.
func limitedAddresses(t *testing.T, g *gateway) {
	// Traefik's own application, at another path of the same limit, would
	// count with the test above: nginx's is asked as if Traefik served it.
	origin := g.stages[nginx.name].origin(limitedHost)
	c := client(t)
	ask := func(status int, path, from string, h http.Header) {
		t.Helper()
		r := asTraefik(t, c, g.address, origin+path, with(h, "X-Forwarded-For", from))
		if r.status != status {
			t.Errorf("%s from %s with %v: %d, not %d", path, from, h["Authorization"], r.status, status)
		}
		if after, _ := strconv.Atoi(r.header.Get("Retry-After")); status == http.StatusTooManyRequests && (after < 1 || after > 10) {
			t.Errorf("Retry-After %q", r.header["Retry-After"])
		}
	}
	const one = "198.51.100.1"
	ask(http.StatusUnauthorized, "/x", one, program)
	ask(http.StatusUnauthorized, "/x", one, bearer("no-such-key"))
	ask(http.StatusOK, "/health", one, program)
	for _, h := range []http.Header{program, bearer("no-such-key-either"), navigation} {
		ask(http.StatusTooManyRequests, "/x", one, h)
		ask(http.StatusTooManyRequests, "/health", one, h)
	}
	ask(http.StatusTooManyRequests, "/x", "::ffff:"+one, program)                     // the same address
	ask(http.StatusOK, "/x", one, bearer(testKey("carol")))                           // who is known is counted as such
	ask(http.StatusForbidden, "/staff/x", one, bearer(testKey("carol")))              // also when it is refused
	ask(http.StatusUnauthorized, "/x", "198.51.100.2", program)                       // another address
	ask(http.StatusTooManyRequests, "/x", "203.0.113.9, "+one, program)               // the last is the client
	ask(http.StatusUnauthorized, "/x", one+", 203.0.113.9", program)                  // and the first may be made up
	for i, from := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:3"} { // of one /64
		ask(http.StatusUnauthorized, "/x?"+strconv.Itoa(i), from, program)
	}
	ask(http.StatusTooManyRequests, "/x", "2001:db8::4", program)
	ask(http.StatusUnauthorized, "/x", "2001:db8:0:1::4", program)
}
