package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// TestRequestsOfOneConnection: what was found out about one request says
// nothing of the next one on the same connection, sent behind the answer or at
// once with the first.
func TestRequestsOfOneConnection(t *testing.T) {
	t.Parallel()
	everyFront(t, func(t *testing.T, s *stage) {
		cookies := map[string]string{"": ""}
		for _, name := range []string{"alice", "bob"} {
			p := s.person(t)
			p.arrive(s.app+"/", name)
			cookies[name] = p.cookies(s.app)[0].Name + "=" + p.cookies(s.app)[0].Value
		}
		asked := []struct{ who, uri string }{
			{"alice", "/admin/x"}, {"", "/admin/x"}, {"", "/public/x"}, {"", "/page"}, {"bob", "/page"}, {"bob", "/admin/x"}, {"alice", "/page"}, {"", "/page"}, {"bob", "/public/x"},
		}
		request := func(n int) string {
			line := ""
			if c := cookies[asked[n].who]; c != "" {
				line = "Cookie: " + c + "\r\n"
			}
			return fmt.Sprintf("GET %s?n=%d HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n", asked[n].uri, n, appHost, s.port, line)
		}
		for _, atOnce := range []bool{false, true} {
			conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port(s), 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			in, all := bufio.NewReader(conn), ""
			for n := range asked {
				all += request(n)
			}
			if atOnce {
				_, _ = io.WriteString(conn, all)
			}
			for n, a := range asked {
				if !atOnce {
					_, _ = io.WriteString(conn, request(n))
				}
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatalf("at once %v, request %d: %v", atOnce, n, err)
				}
				text, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				var e parts.Echoed
				arrived := resp.StatusCode == http.StatusOK && json.Unmarshal(text, &e) == nil
				may := a.uri == "/public/x" || a.who == "alice" || a.who == "bob" && a.uri == "/page"
				if arrived != may || arrived && (e.Header.Get("X-Auth-Username") != a.who || !strings.HasSuffix(e.RequestURI, fmt.Sprint("?n=", n))) {
					t.Errorf("at once %v, request %d of %q for %s: %d, the program was told %q and asked for %s", atOnce, n, a.who, a.uri, resp.StatusCode, e.Header["X-Auth-Username"], e.RequestURI)
				}
			}
		}
	})
}

// TestLinesSentTwice: hosts, cookies and credentials on several lines, or
// several in one, let nobody through, and nobody as somebody else.
func TestLinesSentTwice(t *testing.T) {
	t.Parallel()
	everyFront(t, func(t *testing.T, s *stage) {
		cookies := map[string]string{}
		for _, name := range []string{"alice", "bob"} {
			p := s.person(t)
			p.arrive(s.app+"/", name)
			cookies[name] = p.cookies(s.app)[0].Name + "=" + p.cookies(s.app)[0].Value
		}
		name, _, _ := strings.Cut(cookies["bob"], "=")
		host := fmt.Sprintf("%s:%d", appHost, s.port)
		long := strings.Repeat("x", 7000)
		for _, row := range []struct {
			host  string
			lines []string
			who   string // who may be told at most
		}{
			{"evil.test, " + host, nil, ""},
			{host + ", evil.test", nil, ""},
			{host + "\r\nHost: evil.test", nil, ""},
			{host + "\r\nHost: " + host, nil, ""},
			{host, []string{"Cookie: a=b", "Cookie: " + cookies["bob"]}, "bob"},
			{host, []string{"Cookie: " + name + "=made-up", "Cookie: " + cookies["bob"]}, "bob"},
			{host, []string{"Cookie: " + name + "=" + cookies["alice"]}, ""},
			{host, []string{"Cookie: x=" + long + "; " + cookies["bob"]}, "bob"},
			{host, []string{"Cookie: " + cookies["bob"] + "\t"}, "bob"},
			{host, []string{"Cookie : " + cookies["bob"]}, ""},
			{host, []string{" Cookie: " + cookies["bob"]}, "bob"},
			{host, []string{"Authorization: Basic YWxpY2U6YWxpY2U=", "Authorization: Bearer x"}, ""},
			{host, []string{"X-Auth-Username: root", "X-AUTH-USERNAME: root", "x-auth-username: root"}, ""},
			{host, []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 10.0.0.1"}, ""},
			{host, []string{"X-Forwarded-Host: " + host, "X-Forwarded-Host: " + host}, ""},
			{host, []string{"X-Long: " + long, "Accept: " + long}, ""},
		} {
			for _, uri := range []string{"/page", "/public/x", "/admin/x"} {
				e, status := s.hostile(t, "GET", uri, row.host, "", row.lines)
				if e == nil {
					if status >= 200 && status < 300 && !strings.Contains(row.host, "evil") {
						t.Errorf("%s at %q with %.80q: %d, and not of the program", uri, row.host, row.lines, status)
					}
					continue
				}
				told := e.Header.Get("X-Auth-Username")
				if told != "" && told != row.who || told == "" && uri != "/public/x" || uri == "/admin/x" {
					t.Errorf("%s at %q with %.80q: the program was asked, and told %q", uri, row.host, row.lines, told)
				}
			}
		}
	})
}
