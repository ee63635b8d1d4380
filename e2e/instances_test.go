package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/akprox/akprox/e2e/parts"
)

// soak is how long TestSoak goes on; AKPROX_SOAK has it otherwise, and makes
// the other tests of many instances measure, without the race detector and as
// often as their figures say.
func soak() (length time.Duration, measured bool) {
	if d, err := time.ParseDuration(os.Getenv("AKPROX_SOAK")); err == nil && d > 0 {
		return d, true
	}
	return 35 * time.Second, false
}

// fleet is three akprox with one document behind one nginx, which asks them in
// turn.
type fleet struct {
	*stage
	akproxs [3]*parts.Process
	files   [3]string // their documents
	metrics [3]string // host:port
	text    string    // the document of the first
	plain   *http.Client
}

const fleetSecret = "the-secret-of-all-instances-0123456789"

// fleetWants is how a fleet differs from the simplest one.
type fleetWants struct {
	store    string // the keys of store
	session  string // the keys of session
	provider string // more keys of the provider
	issuer   parts.IssuerConfig
	asked    func(issuer string) string // where akprox itself reaches the issuer, if elsewhere
	program  string                     // the akprox to start, if not the one with the race detector
}

func newFleet(t *testing.T, w fleetWants) *fleet {
	t.Helper()
	parts.Need(t)
	f := &fleet{stage: &stage{front: nginx, mode: "forward_single", port: parts.Port(t)}}
	f.program = strings.TrimPrefix(parts.Upstream(t).URL, "http://")
	f.app = f.origin(appHost)
	w.issuer.RedirectURIs = []string{f.app + "/akprox/callback"}
	w.issuer.BackChannelLogoutURI = fmt.Sprintf("http://127.0.0.1:%d/akprox/backchannel_logout", f.port)
	f.issuer = parts.OIDCProvider(t, w.issuer)
	asked := f.issuer.URL
	if w.asked != nil {
		asked = w.asked(f.issuer.URL)
	}
	if w.program == "" {
		w.program = parts.AkproxPath(t)
	}
	var servers []string
	for i := range f.akproxs {
		port := parts.Port(t)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		f.metrics[i] = fmt.Sprintf("127.0.0.1:%d", parts.Port(t))
		text := fmt.Sprintf(`version: 1
server: { http: %q, https: "", metrics: %q, nginx_original_url: true }
secret: { value: %s }
store: { kind: redis, %s }
log: { decisions: refused, level: debug }
providers:
  - name: company
    kind: oidc
    issuer: %q
    backchannel_url: %q
    client_id: %s
    client_secret: { value: %s }
    scopes: [openid, profile, email, groups, offline_access]
    prompt: consent%s
applications:
  - name: app
    mode: forward_single
    external_url: %q
    credentials: [company]
    session: { %s }
    rules:
      - { paths: [/public/**], allow: anyone }
`, address, f.metrics[i], fleetSecret, w.store, f.issuer.URL, asked, f.issuer.ClientID, f.issuer.ClientSecret, w.provider, f.app, w.session)
		if i == 0 {
			f.text, f.address = text, address
		}
		servers = append(servers, "server "+address+" fail_timeout=1s;") // as docs/many-instances.md has it
		f.akproxs[i], f.files[i] = startInstance(t, w.program, text, port)
	}
	f.akprox = f.akproxs[0]
	f.plain = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: fleetTransport(t)}
	printed := snippets(t, nginx.snippet, f.text, []string{"app"})
	printed[0] = strings.ReplaceAll(printed[0], "server "+f.address+";", strings.Join(servers, "\n    "))
	startNginx(t, f.stage, printed)
	for i := range f.akproxs {
		f.awaitReady(t, i, true)
	}
	return f
}

// startInstance starts an akprox, and answers where its document stands.
func startInstance(t *testing.T, program, text string, port int) (process *parts.Process, file string) {
	t.Helper()
	dir := t.TempDir()
	file = filepath.Join(dir, "akprox.yaml")
	putDocument(t, file, text)
	t.Cleanup(func() { // runs after the one of Start, which stops it
		if process == nil {
			return
		}
		for _, fault := range []string{"WARNING: DATA RACE", "internal error", "panic"} {
			if strings.Contains(process.Output(), fault) {
				t.Errorf("%s in akprox:\n%s", fault, process.Output())
			}
		}
	})
	process = parts.Start(t, parts.Cmd{
		Name: "akprox", Path: program, Args: []string{"run", "--config", file}, Dir: dir, Port: port, Timeout: 60 * time.Second,
	})
	return process, file
}

