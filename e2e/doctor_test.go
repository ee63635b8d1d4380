package e2e_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	doctorfinding "github.com/akprox/akprox/cmd/akprox/doctor/finding"
	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/providers/password"
)

// ailment is a set-up that is good but for one thing, and what the doctor has
// to find there. What is printed for the proxy is of the good document.
type ailment struct {
	name   string
	front  front
	mode   string // "" is forward_single
	issuer string // "" is dex
	want   string // "" is nothing

	proxy    func(s *patient, printed string) string // what is wrong with the proxy's configuration
	document func(s *patient, text string) string    // with the document
	issuerIs func(s *patient, c *parts.IssuerConfig) // with the issuer
	before   func(t *testing.T, s *patient)          // more that has to run
	args     func(s *patient) []string               // more for the doctor
	ignorant bool                                    // the doctor does not see the document
	stands   bool                                    // the doctor stands in the program's place
	ownPage  bool                                    // akprox itself asks for passwords
}

// instead answers what replaces parts of a configuration, each of which has to
// be there.
func instead(pairs ...string) func(*patient, string) string {
	return func(s *patient, text string) string {
		for i := 0; i < len(pairs); i += 2 {
			from, to := s.fill(pairs[i]), s.fill(pairs[i+1])
			if !strings.Contains(text, from) {
				panic("there is no " + from + " in\n" + text)
			}
			text = strings.ReplaceAll(text, from, to)
		}
		return text
	}
}

// fill puts the stage's own values in a text.
func (s *patient) fill(text string) string {
	return strings.NewReplacer("{port}", port(s.stage), "{akprox}", s.address, "{app}", s.app,
		"{metrics}", fmt.Sprint(s.metrics), "{second}", fmt.Sprint(s.second)).Replace(text)
}

const (
	nginxAuth = "location /akprox/auth {"
	nginxOwn  = "        auth_request off;"
)

func ailments() []ailment {
	var rows []ailment
	for _, f := range []front{nginx, caddy, traefik} {
		rows = append(rows,
			ailment{name: "good", front: f},
			ailment{name: "good", front: f, mode: "forward_domain", issuer: "oidc-provider"},
			ailment{name: "good, without the document", front: f, mode: "forward_domain", ignorant: true},
			ailment{name: "not in trusted_proxies", front: f, want: "untrusted-peer", document: instead("127.0.0.1:{metrics}\",", "127.0.0.1:{metrics}\", trusted_proxies: [192.0.2.0/24],")})
	}
	rows = append(rows,
		ailment{name: "good", front: itself, mode: "proxy"},
		ailment{name: "good", front: itself, mode: "proxy", issuer: "oidc-provider"})
	rows = append(rows,
		ailment{name: "good, in the program's place", front: nginx, stands: true},
		ailment{name: "underscores, in the program's place", front: nginx, stands: true, want: "forged-identity", proxy: instead("underscores_in_headers off", "underscores_in_headers on")},
		ailment{name: "good, with akprox's own page", front: nginx, ownPage: true, document: ownUsers})
	rows = append(rows, nginxAilments()...)
	rows = append(rows, otherAilments()...)
	return append(rows, partyAilments()...)
}

// ownUsers has akprox itself know alice.
func ownUsers(_ *patient, text string) string {
	hash, err := password.Hash("password")
	if err != nil {
		panic(err)
	}
	from, to := strings.Index(text, "    kind: oidc"), strings.Index(text, "applications:")
	return text[:from] + fmt.Sprintf("    kind: password\n    users: [ { username: alice, password: %q } ]\n", hash) + text[to:]
}

