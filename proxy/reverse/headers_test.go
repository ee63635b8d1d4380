package reverse_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/reverse"
)

func Test_path_and_query_arrive_byte_for_byte(t *testing.T) {
	var got seen
	s := through(t, reverse.Options{}, recorder(&got))
	for _, uri := range []string{
		"/", "/a%2Fb//c;x?y=1;2", "/a%2fb", "//double//slash?a=b", "/?", "/a?", "/a?b?c", "/a?%zz=%", "/a;b=1/../c",
		"/./x", "/a/../b", "/a|b^c`d\"e<f>g{h}", "/sp%20ace+plus", "/%E2%82%AC", "/€", "/a%5Cb", "/@x:y!$&'()*,=~", "/%61%2F|x",
		"/long?" + strings.Repeat("a=%2F;&", 500),
	} {
		raw(t, s, "GET "+uri+" HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
		if got.URI != uri {
			t.Errorf("%q arrived as %q", uri, got.URI)
		}
	}
}

func Test_path_of_the_upstream_is_put_in_front_and_cannot_be_left(t *testing.T) {
	var got seen
	up := serve(t, recorder(&got))
	for base, want := range map[string]string{"": "/a%2Fb", "/": "/a%2Fb", "/base": "/base/a%2Fb", "/b%20c/": "/b%20c/a%2Fb"} {
		s := serve(t, front(reverse.New(reverse.Options{}), application(t, up.URL+base), everybodyIsJohn))
		raw(t, s, "GET /a%2Fb HTTP/1.1\r\nHost: app.example.com\r\n\r\n")
		if got.URI != want {
			t.Errorf("upstream %q: %q arrived, want %q", base, got.URI, want)
		}
	}
	s := serve(t, front(reverse.New(reverse.Options{}), application(t, up.URL+"/base"), everybodyIsJohn))
	for _, uri := range []string{"/../admin", "/x/../../admin", "/%2e%2e/admin", "/..;/admin", `/..\admin`, "/x/..%2f..%2fadmin"} {
		got = seen{}
		if res := raw(t, s, "GET "+uri+" HTTP/1.1\r\nHost: app.example.com\r\n\r\n"); res.StatusCode != http.StatusBadGateway || got.URI != "" {
			t.Errorf("%s: %d, arrived as %q", uri, res.StatusCode, got.URI)
		}
	}
}

func Test_upstream_learns_client_host_and_scheme_from_us_alone(t *testing.T) {
	var got seen
	s := through(t, reverse.Options{}, recorder(&got))
	raw(t, s, "GET / HTTP/1.1\r\nHost: APP.example.com:443\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\n"+
		"X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /p\r\nX-Forwarded-Uri: /u\r\nX-Forwarded-Method: POST\r\n"+
		"X_Forwarded_For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX.Real.IP: 6.6.6.6\r\nX-Original-URL: /o\r\n"+
		"X-Original-Method: PUT\r\nX-Rewrite-URL: /r\r\nProxy: http://evil\r\nX-Other: stays\r\n\r\n")
	want := http.Header{
		"X-Forwarded-For": {"192.0.2.7"}, "X-Real-Ip": {"192.0.2.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"app.example.com"},
		"X-Other": {"stays"}, "X-Auth-Username": {"john"}, "X-Auth-Groups": {"admin"}, "X-Forwarded-Email": {"john@example.com"},
		"X-Forwarded-Preferred-Username": {"john"}, "X-Forwarded-User": {"7"}, "X-Dept": {""},
	}
	if fmt.Sprint(got.Header) != fmt.Sprint(want) || got.Host != "app.example.com" {
		t.Errorf("got host %q and %v\nwant %v", got.Host, got.Header, want)
	}
}

func Test_no_spelling_of_an_identity_header_survives(t *testing.T) {
	var got seen
	s := through(t, reverse.Options{}, recorder(&got))
	for _, name := range []string{
		"X-Auth-Username", "x-auth-username", "X_Auth_Username", "X-Auth_Username", "X-AUTH_username", "X.Auth.Username", "x_auth.username",
		"X+Auth+Username", "x~auth`username", "X_Dept", "x.dept", "X-Authentik-Username", "X_authentik_username", "X-Authentik-Jwt",
		"X_Authentik_Anything", "Remote-User", "REMOTE_USER", "remote.groups", "X-User", "X_User", "X-User-Id", "x_user_scope",
		"X-Forwarded-User", "X_Forwarded_Access_Token",
	} {
		for _, connection := range []string{"close", "close, " + name, "X-Auth-Username, X-Forwarded-For, X-Dept, close"} {
			res := raw(t, s, "GET / HTTP/1.1\r\nHost: app.example.com\r\nConnection: "+connection+"\r\n"+name+": forged\r\n"+name+": forged\r\n\r\n")
			if res.StatusCode != http.StatusNoContent {
				t.Fatalf("%s: %d", name, res.StatusCode)
			}
			for k, v := range got.Header {
				if strings.Contains(fmt.Sprint(v), "forged") {
					t.Errorf("%s arrived as %s: %q", name, k, v)
				}
			}
			if v := got.Header["X-Auth-Username"]; len(v) != 1 || v[0] != "john" {
				t.Errorf("Connection: %s: the upstream sees the user %q", connection, v)
			}
			if _, ok := got.Header["X-Dept"]; !ok || got.Header.Get("X-Forwarded-For") != "192.0.2.7" {
				t.Errorf("Connection: %s: headers of ours are gone: %v", connection, got.Header)
			}
		}
	}
}

func Test_our_cookies_and_authorization_stay_with_us(t *testing.T) {
	var got seen
	upstream := serve(t, recorder(&got))
	app := application(t, upstream.URL)
	app.Consumed = []string{"Authorization", "X-Api-Key"}
	s := serve(t, front(reverse.New(reverse.Options{}), app, everybodyIsJohn))
	for sent, want := range map[string]string{
		"a=1": "a=1", "a=1;  b=\"x y\" ;c": "a=1;  b=\"x y\" ;c", session + "=s": "", session + "=s; a=1": "a=1", "a=1; " + session + "=s": "a=1",
		"a=1; akprox_flow=f; b=2; akprox_zz": "a=1; b=2", "xakprox_a=1": "xakprox_a=1", " akprox_a = 1;b": "b",
	} {
		raw(t, s, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\nX-Api-Key: k\r\nCookie: "+sent+"\r\n\r\n")
		if got.Header.Get("Cookie") != want {
			t.Errorf("Cookie: %s arrived as %q, want %q", sent, got.Header["Cookie"], want)
		}
		if got.Header["Authorization"] != nil || got.Header["X-Api-Key"] != nil {
			t.Error("a credential of ours arrived")
		}
	}
	s = serve(t, front(reverse.New(reverse.Options{}), application(t, upstream.URL), everybodyIsJohn))
	if raw(t, s, "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n\r\n"); got.Header.Get("Authorization") != "Bearer t" {
		t.Error("Authorization did not arrive where the application asks for it")
	}
}

func Test_upstream_cannot_set_a_cookie_of_ours(t *testing.T) {
	s := through(t, reverse.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		for _, c := range []string{"a=1; Path=/", session + "=forged", " akprox_x=1", "=akprox_x=1", "akprox_x", "b=akprox_x"} {
			w.Header().Add("Set-Cookie", c)
		}
	})
	res, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := strings.Join(res.Header["Set-Cookie"], "|"); got != "a=1; Path=/|b=akprox_x" {
		t.Errorf("the browser got %q", got)
	}
}

func Test_headers_set_before_go_out_with_the_final_answer_only(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusOK)
	})
	app, f := application(t, up.URL), reverse.New(reverse.Options{})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", session+"=renewed")
		front(f, app, everybodyIsJohn)(w, r)
	})
	first := raw(t, s, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if first.StatusCode != http.StatusEarlyHints || first.Header["Set-Cookie"] != nil {
		t.Errorf("interim answer: %d %v", first.StatusCode, first.Header)
	}
	res, err := http.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got := res.Header.Get("Set-Cookie"); got != session+"=renewed" {
		t.Errorf("the renewed cookie is %q", got)
	}
}

