package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// knockerYAML is a knocker.yaml, as its users have one. ADDRESS is where it
// listened, PROXIES whom it believed.
const knockerYAML = `
server: { host: "127.0.0.1", port: PORT, trusted_proxies: ["127.0.0.1/32"] }
cors: { allowed_origin: "*" }
whitelist: { storage_path: "whitelist.json" }
security:
  always_allowed_ips: ["127.0.0.9"]
  excluded_paths: ["/public"]
api_keys:
  - { name: admin, key: "ADMIN-key-of-the-test", max_ttl: 3600, allow_remote_whitelist: true }
  - { name: phone, key: "PHONE-key-of-the-test", max_ttl: 3600, allow_remote_whitelist: false }
  - { name: guest, key: "GUEST-key-of-the-test", max_ttl: 600, allow_remote_whitelist: false }
`

// imported starts the outpost on the document that the import command makes of
// a knocker.yaml, and answers its port.
func imported(t *testing.T) (port int, program *parts.Process) {
	t.Helper()
	port = parts.Port(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "knocker.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(knockerYAML, "PORT", fmt.Sprint(port))), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(parts.AkproxPath(t), "import", "knocker", file)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	// The tests run beside others, which have a metrics listener too.
	document = strings.Replace(document, `metrics: "127.0.0.1:9300"`, `metrics: ""`, 1)
	return port, parts.Akprox(t, document, port, "")
}

// from is a client at a loopback address of its own, all of whose host names
// lead to 127.0.0.1.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func fetch(t *testing.T, c *http.Client, method, url, body string, lines ...string) (status int, text string, h http.Header) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data), resp.Header
}

// TestKnockerSeedCaddyfile is K9, K10 and K14: the seed's Caddyfile as it
// stands, its names and ports changed, before a document that was imported.
func TestKnockerSeedCaddyfile(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	for _, caddy := range []string{parts.CaddyNew, parts.CaddyDebian} {
		t.Run(caddy, func(t *testing.T) {
			port, program := imported(t)
			app := parts.Upstream(t)
			web := parts.Port(t)
			parts.Caddy(t, caddy, web, fmt.Sprintf(`
# Define a reusable snippet for the knock-knock check.
# It points to the knocker service using Docker's internal DNS.
(knocker_auth) {
	forward_auth 127.0.0.1:%d {
		uri /verify
		copy_headers X-Forwarded-For
	}
}

# The public endpoint for performing the knock.
# Make sure this domain points to your Caddy server's IP.
http://knock.example.test:%d {
	reverse_proxy 127.0.0.1:%d
}

# An example protected service.
http://jellyfin.example.test:%d {
	import knocker_auth # Apply the forward_auth check
	reverse_proxy %s
}
`, port, web, port, web, strings.TrimPrefix(app.URL, "http://")))
			jellyfin := fmt.Sprintf("http://jellyfin.example.test:%d/library?x=1", web)
			knock := fmt.Sprintf("http://knock.example.test:%d/knock", web)
			phone, stranger := from(t, "127.0.0.2"), from(t, "127.0.0.3")

			if status, body, _ := fetch(t, phone, "GET", jellyfin, ""); status != 401 || body != "" {
				t.Errorf("before the knock: %d %q", status, body)
			}
			if status, body, _ := fetch(t, phone, "GET", knock, "", "X-Api-Key: wrong"); status != 401 || body != `{"error":"Invalid or missing API key."}` {
				t.Errorf("a wrong key: %d %s", status, body)
			}
			// The seed's own curl line is a GET.
			status, body, _ := fetch(t, phone, "GET", knock, "", "X-Api-Key: PHONE-key-of-the-test")
			var lease struct {
				Entry   string `json:"whitelisted_entry"`
				Expires int64  `json:"expires_at"`
				Seconds int    `json:"expires_in_seconds"`
			}
			if err := json.Unmarshal([]byte(body), &lease); err != nil || status != 200 || lease.Entry != "127.0.0.2" || lease.Seconds != 3600 {
				t.Errorf("the knock: %d %s, %v", status, body, err)
			}
			status, body, _ = fetch(t, phone, "GET", jellyfin, "", "X-Forwarded-For: 10.0.0.1")
			if status != 200 || !strings.Contains(body, "127.0.0.2") {
				t.Errorf("after the knock: %d %s", status, body)
			}
			if status, _, _ := fetch(t, stranger, "GET", jellyfin, "", "X-Forwarded-For: 127.0.0.2"); status != 401 {
				t.Errorf("K8: somebody who claims that address: %d", status)
			}
			if status, _, _ := fetch(t, from(t, "127.0.0.9"), "GET", jellyfin, ""); status != 200 {
				t.Errorf("K5: an address that is always allowed: %d", status)
			}
			if status, _, _ := fetch(t, stranger, "GET", strings.Replace(jellyfin, "/library?x=1", "/public/x", 1), ""); status != 200 {
				t.Errorf("K6: an excluded path: %d", status)
			}
			if status, _, _ := fetch(t, stranger, "GET", strings.Replace(jellyfin, "/library?x=1", "/publicx", 1), ""); status != 401 {
				t.Errorf("K6: a longer word: %d", status)
			}
			program.Kill()
			program.Restart()
			if status, _, _ := fetch(t, phone, "GET", jellyfin, ""); status != 200 {
				t.Errorf("K12: after kill -9: %d", status)
			}
		})
	}
}

