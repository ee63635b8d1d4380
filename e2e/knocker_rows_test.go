package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// knocks asks the running program itself, as its trusted proxy does.
type knocks struct {
	t    *testing.T
	base string
	c    *http.Client
}

func (k knocks) knock(client, key, body string) (int, string) {
	k.t.Helper()
	status, text, _ := fetch(k.t, k.c, "POST", k.base+"/knock", body, "X-Forwarded-For: "+client, "X-Api-Key: "+key)
	return status, text
}

func (k knocks) verify(client string, lines ...string) int {
	k.t.Helper()
	status, body, _ := fetch(k.t, k.c, "GET", k.base+"/verify", "", append([]string{"X-Forwarded-For: " + client}, lines...)...)
	if body != "" {
		k.t.Errorf("K9: /verify answers a body: %q", body)
	}
	return status
}

func (k knocks) wantVerify(row, client string, want int, lines ...string) {
	k.t.Helper()
	if got := k.verify(client, lines...); got != want {
		k.t.Errorf("%s: /verify for %s: %d, want %d", row, client, got, want)
	}
}

func (k knocks) wantKnock(row, client, key, body string, want int, says string) {
	k.t.Helper()
	if status, text := k.knock(client, key, body); status != want || !strings.Contains(text, says) {
		k.t.Errorf("%s: %d %s, want %d %s", row, status, text, want, says)
	}
}

