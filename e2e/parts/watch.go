package parts

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// Watched is the transport of a Client. It takes note of the secrets that pass
// and of what was answered, which is searched when akprox ends.
type Watched struct {
	*http.Transport
	t testing.TB
}

// RoundTrip implements http.RoundTripper.
func (w *Watched) RoundTrip(req *http.Request) (*http.Response, error) {
	noteRequest(req)
	resp, err := w.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	noteReply(resp)
	if resp.StatusCode != http.StatusSwitchingProtocols && !issuers.holds(func(port string) bool { return port == req.URL.Port() }) {
		resp.Body = &kept{ReadCloser: resp.Body, reply: reply{w.t.Name(), req.Method + " " + req.URL.Host + req.URL.Path, head(resp, req.URL)}}
	}
	return resp, nil
}

// noteRequest takes the secrets of a request.
func noteRequest(req *http.Request) {
	noteURL(req.URL)
	for _, c := range req.Cookies() {
		noteCookie(c)
	}
	for _, value := range req.Header["Authorization"] {
		scheme, rest, _ := strings.Cut(value, " ")
		secrets.add("the credential of an Authorization header", rest)
		if decoded, err := base64.StdEncoding.DecodeString(rest); err == nil && strings.EqualFold(scheme, "Basic") {
			_, password, _ := strings.Cut(string(decoded), ":")
			secrets.add("a password", password)
		}
	}
	for _, value := range req.Header["X-Api-Key"] {
		secrets.add("a key", value)
	}
	if req.GetBody == nil || req.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		return
	}
	body, err := req.GetBody()
	if err != nil {
		return
	}
	defer func() { _ = body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(body, 64<<10))
	form, _ := url.ParseQuery(string(text))
	for _, name := range []string{"password", "client_secret", "code", "code_verifier", "refresh_token", "token", "logout_token"} {
		if _, err := req.Cookie("akprox_form"); err == nil && name == "token" {
			continue // it has to be in the form's page
		}
		secrets.add("a form's "+name, form.Get(name))
	}
}

// noteReply takes the secrets of a reply.
func noteReply(resp *http.Response) {
	for _, c := range resp.Cookies() {
		noteCookie(c)
	}
	to, err := resp.Location()
	if err != nil {
		return
	}
	noteURL(to)
	if port := to.Port(); to.Query().Get("response_type") == "code" && port != resp.Request.URL.Port() {
		issuers.add(port) // one that a test runs itself
	}
}

// noteCookie takes a cookie of ours. That of a form repeats what its page
// holds, so that it is no secret to the page.
func noteCookie(c *http.Cookie) {
	if strings.HasPrefix(c.Name, "akprox_") && c.Name != "akprox_form" {
		secrets.add("the cookie "+kindOf(c.Name), c.Value)
	}
}

func kindOf(cookie string) string {
	if strings.HasPrefix(cookie, "akprox_flow_") {
		return "of a flow"
	}
	return "of a session"
}

// byProtocol are the parameters of a URL that have to hold a secret: those of
// an authorization request, of its answer, and of a logout request (OIDC Core
// 3.1.2.1 and 3.1.2.5, RP-Initiated Logout 2).
var byProtocol = []string{"code", "state", "nonce", "id_token_hint"}

func noteURL(u *url.URL) {
	query := u.Query()
	for _, name := range byProtocol {
		for _, value := range query[name] {
			secrets.add("a "+name, value)
		}
	}
}

// maxPage is how much of a body is kept.
const maxPage = 64 << 10

// reply is what a client of a test was answered.
type reply struct{ test, asked, text string }

// kept is the body of a reply that is kept as it is read.
type kept struct {
	io.ReadCloser
	reply reply
	mu    sync.Mutex
	body  bytes.Buffer
	done  bool
}

func (k *kept) Read(b []byte) (int, error) {
	n, err := k.ReadCloser.Read(b)
	k.mu.Lock()
	k.body.Write(b[:min(n, max(0, maxPage-k.body.Len()))])
	k.mu.Unlock()
	if err != nil {
		k.keep()
	}
	return n, err
}

func (k *kept) Close() error {
	k.keep()
	return k.ReadCloser.Close()
}

// keep keeps the reply, unless it is what Upstream says, which repeats what it
// was sent.
func (k *kept) keep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if body := k.body.String(); !k.done && !strings.Contains(body, `"BodySHA256"`) {
		k.reply.text += "\n" + body
		replies.add(k.reply)
	}
	k.done = true
}

// head is what the header of a reply says that may hold no secret: not what a
// cookie is for, not a token that an application is configured to be told, and
// not what byProtocol lists, in a redirect to another host that is an
// authorization or a logout request.
func head(resp *http.Response, asked *url.URL) string {
	var b strings.Builder
	for name, values := range resp.Header {
		if name == "Set-Cookie" || name == "Authorization" || name == "X-Authentik-Jwt" {
			continue
		}
		for _, value := range values {
			if name == "Location" {
				value = withoutProtocol(value, asked)
			}
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	return b.String()
}

func withoutProtocol(location string, asked *url.URL) string {
	to, err := url.Parse(location)
	if err != nil || to.Host == "" || to.Host == asked.Host {
		return location
	}
	query := to.Query()
	if query.Get("response_type") != "code" && !query.Has("id_token_hint") && !query.Has("post_logout_redirect_uri") {
		return location
	}
	for _, name := range byProtocol {
		query.Del(name)
	}
	to.RawQuery = query.Encode()
	return to.String()
}

// box holds what the tests of this process have in common.
type box[T any] struct {
	mu  sync.Mutex
	all []T
}

func (b *box[T]) add(one T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, one)
}

func (b *box[T]) holds(is func(T) bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.all, is)
}