// putDocument writes a document whole, or not at all.
func putDocument(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// plainAkprox builds the program as it is released.
func plainAkprox(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "akprox")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../cmd/akprox") // #nosec G204
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// fleetTransport leads every host name to this machine. It does not watch what
// passes, as that of a parts.Client does: too much passes.
func fleetTransport(t *testing.T) *http.Transport {
	t.Helper()
	dialer := &net.Dialer{Timeout: 20 * time.Second}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
		MaxIdleConnsPerHost: 64, DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// browser answers one with a fresh profile.
func (f *fleet) browser() *http.Client {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		panic(err) // it never answers one
	}
	b := *f.plain
	b.Jar = jar
	return &b
}

// sessionName is what a session's cookie is called; pages have others.
var sessionName = regexp.MustCompile("^akprox_[0-9a-f]{8}$")

// enter signs user in with a browser, and answers the session's cookie as soon
// as it is here.
func (f *fleet) enter(b *http.Client, user string) (cookie string, err error) {
	next := f.app + "/"
	for range 12 {
		if strings.HasPrefix(next, f.issuer.URL) {
			if next, err = f.issuer.SignIn(b, next, user); err != nil {
				return "", err
			}
		}
		req, err := http.NewRequest(http.MethodGet, next, http.NoBody)
		if err != nil {
			return "", err
		}
		req.Header = navigation.Clone()
		resp, err := b.Do(req)
		if err != nil {
			return "", err
		}
		_ = resp.Body.Close()
		for _, c := range resp.Cookies() {
			if sessionName.MatchString(c.Name) && c.MaxAge >= 0 && c.Value != "" {
				return c.Name + "=" + c.Value, nil
			}
		}
		to, err := resp.Location()
		if err != nil {
			return "", fmt.Errorf("%s at %s: %w", resp.Status, req.URL.Path, errNoCookie)
		}
		next = to.String()
	}
	return "", errNoCookie
}

// entered is enter where it has to work.
func (f *fleet) entered(t *testing.T, user string) string {
	t.Helper()
	cookie, err := f.enter(f.browser(), user)
	if err != nil {
		t.Fatalf("sign in as %s: %v", user, err)
	}
	return cookie
}

// ask asks a page through nginx, and answers the status and whom the program
// was told.
func (f *fleet) ask(path, cookie string) (status int, user string, err error) {
	req, err := http.NewRequest(http.MethodGet, f.app+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	req.Header = program.Clone()
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
	}
	resp, err := f.plain.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, "", nil
	}
	var e parts.Echoed
	err = json.NewDecoder(resp.Body).Decode(&e)
	return resp.StatusCode, e.Header.Get("X-Forwarded-User"), err
}

// at asks the instance i itself, as nginx does, and answers the status that it
// means and whom it names.
func (f *fleet) at(i int, cookie string) (status, user string) {
	req, err := http.NewRequest(http.MethodGet, "http://"+f.akproxs[i].Addr()+"/akprox/auth/nginx", http.NoBody)
	if err != nil {
		return err.Error(), ""
	}
	req.Host = strings.TrimPrefix(f.app, "http://")
	req.Header = with(program, "X-Original-Url", f.app+"/", "X-Original-Method", "GET", "Cookie", cookie)
	resp, err := f.plain.Do(req)
	if err != nil {
		return err.Error(), ""
	}
	_ = resp.Body.Close()
	status = fmt.Sprint(resp.StatusCode)
	if s := resp.Header.Get("X-Akprox-Status"); s != "" {
		status = s
	}
	return status, resp.Header.Get("X-Forwarded-User")
}

// signOut posts the form of the sign-out page, through nginx or, with an
// instance, there.
func (f *fleet) signOut(to, cookie string, everywhere bool) (int, error) {
	body := ""
	if everywhere {
		body = "everywhere=1"
	}
	req, err := http.NewRequest(http.MethodPost, to+"/akprox/sign_out", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Host = strings.TrimPrefix(f.app, "http://")
	req.Header = with(navigation, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin", "Cookie", cookie)
	resp, err := f.plain.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// readyz answers what the instance says of itself.
func (f *fleet) readyz(i int) (ready, issuer bool) {
	resp, err := f.plain.Get("http://" + f.metrics[i] + "/readyz")
	if err != nil {
		return false, false
	}
	defer func() { _ = resp.Body.Close() }()
	var state struct{ Issuers map[string]string }
	err = json.NewDecoder(resp.Body).Decode(&state)
	return resp.StatusCode == http.StatusOK, err == nil && state.Issuers["company"] == "ok"
}

// awaitReady waits until an instance has its store, and its issuer.
func (f *fleet) awaitReady(t *testing.T, i int, issuer bool) {
	t.Helper()
	eventuallyWithin(t, 90*time.Second, fmt.Sprintf("instance %d is not ready", i), func() bool {
		ready, answers := f.readyz(i)
		return ready && (answers || !issuer)
	})
}