// TestKnockerRows are K1 to K8, K12 and K13 against the running program; K9,
// K10, K14 and the live checks are in knocker_test.go, K11 is in
// TestKnockerPage.
func TestKnockerRows(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port, program := imported(t)
	k := knocks{t, fmt.Sprintf("http://127.0.0.1:%d", port), from(t, "127.0.0.1")} // K13: the port that knocker.yaml names
	const admin, phone, guest = "ADMIN-key-of-the-test", "PHONE-key-of-the-test", "GUEST-key-of-the-test"

	k.wantKnock("K1: no key", "1.2.3.1", "", "", 401, `{"error":"Invalid or missing API key."}`)
	k.wantKnock("K1: a wrong key", "1.2.3.1", "nope", "", 401, `{"error":"Invalid or missing API key."}`)
	k.wantKnock("K1: another of the keys", "1.2.3.1", phone, "", 200, `"whitelisted_entry":"1.2.3.1"`)
	k.wantKnock("K2: the key's time", "1.2.3.2", guest, "", 200, `"expires_in_seconds":600}`)
	k.wantKnock("K2: a shorter time", "1.2.3.3", guest, `{"ttl":5}`, 200, `"expires_in_seconds":5}`)
	k.wantVerify("K2: in time", "1.2.3.3", 200)
	k.wantKnock("K3: a range", "1.2.3.4", admin, `{"ip_address":"2001:db8::/120"}`, 200, `"whitelisted_entry":"2001:db8::/120"`)
	k.wantVerify("K3: within it", "2001:db8::42", 200)
	k.wantVerify("K3: outside of it", "2001:db8::1:42", 401)
	k.wantKnock("K3: without permission", "1.2.3.4", phone, `{"ip_address":"8.8.8.8"}`, 403, "API key lacks remote whitelist permission.")
	k.wantKnock("K3: all of IPv4", "1.2.3.4", admin, `{"ip_address":"0.0.0.0/0"}`, 400, "too broad")
	k.wantKnock("K3: all of IPv4, mapped", "1.2.3.4", admin, `{"ip_address":"::ffff:0:0/96"}`, 400, "error")
	k.wantKnock("K3: the proxy's own address", "1.2.3.4", admin, `{"ip_address":"127.0.0.1"}`, 400, "error")
	if status, _, _ := fetch(t, k.c, "GET", k.base+"/knock", "", "X-Forwarded-For: 1.2.3.5", "X-Api-Key: "+phone); status != 200 {
		t.Errorf("K4: by GET: %d", status)
	}
	k.wantVerify("K4: its own address", "1.2.3.5", 200)
	k.wantVerify("K5: always allowed", "127.0.0.9", 200)
	for uri, want := range map[string]int{
		"/public": 200, "/public/x": 200, "/public?x=1": 200, "/publicx": 401, "/Public": 401, "/private/../public": 401,
		"/private/..%2fpublic": 401, "/public/..;/private": 401, "/public/%00": 401, "//x/public?x=://": 401,
	} {
		k.wantVerify("K6: "+uri, "9.9.9.9", want, "X-Forwarded-Uri: "+uri)
	}
	k.wantKnock("K7: IPv6", "2001:DB8:1::1", phone, "", 200, "2001:db8:1::1")
	k.wantVerify("K7: written in another way", "2001:db8:1:0::1", 200)
	k.wantVerify("K7: mapped IPv4 is IPv4", "::ffff:1.2.3.1", 200)
	stranger := knocks{t, k.base, from(t, "127.0.0.2")}
	stranger.wantVerify("K8: a stranger's claim", "127.0.0.9", 401)
	stranger.wantKnock("K8: a stranger's knock is for itself", "5.6.7.8", phone, "", 200, `"whitelisted_entry":"127.0.0.2"`)
	program.Kill()
	program.Restart()
	k.wantVerify("K12: kept over kill -9", "1.2.3.2", 200)
	deadline := time.Now().Add(30 * time.Second)
	for k.verify("1.2.3.3") != 401 {
		if time.Now().After(deadline) {
			t.Fatal("K2: the lease does not end")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestKnockerPage is K11: a page for a browser that is refused, by choice.
func TestKnockerPage(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	port := parts.Port(t)
	parts.Akprox(t, fmt.Sprintf(`version: 1
server: { http: "127.0.0.1:%d", metrics: "", compat: [knocker] }
store: { kind: memory }
providers:
  - { name: door, kind: knock, page: true, keys: [ { name: phone, key: { value: PHONE-key-of-the-test }, ttl: 60 } ] }
`, port), port, "")
	c := from(t, "127.0.0.2")
	verify := fmt.Sprintf("http://127.0.0.1:%d/verify", port)
	if status, body, _ := fetch(t, c, "GET", verify, "", "Accept: text/html"); status != 401 || !strings.Contains(body, "not admitted") {
		t.Errorf("K11: a browser: %d %s", status, body)
	}
	if status, body, _ := fetch(t, c, "GET", verify, "", "Accept: */*"); status != 401 || body != "" {
		t.Errorf("K11: a program: %d %s", status, body)
	}
}

// TestKnockerLeasesComeAlong is the import's --leases.
func TestKnockerLeasesComeAlong(t *testing.T) {
	t.Parallel()
	parts.Need(t)
	dir, port := t.TempDir(), parts.Port(t)
	for name, text := range map[string]string{
		"knocker.yaml":   strings.ReplaceAll(knockerYAML, "PORT", fmt.Sprint(port)),
		"whitelist.json": fmt.Sprintf(`{"1.2.3.4": %d, "10.1.0.0/16": %d, "5.6.7.8": 1}`, time.Now().Unix()+600, time.Now().Unix()+600),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := exec.Command(parts.AkproxPath(t), "import", "knocker", filepath.Join(dir, "knocker.yaml"), "--leases", filepath.Join(dir, "whitelist.json")).Output()
	if err != nil {
		t.Fatal(err)
	}
	parts.Akprox(t, strings.Replace(string(text), `metrics: "127.0.0.1:9300"`, `metrics: ""`, 1), port, "")
	k := knocks{t, fmt.Sprintf("http://127.0.0.1:%d", port), from(t, "127.0.0.1")}
	k.wantVerify("a lease of before", "1.2.3.4", 200)
	k.wantVerify("a range of before", "10.1.2.3", 200)
	k.wantVerify("a lease that had ended", "5.6.7.8", 401)
}