// nginxAilments are of nginx, which has most lines to get wrong.
func nginxAilments() []ailment {
	return []ailment{
		{name: "nobody asks", front: nginx, want: "not-guarded", proxy: instead("auth_request     /akprox/auth/nginx;", "")},
		{name: "nobody asks, without the document", front: nginx, want: "not-guarded", ignorant: true, proxy: instead("auth_request     /akprox/auth/nginx;", "")},
		{name: "a header is not handed on", front: nginx, want: "identity-headers", proxy: instead("X-Auth-Username $identity_x_auth_username", `X-Auth-Username ""`)},
		{name: "underscores", front: nginx, want: "forged-identity", proxy: instead("underscores_in_headers off", "underscores_in_headers on")},
		{name: "dots", front: nginx, want: "forged-identity", proxy: instead("ignore_invalid_headers on", "ignore_invalid_headers off")},
		{name: "no X-Original-URL", front: nginx, want: "original-url", proxy: instead("proxy_set_header X-Original-URL", "# ")},
		{name: "no X-Original-URL, without the document", front: nginx, want: "original-url", ignorant: true, proxy: instead("proxy_set_header X-Original-URL", "# ")},
		{
			name: "the URL is not believed", front: nginx, want: "original-url",
			document: func(_ *patient, text string) string {
				return strings.ReplaceAll(strings.ReplaceAll(text, rules, ""), "nginx_original_url: true", "nginx_original_url: false")
			},
		},
		{name: "no X-Original-Method", front: nginx, want: "original-method", proxy: instead("proxy_set_header X-Original-Method", "# ")},
		{name: "own paths go to the program", front: nginx, want: "own-paths", proxy: instead("location /akprox/ {", "location /lost/ {")},
		{name: "own paths behind another sign-in", front: nginx, want: "own-paths-guarded", proxy: instead(nginxOwn, nginxOwn+" auth_basic staff; auth_basic_user_file /dev/null;")},
		{name: "401 stays", front: nginx, want: "sign-in-redirect", proxy: instead("error_page 401 = @akprox_sign_in;", "")},
		{name: "403 for everything", front: nginx, want: "status-mapping", proxy: instead("error_page 403 = @akprox_refused;", "")},
		{name: "small buffers", front: nginx, want: "answer-size", proxy: instead("proxy_buffer_size 32k;", "", "proxy_buffers 8 32k;", "")},
		{name: "another port", front: nginx, want: "auth-unreachable", proxy: instead(nginxAuth+"\n        internal;\n        proxy_pass http://akprox_app;", nginxAuth+"\n        internal;\n        proxy_pass http://127.0.0.1:1;")},
		{name: "Set-Cookie is dropped", front: nginx, want: "cookies-dropped", proxy: instead(nginxOwn, nginxOwn+" proxy_hide_header Set-Cookie;")},
		{name: "Cookie is dropped", front: nginx, want: "cookies-dropped", proxy: instead(nginxOwn, nginxOwn+` proxy_set_header Cookie "";`)},
		{name: "the question has no Cookie", front: nginx, want: "sign-in-loop", proxy: instead(nginxAuth, nginxAuth+` proxy_set_header Cookie "";`)},
		{
			name: "two that share nothing", front: nginx, want: "sessions-not-shared",
			proxy: instead("    server {akprox};", "    server {akprox};\n    server 127.0.0.1:{second};"),
			before: func(t *testing.T, s *patient) {
				text := strings.ReplaceAll(s.config, s.address, fmt.Sprintf("127.0.0.1:%d", s.second))
				parts.Akprox(t, strings.ReplaceAll(text, fmt.Sprintf("127.0.0.1:%d", s.metrics), fmt.Sprintf("127.0.0.1:%d", parts.Port(t))), s.second, "")
			},
		},
		{
			name: "answers to questions are cached", front: nginx, want: "cached",
			proxy: func(s *patient, text string) string {
				return "proxy_cache_path kept keys_zone=kept:1m;\n" + instead(nginxAuth, nginxAuth+` proxy_cache kept; proxy_cache_key $scheme$host$request_uri;
					proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;`)(s, text)
			},
		},
		{
			name: "own pages are cached", front: nginx, want: "cached",
			proxy: func(s *patient, text string) string {
				return "proxy_cache_path kept keys_zone=kept:1m;\n" + instead(nginxOwn, nginxOwn+` proxy_cache kept; proxy_cache_key $scheme$host$request_uri;
					proxy_cache_valid 302 1m; proxy_ignore_headers Cache-Control Set-Cookie;`)(s, text)
			},
		},
		{
			name: "external_url has another port", front: nginx, want: "address", proxy: instead("app.example.test:{port}", "app.example.test"),
			document: instead("external_url: {app}", "external_url: http://"+appHost+":1"),
		},
		{name: "the program is told another scheme", front: nginx, want: "forwarded-proto", proxy: func(_ *patient, text string) string {
			return strings.ReplaceAll(text, "X-Forwarded-For   $proxy_add_x_forwarded_for;\n        proxy_set_header X-Forwarded-Proto $scheme;",
				"X-Forwarded-For   $proxy_add_x_forwarded_for;\n        proxy_set_header X-Forwarded-Proto https;")
		}},
	}
}

