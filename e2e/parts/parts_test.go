package parts_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/coder/websocket"

	"github.com/akprox/akprox/e2e/parts"
)

// get asks for a URL and decodes what Upstream said.
func get(t *testing.T, url string) parts.Echoed {
	t.Helper()
	resp, err := parts.Client(t).Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s", url, resp.Status)
	}
	var e parts.Echoed
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestProxies(t *testing.T) {
	parts.Need(t)
	upstream := parts.Upstream(t)
	address := strings.TrimPrefix(upstream.URL, "http://")
	site := func(port int) string { return fmt.Sprintf("http://app.example.test:%d", port) }
	for name, start := range map[string]func(t *testing.T, port int) *parts.Process{
		"nginx": func(t *testing.T, port int) *parts.Process {
			return parts.Nginx(t, port, fmt.Sprintf(`
server {
	listen 127.0.0.1:%d;
	location / {
		set_escape_uri $rd $request_uri;
		proxy_set_header Host $http_host;
		proxy_set_header X-Rd $rd;
		proxy_pass %s;
	}
}`, port, upstream.URL), parts.SetMisc)
		},
		"caddy": func(t *testing.T, port int) *parts.Process {
			return parts.Caddy(t, parts.CaddyNew, port, site(port)+" {\n\treverse_proxy "+address+"\n}\n")
		},
		"caddy-2.10": func(t *testing.T, port int) *parts.Process {
			return parts.Caddy(t, parts.CaddyKeeps, port, site(port)+" {\n\treverse_proxy "+address+"\n}\n")
		},
		"caddy-debian": func(t *testing.T, port int) *parts.Process {
			return parts.Caddy(t, parts.CaddyDebian, port, site(port)+" {\n\treverse_proxy "+address+"\n}\n")
		},
		"traefik": func(t *testing.T, port int) *parts.Process {
			return parts.Traefik(t, port, fmt.Sprintf(`
http:
  routers:
    app: { rule: "Host(%s)", entryPoints: [web], service: app }
  services:
    app: { loadBalancer: { servers: [ { url: %q } ] } }
`, "`app.example.test`", upstream.URL), site(port)+"/")
		},
		"haproxy": func(t *testing.T, port int) *parts.Process {
			return parts.HAProxy(t, port, fmt.Sprintf(`
global
    lua-load hello.lua
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend fe
    bind 127.0.0.1:%d
    http-request lua.hello
    default_backend up
backend up
    server s1 %s
`, port, address), map[string]string{
				"hello.lua": `core.register_action("hello", {"http-req"}, function(txn) txn.http:req_set_header("x-lua", "hello") end, 0)`,
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			port := parts.Port(t)
			p := start(t, port)
			e := get(t, site(port)+"/a?b=c&d=e")
			if e.Path != "/a" || e.Query != "b=c&d=e" || e.Host != fmt.Sprintf("app.example.test:%d", port) {
				t.Errorf("upstream got %+v", e)
			}
			switch name {
			case "nginx":
				if got := e.Header.Get("X-Rd"); got != "%2Fa%3Fb%3Dc%26d%3De" {
					t.Errorf("set_escape_uri gave %q", got)
				}
			case "haproxy":
				if e.Header.Get("X-Lua") != "hello" {
					t.Error("the Lua action did not run")
				}
			}
			p.Kill()
			if conn, err := net.Dial("tcp", p.Addr()); err == nil {
				_ = conn.Close()
				t.Error("still listens after Kill")
			}
			p.Restart()
			get(t, site(port)+"/again")
		})
	}
}

func TestUpstream(t *testing.T) {
	upstream := parts.Upstream(t)
	e := get(t, upstream.URL+"/x//y%2Fz?q=1")
	if e.RequestURI != "/x//y%2Fz?q=1" {
		t.Errorf("request target %q", e.RequestURI)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, upstream.URL+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	defer func() { _ = conn.CloseNow() }()
	if err := conn.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, got, err := conn.Read(ctx); err != nil || string(got) != "hello" {
		t.Errorf("echo %q, %v", got, err)
	}
	// What is held back is late each time, what a busy machine delays is not.
	for try := 1; ; try++ {
		took := firstEvent(t, upstream.URL+"/sse")
		if took <= 900*time.Millisecond {
			break
		}
		if try == 5 {
			t.Fatalf("the first event took %v, as if held back", took)
		}
	}
}

func firstEvent(t *testing.T, url string) time.Duration {
	t.Helper()
	began := time.Now()
	resp, err := http.Get(url) // #nosec G107 -- our own
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	first := make([]byte, len("data: event 0\n\n"))
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "data: event 0\n\n" {
		t.Fatalf("first event %q, %v", first, err)
	}
	return time.Since(began)
}

func TestRedis(t *testing.T) {
	p := parts.Redis(t)
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("+PONG\r\n"))
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "+PONG\r\n" {
		t.Errorf("PING: %q, %v", answer, err)
	}
}

func TestBrowser(t *testing.T) {
	port := parts.Port(t)
	parts.Nginx(t, port, fmt.Sprintf(`
server {
	listen 127.0.0.1:%d;
	default_type text/html;
	location / {
		return 200 '<!DOCTYPE html><style>
			h1 { font-family: sans-serif }
			@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } }
			</style><h1>$host</h1>';
	}
}`, port))
	ctx, _ := parts.Browser(t)
	for _, scheme := range []string{"light", "dark"} {
		if err := chromedp.Do(ctx,
			parts.ColorScheme(scheme),
			chromedp.EmulateViewport(360, 240),
			chromedp.Navigate(fmt.Sprintf("http://app.example.test:%d/", port)),
		); err != nil {
			t.Fatal(err)
		}
		got, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("h1")))
		if err != nil || got != "app.example.test" {
			t.Errorf("heading %q, %v", got, err)
		}
		info, err := os.Stat(parts.Screenshot(t, ctx, "parts-"+scheme))
		if err != nil || info.Size() < 500 {
			t.Errorf("screenshot: %v, %v", info, err)
		}
	}
}
