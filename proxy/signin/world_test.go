package signin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
)

// world is a SignIn behind a real TLS listener that answers for every host,
// with an issuer and a store that can be made to fail.
type world struct {
	t      *testing.T
	signIn *SignIn
	apps   atomic.Pointer[outpost.Applications]
	store  *breakable
	issuer *stubIssuer
	users  *stubUsers
	clock  *clock
	server *httptest.Server
	log    *syncBuffer
	seen   sync.Map // results observed → *atomic.Int64
}

var testPrefixes = []string{"/akprox", "/outpost.goauthentik.io"}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, users: &stubUsers{}, issuer: &stubIssuer{asked: map[string]outpost.AuthQuery{}}, clock: &clock{}, log: &syncBuffer{}}
	w.clock.set(time.Now())
	kept := memory.New(memory.Options{Now: w.clock.now})
	t.Cleanup(func() { _ = kept.Close() })
	w.store = &breakable{Store: kept}
	w.serveApps(w.standard()...)
	log := logrus.New()
	log.SetOutput(w.log)
	log.SetLevel(logrus.TraceLevel)
	w.signIn = New(Options{
		Applications: w.apps.Load,
		Sessions:     session.New(w.store, [][]byte{bytes.Repeat([]byte("k"), 32)}, session.Options{Now: w.clock.now}),
		Issuers:      map[string]outpost.Issuer{"company": w.issuer, "silent": mute{}},
		Store:        w.store,
		Endpoints:    []Endpoints{Under(testPrefixes[0]), Under(testPrefixes[1]), AuthServer()},
		Client:       func(*http.Request) netip.Addr { return netip.MustParseAddr("198.51.100.7") },
		Now:          w.clock.now,
		Log:          log,
		RequestID:    func(*http.Request) string { return "req-1" },
		Observe: func(_, result string) {
			n, _ := w.seen.LoadOrStore(result, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		},
	})
	mux := http.NewServeMux()
	for _, prefix := range testPrefixes {
		mux.Handle(prefix+"/start", w.signIn.Start(Under(prefix)))
		mux.Handle(prefix+"/sign_in", w.signIn.Page(Under(prefix)))
		mux.Handle(prefix+"/callback", w.signIn.Callback(Under(prefix)))
		mux.Handle(prefix+"/sign_out", w.signIn.SignOut(Under(prefix)))
		mux.Handle(prefix+"/userinfo", w.signIn.UserInfo(Under(prefix)))
	}
	mux.Handle("/auth/sign-in", w.signIn.Page(AuthServer()))
	mux.Handle("/auth/password-authenticate", w.signIn.Page(AuthServer()))
	mux.Handle("/auth/sign-out", w.signIn.SignOut(AuthServer()))
	mux.Handle("/akprox/backchannel_logout", w.signIn.BackChannel())
	w.server = httptest.NewTLSServer(mux)
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) standard() []*outpost.Application {
	return []*outpost.Application{
		w.app("wiki", "https", "wiki.example.com", "/", ""),
		w.app("docs", "https", "wiki.example.com", "/docs", ""),
		w.app("ported", "https", "ported.example.com:8443", "/", ""),
		w.app("everything", "https", "auth.example.org", "/", "example.org"),
		w.app("bare", "http", "bare.example.com", "/", ""),
		w.people("people", "people.example.com", ""),
		w.people("family", "auth.example.info", "example.info"),
		{Name: "keys", External: outpost.External{Scheme: "https", Host: "keys.example.com", Path: "/"}, Session: lifetimes},
	}
}

var lifetimes = outpost.Lifetimes{Idle: time.Hour, Absolute: 8 * time.Hour}

func (w *world) app(name, scheme, host, path, domain string) *outpost.Application {
	return &outpost.Application{
		Name:     name,
		External: outpost.External{Scheme: scheme, Host: host, Path: path},
		Cookie:   outpost.CookieReach{Name: "akprox_" + fmt.Sprintf("%08x", name[:4]), Domain: domain, Secure: scheme == "https"},
		SignIn:   &outpost.SignInWay{Provider: "company", Issuer: w.issuer, AfterSignOut: "https://" + host + "/bye"},
		Session:  lifetimes,
		Domain:   domain,
	}
}

// people answers an application whose people have a password.
func (w *world) people(name, host, domain string) *outpost.Application {
	app := w.app(name, "https", host, "/", domain)
	app.SignIn = &outpost.SignInWay{Provider: "people", Passwords: w.users}
	return app
}

func (w *world) serveApps(apps ...*outpost.Application) { w.apps.Store(outpost.NewApplications(apps)) }

func (w *world) observed(result string) int {
	n, ok := w.seen.Load(result)
	if !ok {
		return 0
	}
	return int(n.(*atomic.Int64).Load())
}

