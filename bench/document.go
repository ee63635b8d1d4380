package main

import (
	"fmt"
	"strings"
)

const (
	host   = "wiki.example.test"
	secret = "bench-bench-bench-bench-bench-bench-bench"
)

// smallDocument is what most trials serve. OPTION, PROVIDER and RULE are where
// a trial adds lines.
const smallDocument = `version: 1
server: { http: "ADDR", https: "", metrics: "METRICS", nginx_original_url: true }
secret: { value: ` + secret + ` }
store: { kind: memory }
log: { decisions: refused }
providers:
  - { name: company, kind: oidc, issuer: "` + issuerURL + `", backchannel_url: "ISSUER", client_id: ` + clientID + `, client_secret: { value: bench-secret }, scopes: [openid, profile, email, groups] }
PROVIDERapplications:
  - name: wiki
    mode: forward_single
    external_url: http://` + host + `
    credentials: [company]
OPTION    rules:
      - { paths: [/public/**], allow: anyone }
      - { paths: [/admin/**], groups: [admin] }
RULE`

// edit replaces parts of a document, pairs of old and new.
func edit(document string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(document)
}

const (
	allLogged   = "decisions: all"
	refusedOnly = "decisions: refused"
	memoryStore = "kind: memory"
	redisStore  = `kind: redis, url: "REDIS"`
	credential  = "credentials: [company]"
)

func diskStore(path string) string { return "kind: disk, path: " + path }

// rules answers so many more rules, about other paths than those that are
// asked for.
func rules(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "      - { paths: [/area%d/**, /old/*/area%d], methods: [GET, POST], groups: [group%d] }\n", i, i, i)
	}
	return b.String()
}

// rulesThatLook answers so many more rules, none of which fits. The pages that
// are asked for begin as the patterns do, so each rule has to look.
func rulesThatLook(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "      - { paths: [/page/*/area%d/**], methods: [GET, POST], groups: [group%d] }\n", i, i)
	}
	return b.String()
}

// applications answers so many more applications, each on a host of its own.
func applications(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  - { name: app%d, mode: forward_single, external_url: \"https://app%d.example.test\", credentials: [company], rules: [ { paths: [/public/**], allow: anyone } ] }\n", i, i)
	}
	return b.String()
}

// large is a document with so many applications, and so many rules in ours.
func large(document string, apps, ofRules int) string {
	return edit(document, "RULE", rules(ofRules-2)) + applications(apps-1)
}

// traefikAsks is what Traefik tells of a browser that goes to a page.
var traefikAsks = []string{
	"X-Forwarded-Proto: http", "X-Forwarded-Host: " + host, "X-Forwarded-Uri: /page/of/a/wiki?id=42",
	"X-Forwarded-Method: GET", "X-Forwarded-For: 198.51.100.7", "Accept: text/html,application/xhtml+xml",
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Accept-Language: en",
}

const (
	traefikPath = "/akprox/auth/traefik"
	nginxPath   = "/akprox/auth/nginx"
)

// nginxAsks is what nginx tells of the same.
var nginxAsks = append([]string{"X-Original-URL: http://" + host + "/page/of/a/wiki?id=42", "X-Original-Method: GET", "X-Forwarded-Proto: http", "X-Forwarded-Host: " + host}, traefikAsks[4:]...)

// request answers the bytes of a request.
func request(path string, headers ...string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n")
}

func with(headers []string, more ...string) []string {
	return append(append([]string{}, more...), headers...)
}

func cookie(value string) string { return "Cookie: theme=dark; " + value }

// quoted makes text safe within double quotes of YAML.
func quoted(text string) string { return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) }