// otherAilments are of Caddy and Traefik.
func otherAilments() []ailment {
	return []ailment{
		{name: "nobody asks", front: caddy, want: "not-guarded", proxy: instead("forward_auth ", "forward_auth /never ")},
		{name: "a header is not handed on", front: caddy, want: "identity-headers", proxy: instead("\t\t\t\t\tX-Auth-Username\n", "")},
		{name: "underscores", front: caddyDebian, want: "forged-identity", proxy: instead("request_header -*_*", "")},
		{name: "good", front: caddyDebian},
		{name: "another port", front: caddy, want: "auth-unreachable", proxy: instead("forward_auth {akprox}", "forward_auth 127.0.0.1:1")},
		{name: "another dialect's endpoint", front: caddy, want: "original-url", proxy: instead("uri /akprox/auth/caddy", "uri /akprox/auth/nginx")},
		{name: "no such endpoint", front: caddy, want: "auth-unreachable", proxy: instead("uri /akprox/auth/caddy", "uri /akprox/auth/cady")},
		{name: "only start is routed", front: caddy, want: "own-paths", proxy: instead("handle /akprox/* {", "handle /akprox/start* {")},
		{name: "a clock is wrong", front: caddy, want: "clock", proxy: instead("\thandle {\n", "\theader >Date \"Thu, 01 Jan 2026 00:00:00 GMT\"\n\thandle {\n")},
		{name: "no application for the host", front: caddy, want: "unknown-host", document: instead("external_url: {app}", "external_url: http://elsewhere.example.test")},
		{name: "the domain does not cover the host", front: caddy, mode: "forward_domain", want: "cookie-domain", document: instead("cookie_domain: example.test", "cookie_domain: auth.example.test")},
		{name: "https in the document alone", front: caddy, want: "scheme", document: instead("external_url: {app}", "external_url: https://"+appHost+":{port}")},
		{name: "nobody asks", front: traefik, want: "not-guarded", proxy: instead("      middlewares: [akprox-app]\n", "      middlewares: []\n")},
		{name: "underscores", front: traefik, want: "forged-identity", proxy: instead("authResponseHeadersRegex: '[_.]'", "authResponseHeadersRegex: ''")},
		{name: "another port", front: traefik, want: "auth-unreachable", proxy: instead("http://{akprox}/akprox/auth", "http://127.0.0.1:1/akprox/auth")},
		{name: "only start is routed", front: traefik, want: "own-paths", proxy: instead("PathPrefix(`/akprox/`)", "PathPrefix(`/akprox/start`)")},
		{name: "no such page", front: traefik, want: "no-route", proxy: instead("rule: Host(`"+appHost+"`)\n      middlewares", "rule: Host(`"+appHost+"`) && PathPrefix(`/public`)\n      middlewares")},
		{name: "a header in two spellings", front: caddy, want: "question-refused", proxy: instead("uri /akprox/auth/caddy", "uri /akprox/auth/caddy\n\t\t\t\theader_up X.Forwarded.Uri /")},
		{name: "no store", front: caddy, want: "unavailable", document: instead("store: { kind: disk, path: store }", "store: { kind: redis, url: 'redis://127.0.0.1:1' }\nsecret: { value: "+fleetSecret+" }")},
		{name: "no store", front: nginx, want: "unavailable", document: instead("store: { kind: disk, path: store }", "store: { kind: redis, url: 'redis://127.0.0.1:1' }\nsecret: { value: "+fleetSecret+" }")},
		{name: "the client's word is taken", front: believing, want: "forged-url", proxy: instead("trustForwardHeader: false", "trustForwardHeader: true")},
	}
}

// believing is a Traefik that believes what everybody forwards.
var believing = front{name: "traefik", snippet: "traefik", start: func(t *testing.T, s *stage, printed []string) {
	dynamic := map[string]any{}
	for _, text := range printed {
		merge(dynamic, readYAML(t, strings.ReplaceAll(text, yourProgram, s.program)))
	}
	text, err := json.Marshal(dynamic) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	parts.Traefik(t, s.port, string(text), s.app+"/public/up", "--entryPoints.web.forwardedHeaders.insecure=true")
}}