func (w *world) flows() int {
	w.t.Helper()
	n, err := w.store.Store.(store.Counter).Count(context.Background(), flowPrefix)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// browser keeps cookies as browsers do and follows no redirect by itself.
type browser struct {
	w *world
	*http.Client
	jar http.CookieJar
}

func (w *world) browser() *browser {
	w.t.Helper()
	jar, _ := cookiejar.New(nil)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.server.Listener.Addr().String())
	}
	tlsDial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil
	}
	transport := &http.Transport{DialTLSContext: tlsDial, DialContext: tlsDial} // "http" too: TLS ended in front of us
	w.t.Cleanup(transport.CloseIdleConnections)
	return &browser{w, &http.Client{
		Jar: jar, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, jar}
}

// answer is a response that was read.
type answer struct {
	status   int
	header   http.Header
	body     string
	location string
}

func (a answer) cookie(name string) *http.Cookie {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if strings.HasPrefix(c.Name, name) {
			return c
		}
	}
	return nil
}

// send asks; headers are pairs of name and value, as "Name: value".
func (b *browser) send(method, u string, headers ...string) answer {
	b.w.t.Helper()
	return b.sendBody(method, u, "", headers...)
}

func (b *browser) sendBody(method, u, body string, headers ...string) answer {
	b.w.t.Helper()
	req, err := http.NewRequest(method, u, strings.NewReader(body))
	if err != nil {
		b.w.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := b.Do(req)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		b.w.t.Errorf("%s %s: Cache-Control %q", method, u, got)
	}
	return answer{resp.StatusCode, resp.Header, string(text), resp.Header.Get("Location")}
}

func (b *browser) get(u string, headers ...string) answer {
	b.w.t.Helper()
	return b.send("GET", u, headers...)
}

// begin starts a sign-in and answers the callback URL that the issuer sends
// user back to.
func (b *browser) begin(u, user string) string {
	b.w.t.Helper()
	a := b.get(u)
	back, ok := b.w.issuer.signIn(a.location, user)
	if a.status != http.StatusFound || !ok {
		b.w.t.Fatalf("start: %d %q %s", a.status, a.location, a.body)
	}
	return back
}

// signIn signs user in from start to end.
func (b *browser) signIn(u, user string) answer {
	b.w.t.Helper()
	return b.get(b.begin(u, user))
}

func (b *browser) cookies(host string) map[string]string {
	u, _ := url.Parse("https://" + host + "/akprox/x")
	found := map[string]string{}
	for _, c := range b.jar.Cookies(u) {
		found[c.Name] = c.Value
	}
	return found
}

func (b *browser) count(host, prefix string) int {
	n := 0
	for name := range b.cookies(host) {
		if strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// stubIssuer is an issuer that believes everybody.
type stubIssuer struct {
	mu        sync.Mutex
	asked     map[string]outpost.AuthQuery // by state
	codes     []string                     // redeemed
	down      bool
	exchange  error // what Exchange answers
	nobody    bool  // Exchange grants nobody
	noSignOut bool
	sid       string // of what is granted
	meanwhile func() // while Exchange is under way
}

// mute is an issuer that sends no logout tokens.
type mute struct{ outpost.Issuer }

// LogoutToken believes tokens such as "company sub=… sid=… jti=…"; those of
// others begin with another word, and "forged" ones are bad.
func (i *stubIssuer) LogoutToken(_ context.Context, raw string) (*outpost.Logout, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	words := strings.Fields(raw)
	switch {
	case words[0] == "forged":
		return nil, errors.New("bad logout token: its signature does not verify")
	case words[0] != "company":
		return nil, outpost.ErrNoCredential
	case i.down:
		return nil, fmt.Errorf("keys: %w", outpost.ErrUnavailable)
	}
	told := &outpost.Logout{Expires: time.Now().Add(time.Minute)}
	for _, word := range words[1:] {
		name, value, _ := strings.Cut(word, "=")
		*map[string]*string{"sub": &told.Subject, "sid": &told.SID, "jti": &told.ID}[name] = value
	}
	return told, nil
}

func (i *stubIssuer) set(change func(*stubIssuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *stubIssuer) redeemed() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.codes)
}

func (i *stubIssuer) states() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Collect(maps.Keys(i.asked))
}

func (i *stubIssuer) AuthURL(_ context.Context, q outpost.AuthQuery) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		return "", fmt.Errorf("discovery: %w", outpost.ErrUnavailable)
	}
	i.asked[q.State] = q
	return "https://id.example.net/auth?" + url.Values{"state": {q.State}, "redirect_uri": {q.RedirectURL}}.Encode(), nil
}

// signIn plays the person at the issuer.
func (i *stubIssuer) signIn(authURL, user string) (string, bool) {
	u, err := url.Parse(authURL)
	if err != nil || u.Host != "id.example.net" {
		return "", false
	}
	q := u.Query()
	return q.Get("redirect_uri") + "?" + url.Values{"state": {q.Get("state")}, "code": {"secret-code-of-" + user}}.Encode(), true
}

