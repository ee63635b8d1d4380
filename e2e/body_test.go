package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
)

// TestBodyAnnounced: an nginx that nobody told to leave the body away announces
// it in its question and does not send it, over a connection that it keeps. A
// plain Go server would wait for that body for ever, or take the next question
// for it.
func TestBodyAnnounced(t *testing.T) {
	t.Parallel()
	s := newStage(t, front{name: "careless nginx", start: carelessNginx, pathless: true}, "forward_single", "oidc-provider")
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	stranger := s.person(t)
	stranger.patient(s.app+"/", program) // until the issuer is known to be well
	for round := range 10 {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodGet} {
			start := time.Now()
			body := []byte(fmt.Sprintf("GET /akprox/ping HTTP/1.1\r\nHost: x\r\nround: %d\r\n\r\n", round))
			if method == http.MethodGet {
				body = nil
			}
			if e := p.send(method, s.app+"/upload", program, body).echo(t); e.BodyLength != int64(len(body)) || e.Method != method {
				t.Errorf("of %d bytes there came %d by %s", len(body), e.BodyLength, e.Method)
			}
			if r := stranger.send(method, s.app+"/upload", program, body); r.status != http.StatusUnauthorized {
				t.Errorf("nobody's %s got %d", method, r.status)
			}
			if took := time.Since(start); took > 8*time.Second {
				t.Fatalf("round %d: %s took %v", round, method, took)
			}
		}
	}
}

func carelessNginx(t *testing.T, s *stage, _ []string) {
	parts.Nginx(t, s.port, fmt.Sprintf(`
upstream akprox { server %s; keepalive 4; }
server {
	listen 127.0.0.1:%d;
	location / {
		auth_request /akprox/auth/nginx;
		auth_request_set $user $upstream_http_x_auth_username;
		auth_request_set $location $upstream_http_location;
		proxy_set_header X-Auth-Username $user;
		error_page 401 = @sign_in;
		proxy_pass http://%s;
	}
	location @sign_in {
		if ($location) { return 302 $location; }
		return 401;
	}
	location /akprox {
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		proxy_set_header Host $http_host;
		proxy_pass http://akprox;
	}
}`, s.address, s.port, s.program))
}