// partyAilments are of the issuer, and of what the document says about it.
func partyAilments() []ailment {
	elsewhere := func(_ *patient, c *parts.IssuerConfig) {
		c.RedirectURIs = []string{"http://elsewhere.example.test/akprox/callback"}
	}
	nobody := instead("client_id: akprox", "client_id: nobody")
	return []ailment{
		{name: "redirect URI not registered", front: caddy, want: "redirect-uri", issuerIs: elsewhere},
		{name: "redirect URI not registered", front: caddy, issuer: "oidc-provider", want: "redirect-uri", issuerIs: elsewhere},
		{name: "no such client", front: caddy, want: "issuer-refuses", document: nobody},
		{name: "no such client", front: caddy, issuer: "oidc-provider", want: "issuer-refuses", document: nobody},
		{name: "no such scope", front: caddy, want: "issuer-refuses", document: instead("scopes: [openid, profile, email, groups]", "scopes: [openid, nonsense]")},
		{name: "another client secret", front: caddy, want: "sign-in-refused", document: instead("client_secret: { value: ", "client_secret: { value: not-")},
		{name: "akprox does not reach the issuer", front: caddy, want: "issuer-from-outpost", document: func(s *patient, text string) string {
			return strings.ReplaceAll(text, "issuer: "+s.issuer.URL, "issuer: http://127.0.0.1:1")
		}},
		{name: "akprox does not reach the issuer", front: nginx, want: "issuer-from-outpost", document: func(s *patient, text string) string {
			return strings.ReplaceAll(text, "issuer: "+s.issuer.URL, "issuer: http://127.0.0.1:1")
		}},
		{name: "people do not reach the issuer", front: caddy, want: "issuer-unreachable", args: func(s *patient) []string {
			host, _, _ := strings.Cut(strings.TrimPrefix(s.issuer.URL, "http://"), "/")
			return []string{"--resolve", host + ":127.0.0.1:1"}
		}},
	}
}

func TestDoctorFindsEachFault(t *testing.T) {
	t.Parallel()
	for _, kind := range doctorfinding.Kinds() {
		if !slices.ContainsFunc(ailments(), func(a ailment) bool { return a.want == kind.ID }) {
			t.Errorf("no set-up has %s", kind.ID)
		}
	}
	for _, a := range ailments() {
		name := a.front.name + "/" + a.name
		if a.issuer != "" || a.mode != "" {
			name += "/" + a.mode + a.issuer
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := a.start(t)
			r := a.examine(t, s)
			var found []string
			for _, f := range r.findings() {
				found = append(found, f.ID)
				if f.What == "" || f.Mend == "" || len(f.Evidence) == 0 {
					t.Errorf("%s is not explained: %+v", f.ID, f)
				}
			}
			want := []string{a.want}
			if a.want == "" {
				want = nil
			}
			if !slices.Equal(found, want) {
				t.Errorf("found %v, want %v:\n%s\nakprox:\n%s", found, want, r.text, s.akprox.Output())
			}
			if a.want == "" {
				r.checksAll(t, a)
			}
			if r.Requests > 60 {
				t.Errorf("%d requests", r.Requests)
			}
		})
	}
}

// TestDoctorTakesACookie: where the issuer's page is no plain form, a person
// signs in with a browser and gives the doctor the cookie.
func TestDoctorTakesACookie(t *testing.T) {
	t.Parallel()
	s := ailment{front: traefik}.start(t)
	p := s.person(t)
	p.arrive(s.app+"/", "alice")
	c := p.cookies(s.app)[0]
	dir := t.TempDir()
	args := []string{"doctor", "--json", "--url", s.app + "/app", "--resolve", "*:" + port(s.stage) + ":127.0.0.1", "--proxy", "traefik", "--echo", "/app"}
	for _, row := range []struct{ value, state string }{{c.Value, "ok"}, {"made-up-and-not-of-a-session", "unknown"}} {
		r, status := doctor(t, dir, row.value, append(args, "--cookie", c.Name)...)
		if status != 0 || strings.Contains(r.text, row.value) {
			t.Errorf("exit status %d: %s", status, r.text)
		}
		for _, check := range r.Checks {
			if check.Name == "signed in" && check.State != row.state {
				t.Errorf("%s: %s", check.State, check.Note)
			}
		}
	}
}

// patient is a stage that the doctor examines.
type patient struct {
	*stage
	config          string // the document
	metrics, second int    // ports
}

