package main

import "strings"

// benchCase is one line of the table.
type benchCase struct {
	name, target string
	status       string   // of the answer
	edits        []string // of the document, pairs of old and new
	headers      []string // of the request; COOKIE stands for a session
	floor        string   // the reply headers that the floor sets
}

const document = `version: 1
server: { http: "ADDR", https: "", metrics: "", nginx_original_url: true }
store: { kind: memory }
log: { decisions: refused }
providers:
  - { name: company, kind: oidc, issuer: "ISSUER", client_id: akprox, client_secret: { value: bench-secret }, scopes: [openid, profile, email, groups] }
applications:
  - name: wiki
    mode: forward_single
    external_url: http://wiki.example.test
    credentials: [company]
    rules:
      - { paths: [/public/**], allow: anyone }
      - { paths: [/admin/**], groups: [admin] }
`

const identity = `Cache-Control: no-store
X-Auth-Username: alice
X-Auth-Groups: admin|staff
X-Forwarded-Email: alice@example.com
X-Forwarded-Preferred-Username: alice
X-Forwarded-User: demo-alice
Content-Length: 0`

func cases(store string) []benchCase {
	traefik := []string{
		"X-Forwarded-Proto: http", "X-Forwarded-Host: wiki.example.test", "X-Forwarded-Uri: /page/of/a/wiki?id=42",
		"X-Forwarded-Method: GET", "X-Forwarded-For: 198.51.100.7", "Accept: text/html,application/xhtml+xml",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Accept-Language: en",
	}
	all := []string{"decisions: refused", "decisions: all"}
	session := append([]string{"Cookie: theme=dark; COOKIE"}, traefik...)
	return []benchCase{
		{"signed in, memory", "≤ 1.20", "200", nil, session, identity},
		{"signed in, disk", "≤ 1.20", "200", []string{"kind: memory", "kind: disk, path: " + store}, session, identity},
		{"signed in, every decision logged", "≤ 1.35", "200", all, session, identity},
		{"anonymous 302", "≤ 1.25", "302", nil, traefik, "Cache-Control: no-store\nLocation: http://wiki.example.test/akprox/start?rd=http%3A%2F%2Fwiki.example.test%2Fpage%2Fof%2Fa%2Fwiki%3Fid%3D42\nContent-Length: 0"},
		{"anonymous 401", "≤ 1.25", "401", nil, append([]string{"Sec-Fetch-Mode: cors"}, traefik...), "Cache-Control: no-store\nContent-Type: text/plain\nContent-Length: 0"},
		{"public path", "≤ 1.25", "200", nil, append([]string{}, replace(traefik, "/page/of/a/wiki?id=42", "/public/x")...), "Cache-Control: no-store\nX-Auth-Username: \nX-Auth-Groups: \nX-Forwarded-Email: \nX-Forwarded-Preferred-Username: \nX-Forwarded-User: \nContent-Length: 0"},
	}
}

func replace(list []string, old, with string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ReplaceAll(s, old, with)
	}
	return out
}

// request answers the bytes of the case's request.
func (c benchCase) request(w *world, akprox *server) ([]byte, error) {
	lines := strings.Join(c.headers, "\r\n")
	if strings.Contains(lines, "COOKIE") {
		cookie, err := w.signIn(akprox.addr)
		if err != nil {
			return nil, err
		}
		lines = strings.ReplaceAll(lines, "COOKIE", cookie)
	}
	return []byte("GET /akprox/auth/traefik HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n" + lines + "\r\n\r\n"), nil
}