func (i *stubIssuer) Exchange(_ context.Context, q outpost.AuthQuery, code string) (*outpost.Grant, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.codes = append(i.codes, code)
	switch {
	case i.exchange != nil:
		return nil, i.exchange
	case i.nobody:
		return &outpost.Grant{}, nil
	case i.asked[q.State] != q || len(q.Verifier) < 43 || len(q.Nonce) < 43:
		return nil, errors.New("the query is another one than at start")
	}
	user := strings.TrimPrefix(code, "secret-code-of-")
	if i.meanwhile != nil {
		i.meanwhile()
	}
	return &outpost.Grant{SID: i.sid, Identity: &outpost.Identity{
		Subject: "sub-" + user, Username: user, Email: user + "@example.com", Provider: "company",
		Groups: []string{"staff"}, IDToken: "id-token-of-" + user,
	}}, nil
}

func (i *stubIssuer) EndSessionURL(_ context.Context, idToken, returnTo string) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.down:
		return "", outpost.ErrUnavailable
	case i.noSignOut:
		return "", nil
	}
	return "https://id.example.net/end?" + url.Values{"id_token_hint": {idToken}, "to": {returnTo}}.Encode(), nil
}

func (i *stubIssuer) Ready() error { return nil }

// breakable is a store that can be out of reach.
type breakable struct {
	store.Store
	broken   atomic.Bool
	untagged atomic.Bool  // nothing can be ended by its tag
	silent   atomic.Value // string: keys that begin with it cannot be read
}

func (b *breakable) silentFor(prefix string) { b.silent.Store(prefix) }

func (b *breakable) err() error {
	if b.broken.Load() {
		return fmt.Errorf("test: %w", store.ErrUnavailable)
	}
	return nil
}

func (b *breakable) Get(ctx context.Context, key string) (store.Item, error) {
	if prefix, _ := b.silent.Load().(string); prefix != "" && strings.HasPrefix(key, prefix) {
		return store.Item{}, fmt.Errorf("test: %w", store.ErrUnavailable)
	}
	if err := b.err(); err != nil {
		return store.Item{}, err
	}
	return b.Store.Get(ctx, key)
}

func (b *breakable) Put(ctx context.Context, key string, item store.Item) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Store.Put(ctx, key, item)
}

func (b *breakable) Take(ctx context.Context, key string) (store.Item, error) {
	if err := b.err(); err != nil {
		return store.Item{}, err
	}
	return b.Store.Take(ctx, key)
}

func (b *breakable) Delete(ctx context.Context, key string) error {
	if err := b.err(); err != nil {
		return err
	}
	return b.Store.Delete(ctx, key)
}

func (b *breakable) DeleteTagged(ctx context.Context, tag string) (int, error) {
	if err := b.err(); err != nil {
		return 0, err
	}
	if b.untagged.Load() {
		return 0, fmt.Errorf("test: %w", store.ErrUnavailable)
	}
	return b.Store.DeleteTagged(ctx, tag)
}

func (b *breakable) Claim(ctx context.Context, key string, item store.Item) (bool, error) {
	if err := b.err(); err != nil {
		return false, err
	}
	return b.Store.(store.Claimer).Claim(ctx, key, item)
}

func (b *breakable) Count(ctx context.Context, prefix string) (int, error) {
	if err := b.err(); err != nil {
		return 0, err
	}
	return b.Store.(store.Counter).Count(ctx, prefix)
}

// clock is the time as the test says.
type clock struct{ t atomic.Pointer[time.Time] }

func (c *clock) now() time.Time          { return *c.t.Load() }
func (c *clock) set(t time.Time)         { c.t.Store(&t) }
func (c *clock) advance(d time.Duration) { c.set(c.now().Add(d)) }

// syncBuffer is a log that many goroutines write to.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// stubUsers knows jane and bob, whose password is the name and "'s".
type stubUsers struct {
	mu      sync.Mutex
	answer  error // to everybody
	gone    bool  // nobody is a user any more
	clients []netip.Addr
}

func (u *stubUsers) set(change func(*stubUsers)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u)
}

func (u *stubUsers) asked() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.clients)
}

func (u *stubUsers) Check(_ context.Context, username, password string, client netip.Addr) (*outpost.Identity, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.clients = append(u.clients, client)
	switch {
	case u.answer != nil:
		return nil, u.answer
	case (username == "jane" || username == "bob") && password == username+"'s":
		return &outpost.Identity{Subject: username, Username: username, Provider: "people"}, nil
	}
	return nil, errors.New("no")
}

func (u *stubUsers) Current(id *outpost.Identity) *outpost.Identity {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.gone {
		return nil
	}
	return id
}