// start starts everything.
func (a ailment) start(t *testing.T) *patient {
	t.Helper()
	parts.Need(t)
	s := &patient{stage: &stage{front: a.front, mode: cmp.Or(a.mode, "forward_single"), port: parts.Port(t)}, metrics: parts.Port(t), second: parts.Port(t)}
	akproxPort := parts.Port(t)
	if a.front.start == nil {
		akproxPort = s.port
	}
	s.address = fmt.Sprintf("127.0.0.1:%d", akproxPort)
	s.program = strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	if a.stands {
		s.program = fmt.Sprintf("127.0.0.1:%d", s.second)
	}
	s.app, s.other = s.origin(appHost), s.origin(otherHost)
	c := parts.IssuerConfig{RedirectURIs: s.callbacks()}
	if a.issuerIs != nil {
		a.issuerIs(s, &c)
	}
	s.issuer = issuers[cmp.Or(a.issuer, "dex")](t, c)
	good := s.document(fmt.Sprintf("nginx_original_url: %v", a.front.originalURL), s.metrics)
	s.config = good
	if a.document != nil {
		s.config = a.document(s, good)
	}
	s.begin(t, s.config, akproxPort)
	if a.before != nil {
		a.before(t, s)
	}
	if a.front.start != nil {
		printed := snippets(t, a.front.snippet, good, s.applications())
		for i := range printed {
			if a.proxy != nil && i == 0 { // the first is the application that the doctor looks at
				printed[i] = a.proxy(s, printed[i])
			}
		}
		a.front.start(t, s.stage, printed)
	}
	if a.want != "issuer-from-outpost" && !a.ownPage {
		s.awaitIssuer(t)
	}
	return s
}

// awaitIssuer waits until akprox has found its issuer.
func (s *patient) awaitIssuer(t *testing.T) {
	t.Helper()
	eventually(t, "akprox does not find its issuer", func() bool {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", s.metrics))
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		var r struct{ Issuers map[string]string }
		return json.NewDecoder(resp.Body).Decode(&r) == nil && r.Issuers["company"] == "ok"
	})
}

// examined is what `akprox doctor --json` prints.
type examined struct {
	Checks []struct {
		Name, State, Note string
		Findings          []finding
	}
	Requests int
	text     string
}

type finding struct {
	ID, What, Mend  string
	Evidence, Lines []string
}

func (r examined) findings() (all []finding) {
	for _, c := range r.Checks {
		all = append(all, c.Findings...)
	}
	return all
}

// checksAll holds a good set-up to having been looked at in every way.
func (r examined) checksAll(t *testing.T, a ailment) {
	t.Helper()
	for _, c := range r.Checks {
		if c.State != "ok" && (c.Name != "outpost" || !a.ignorant) {
			t.Errorf("%s is %s: %s", c.Name, c.State, c.Note)
		}
	}
}

// examine runs the doctor as an operator would, with the password of alice.
func (a ailment) examine(t *testing.T, s *patient) examined {
	t.Helper()
	dir := t.TempDir()
	user := "alice"
	if a.issuer == "" && !a.ownPage {
		user = "alice@example.test"
	}
	args := []string{"doctor", "--json", "--url", s.app + "/app?a=1", "--resolve", "*:" + port(s.stage) + ":127.0.0.1", "--user", user}
	if a.stands {
		args = append(args, "--listen", s.program)
	} else {
		args = append(args, "--echo", "/app")
	}
	if !a.ignorant {
		file := filepath.Join(dir, "akprox.yaml")
		if err := os.WriteFile(file, []byte(s.config), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	if a.args != nil {
		args = append(args, a.args(s)...)
	}
	r, status := doctor(t, dir, "password", args...)
	if want := min(len(r.findings()), 1); status != want {
		t.Errorf("exit status %d, want %d", status, want)
	}
	return r
}

// doctor runs the program in dir with a secret on its standard input. What it
// prints must not hold that, nor a cookie.
func doctor(t *testing.T, dir, secret string, args ...string) (examined, int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(parts.AkproxPath(t), args...) // #nosec G204
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(secret), &out, &errs
	_ = cmd.Run() // its status is looked at
	var r examined
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	r.text = out.String() + errs.String()
	for _, word := range []string{"akprox_flow_", "state=", "code="} {
		if strings.Contains(r.text, word) {
			t.Errorf("%q is printed:\n%s", word, r.text)
		}
	}
	return r, cmd.ProcessState.ExitCode()
}