func Test_fifty_users_at_once_never_see_each_other(t *testing.T) {
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%v%v%s%v", r.Header["X-Auth-Username"], r.Header["X-Auth-Groups"], r.URL.RawQuery, r.Header["Cookie"])
	})
	s := serve(t, front(reverse.New(reverse.Options{}), application(t, up.URL), func(r *http.Request) *outpost.Identity {
		if r.URL.RawQuery == "0" {
			return nil
		}
		return &outpost.Identity{Username: "user" + r.URL.RawQuery, Groups: []string{"g" + r.URL.RawQuery}}
	}))
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			want := fmt.Sprintf("[user%d][g%d]%d[c=%d]", n, n, n, n)
			if n == 0 {
				want = "[][]0[c=0]"
			}
			for range 20 {
				req, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("%s/?%d", s.URL, n), strings.NewReader("body"))
				req.Header.Set("Cookie", fmt.Sprintf("c=%d; %s=s%d", n, session, n))
				if got := text(t, s.Client(), req); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			}
		})
	}
	wg.Wait()
}

func Test_odd_bytes_after_a_double_slash_are_escaped_and_nothing_more(t *testing.T) {
	var got seen
	s := through(t, reverse.Options{}, recorder(&got))
	if raw(t, s, "GET //a|b/c HTTP/1.1\r\nHost: a\r\n\r\n"); got.URI != "//a%7Cb/c" {
		t.Errorf("arrived as %q", got.URI)
	}
}

// What was judged as GET is forwarded as GET, however the client wrote it: a
// program may take "get" for another method.
func Test_a_method_in_lower_case_arrives_as_it_was_judged(t *testing.T) {
	var got seen
	s := through(t, reverse.Options{}, recorder(&got))
	for sent, want := range map[string]string{"get": "GET", "Post": "POST", "dElEtE": "DELETE", "purge": "PURGE"} {
		if a := raw(t, s, sent+" /x HTTP/1.1\r\nHost: app.example.com\r\nContent-Length: 0\r\n\r\n"); a.StatusCode != http.StatusNoContent || got.Method != want {
			t.Errorf("%s: %d, arrived as %s", sent, a.StatusCode, got.Method)
		}
	}
}