// TestK15KnockerLiveChecks: K15, the ten checks of Knocker's own live integration
// test, through Caddy, in their order; the client tells its address itself, as
// it does there.
func TestK15KnockerLiveChecks(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, _ := imported(t)
	app := parts.Upstream(t)
	web := parts.Port(t)
	parts.Caddy(t, parts.CaddyNew, web, fmt.Sprintf(`
http://:%[1]d {
	handle /knock {
		reverse_proxy 127.0.0.1:%[2]d {
			trusted_proxies 127.0.0.0/8
		}
	}
	handle {
		forward_auth 127.0.0.1:%[2]d {
			uri /verify
			trusted_proxies 127.0.0.0/8
			copy_headers X-Forwarded-For
		}
		reverse_proxy %[3]s
	}
}
`, web, port, strings.TrimPrefix(app.URL, "http://")))
	base := fmt.Sprintf("http://localhost:%d", web)
	c := from(t, "127.0.0.1") // a proxy that is trusted, as in that test
	private := func(client string, want int) {
		t.Helper()
		if status, _, _ := fetch(t, c, "GET", base+"/private", "", "X-Forwarded-For: "+client); status != want {
			t.Errorf("/private from %s: %d, want %d", client, status, want)
		}
	}
	knock := func(name, client, key, body, want string) {
		t.Helper()
		_, got, _ := fetch(t, c, "POST", base+"/knock", body, "X-Forwarded-For: "+client, "X-Api-Key: "+key)
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	private("1.1.1.1", 401)
	if status, _, _ := fetch(t, c, "GET", base+"/public", "", "X-Forwarded-For: 1.1.1.1"); status != 200 {
		t.Errorf("/public: %d", status)
	}
	knock("3: its own address", "1.1.1.1", "ADMIN-key-of-the-test", "", `"whitelisted_entry":"1.1.1.1"`)
	private("1.1.1.1", 200)
	knock("5: another address", "1.1.1.1", "ADMIN-key-of-the-test", `{"ip_address":"8.8.8.8"}`, `"whitelisted_entry":"8.8.8.8"`)
	private("8.8.8.8", 200)
	knock("6: without permission", "2.2.2.2", "PHONE-key-of-the-test", `{"ip_address":"9.9.9.9"}`, "API key lacks remote whitelist permission")
	knock("7: a wrong key", "2.2.2.2", "INVALID_KEY", "", "Invalid or missing API key")
	knock("8: a shorter time", "3.3.3.3", "ADMIN-key-of-the-test", `{"ttl":120}`, `"expires_in_seconds":120`)
	knock("9: longer than the key's", "4.4.4.4", "GUEST-key-of-the-test", `{"ttl":9999}`, `"expires_in_seconds":600`)
	knock("10: no time", "4.4.4.4", "GUEST-key-of-the-test", `{"ttl":-50}`, "Invalid TTL specified")
}

// TestKnockThenSignIn is a gate before a sign-in: a lease first, then the
// issuer, through the same Caddy.
func TestKnockThenSignIn(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, web, metrics := parts.Port(t), parts.Port(t), parts.Port(t)
	origin := fmt.Sprintf("http://wiki.example.test:%d", web)
	issuer := parts.OIDCProvider(t, parts.IssuerConfig{RedirectURIs: []string{origin + "/akprox/callback"}})
	app := parts.Upstream(t)
	config := fmt.Sprintf(`version: 1
server: { http: "127.0.0.1:%d", metrics: "127.0.0.1:%d", trusted_proxies: ["127.0.0.1/32"] }
providers:
  - { name: company, kind: oidc, issuer: %q, client_id: %s, client_secret: { value: %q } }
  - { name: door, kind: knock, keys: [ { name: phone, key: { value: PHONE-key-of-the-test }, ttl: 60 } ] }
applications:
  - name: wiki
    mode: forward_single
    external_url: %s
    gate: [door]
    credentials: [company]
`, port, metrics, issuer.URL, issuer.ClientID, issuer.ClientSecret, origin)
	parts.Akprox(t, config, port, fmt.Sprintf("http://127.0.0.1:%d/readyz", metrics))
	parts.Caddy(t, parts.CaddyNew, web, fmt.Sprintf(`
http://wiki.example.test:%[1]d {
	handle /akprox/* {
		reverse_proxy 127.0.0.1:%[2]d
	}
	handle {
		forward_auth 127.0.0.1:%[2]d {
			uri /akprox/auth/caddy
			copy_headers X-Auth-Username
		}
		reverse_proxy %[3]s
	}
}
`, web, port, strings.TrimPrefix(app.URL, "http://")))
	visitor := from(t, "127.0.0.2")
	visitor.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if status, _, h := fetch(t, visitor, "GET", origin+"/", "", "Accept: text/html"); status != 401 || h.Get("Location") != "" {
		t.Errorf("before the knock: %d %s", status, h.Get("Location"))
	}
	if status, body, _ := fetch(t, visitor, "GET", origin+"/akprox/knock", "", "X-Api-Key: PHONE-key-of-the-test"); status != 200 {
		t.Errorf("the knock: %d %s", status, body)
	}
	if status, _, h := fetch(t, visitor, "GET", origin+"/", "", "Accept: text/html"); status != 302 || !strings.Contains(h.Get("Location"), "/akprox/start?rd=") {
		t.Errorf("after the knock: %d %s", status, h.Get("Location"))
	}
	if status, _, _ := fetch(t, from(t, "127.0.0.3"), "GET", origin+"/", "", "Accept: text/html"); status != 401 {
		t.Errorf("another address: %d", status)
	}
}