// take answers those that are meant, and forgets them.
func (b *box[T]) take(are func(T) bool) (taken []T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = slices.DeleteFunc(b.all, func(one T) bool {
		if !are(one) {
			return false
		}
		taken = append(taken, one)
		return true
	})
	return taken
}

var (
	replies box[reply]
	issuers box[string] // their ports; their pages are their own business
)

// within reports whether a test is another one or a subtest of it.
func within(test, other string) bool { return strings.HasPrefix(test+"/", other+"/") }

// leaks searches everything that akprox wrote, for all that is known to be
// secret: its output, the pages of its metrics listener (which are read while
// it runs, by scrape), and what clients were answered. Nil for another process.
func (p *Process) leaks(scraped string) []string {
	if p.cmd.document() == "" {
		return nil
	}
	p.cmd.noteSecrets()
	found := mark("its output", secrets.leaks(p.Output()))
	found = append(found, mark("its metrics listener", secrets.leaks(scraped))...)
	for _, r := range replies.take(func(r reply) bool { return within(r.test, p.t.Name()) || within(p.t.Name(), r.test) }) {
		found = append(found, mark("the reply to "+r.asked, secrets.leaks(r.text))...)
	}
	return found
}

func mark(where string, found []string) []string {
	for i := range found {
		found[i] = where + " holds " + found[i]
	}
	return found
}

// document is the file that an akprox serves; "" for another process.
func (c Cmd) document() string {
	if i := slices.Index(c.Args, "--config"); i > 0 && i+1 < len(c.Args) && c.Args[0] == "run" {
		return c.Args[i+1]
	}
	return ""
}

// settings are those that the search has to know.
func (c Cmd) settings() (doc yaml.Node, metrics, store string) {
	text, err := os.ReadFile(c.document())
	if err != nil {
		return doc, "", ""
	}
	var said struct {
		Server struct{ Metrics string }
		Store  struct{ Path string }
	}
	_ = yaml.Unmarshal(text, &doc) // a document that is not good is some test's point
	_ = yaml.Unmarshal(text, &said)
	if said.Store.Path == "" {
		said.Store.Path = "akprox-data"
	}
	return doc, said.Server.Metrics, c.path(said.Store.Path)
}

// path is where the process finds a file.
func (c Cmd) path(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(c.Dir, file)
}

// scrape answers the pages of the metrics listener; "" without one.
func (p *Process) scrape() string {
	if p.cmd.document() == "" || p.Pid() == 0 {
		return ""
	}
	_, metrics, _ := p.cmd.settings()
	if metrics == "" {
		return ""
	}
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, path := range []string{"/metrics", "/livez", "/readyz"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metrics+path, http.NoBody)
		if err != nil {
			return b.String()
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue // the test may have stopped or stunned it
		}
		_, _ = io.Copy(&b, resp.Body)
		_ = resp.Body.Close()
	}
	return b.String()
}

// inStore are the members of a record of the disk store that are secret.
var inStore = regexp.MustCompile(`"(nonce|verifier|refresh|id_token|access_token)":"([^"\\]+)"`)

// noteSecrets takes the secrets of the document and of a store on disk, where
// the tokens are that an issuer gave to nobody but akprox.
func (c Cmd) noteSecrets() {
	doc, _, store := c.settings()
	c.noteNode(&doc)
	if secret, err := os.ReadFile(filepath.Join(store, "secret")); err == nil {
		secrets.add("the kept secret", string(secret))
	}
	records, err := os.ReadFile(filepath.Join(store, "akprox.db"))
	if err != nil {
		return
	}
	for _, found := range inStore.FindAllSubmatch(records, -1) {
		secrets.add("the stored "+string(found[1]), string(found[2]))
	}
}

// noteNode takes the secrets of a part of a document: whatever is written as
// {value: …}, {file: …} or {env: …}, and the hashes.
func (c Cmd) noteNode(n *yaml.Node) {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1].Value
		switch {
		case key == "value", key == "hash", key == "password":
			secrets.add("the document's "+key, value)
		case key == "file" && len(n.Content) == 2:
			if text, err := os.ReadFile(c.path(value)); err == nil {
				secrets.add("a secret's file", strings.TrimSpace(string(text)))
			}
		case key == "env" && len(n.Content) == 2:
			for _, pair := range c.Env {
				if text, ok := strings.CutPrefix(pair, value+"="); ok {
					secrets.add("a secret's variable", text)
				}
			}
		}
	}
	for _, child := range n.Content {
		c.noteNode(child)
	}
}
