package control_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/control"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store/disk"
)

// house is a disk store with sessions, in a folder whose name is short enough
// for a socket.
type house struct {
	folder string
	own    control.Own
	log    *bytes.Buffer
	logger *logrus.Logger
}

func newHouse(t *testing.T) *house {
	t.Helper()
	folder, err := os.MkdirTemp("", "akprox-control-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	st, err := disk.Open(folder, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	h := &house{folder: folder, log: &bytes.Buffer{}}
	h.logger = logrus.New()
	h.logger.SetOutput(h.log)
	h.own = control.Own{
		Store: st, Sessions: session.New(st, [][]byte{bytes.Repeat([]byte("k"), 32)}, session.Options{}),
		Providers: func() []string { return []string{"company", "people"} },
	}
	return h
}

// signIn makes a session and answers a look at whether it lives.
func (h *house) signIn(t *testing.T, provider, subject, user string) (lives func() bool) {
	t.Helper()
	app := &outpost.Application{
		Name: "wiki", Cookie: outpost.CookieReach{Name: "akprox_12345678"}, Session: outpost.Lifetimes{Idle: time.Hour, Absolute: 2 * time.Hour},
	}
	w := httptest.NewRecorder()
	g := &outpost.Grant{Identity: &outpost.Identity{Subject: subject, Username: user, Provider: provider, IDToken: "a-secret-token"}}
	if err := h.own.Sessions.Create(t.Context(), w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), app, g); err != nil {
		t.Fatal(err)
	}
	c := w.Result().Cookies()[0]
	return func() bool {
		_, err := h.own.Sessions.Current(context.Background(), app, http.Header{"Cookie": {c.Name + "=" + c.Value}})
		return err == nil
	}
}

func (h *house) serve(t *testing.T) control.Remote {
	t.Helper()
	stop, err := control.Serve(h.folder, h.own, h.logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	r, err := control.Dial(t.Context(), h.folder)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ask(t *testing.T, s control.Sessions, q control.Query) string {
	t.Helper()
	var out bytes.Buffer
	if err := q.Run(t.Context(), s, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The answers are the same whether the store is opened here or the process
// that has it is asked.
func TestListAndEnd(t *testing.T) {
	for name, sessions := range map[string]func(*testing.T, *house) control.Sessions{
		"the store itself":    func(_ *testing.T, h *house) control.Sessions { return h.own },
		"the running process": func(t *testing.T, h *house) control.Sessions { return h.serve(t) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			s := sessions(t, h)
			if got := ask(t, s, control.Query{Verb: "list"}); got != "nobody is signed in\n" {
				t.Errorf("got %q", got)
			}
			if got := ask(t, s, control.Query{Verb: "list", JSON: true}); got != "[]\n" {
				t.Errorf("got %q", got)
			}
			alice, again, namesake := h.signIn(t, "company", "s-alice", "alice"), h.signIn(t, "company", "s-alice", "alice"), h.signIn(t, "people", "s-alice", "alice")
			bob := h.signIn(t, "company", "s-bob", "bob \x1b[31m")
			table := ask(t, s, control.Query{Verb: "list"})
			lines := strings.Split(strings.TrimSpace(table), "\n")
			if len(lines) != 5 || !strings.HasPrefix(lines[0], "SUBJECT  USER") || strings.Index(lines[0], "PROVIDER") != strings.Index(lines[1], "company") {
				t.Errorf("the table is\n%s", table)
			}
			if strings.Contains(table, "\x1b") || strings.Contains(table, "token") {
				t.Errorf("the table holds what it must not: %q", table)
			}
			if got := ask(t, s, control.Query{Verb: "list", Subject: "s-alice", Provider: "people"}); strings.Count(got, "\n") != 2 {
				t.Errorf("one person at one provider:\n%s", got)
			}
			if got := ask(t, s, control.Query{Verb: "list", Subject: "s-bob", JSON: true}); !strings.Contains(got, `"subject": "s-bob"`) || !strings.Contains(got, `"application": "wiki"`) || strings.Contains(got, "token") {
				t.Errorf("JSON: %s", got)
			}
			if got := ask(t, s, control.Query{Verb: "end", Subject: "s-alice", Provider: "company"}); got != "2 sessions ended\n" {
				t.Errorf("got %q", got)
			}
			if alice() || again() || !namesake() || !bob() {
				t.Error("not those sessions, or others too")
			}
			if got := ask(t, s, control.Query{Verb: "end", Subject: "s-alice"}); got != "1 session ended\n" || namesake() {
				t.Errorf("at every provider: %q", got)
			}
			if got := ask(t, s, control.Query{Verb: "end", Subject: "s-alice"}); !strings.HasPrefix(got, `nobody with the subject "s-alice" is signed in`) {
				t.Errorf("nobody: %q", got)
			}
			if got := ask(t, s, control.Query{Verb: "end", Subject: "s-bob", JSON: true}); got != "{\"ended\":1}\n" || bob() {
				t.Errorf("JSON: %q", got)
			}
		})
	}
}

func TestManySessionsAreListedWhole(t *testing.T) {
	h := newHouse(t)
	s := h.serve(t)
	for range 300 {
		h.signIn(t, "company", "s", "u")
	}
	if got := strings.Count(ask(t, s, control.Query{Verb: "list"}), "\n"); got != 301 {
		t.Errorf("%d lines", got)
	}
}

func TestTheSocketIsClosedToOthers(t *testing.T) {
	h := newHouse(t)
	h.serve(t)
	info, err := os.Stat(filepath.Join(h.folder, "control.sock"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	folder, err := os.Stat(h.folder)
	if err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", folder, err)
	}
}

func TestASocketOfADeadProcessIsReplaced(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(h.folder, "control.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(t.Context(), h.folder); !errors.Is(err, control.ErrNobody) {
		t.Errorf("a dead one: %v", err)
	}
	stop, err := control.Serve(h.folder, h.own, h.logger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(t.Context(), h.folder); err != nil {
		t.Errorf("a new one: %v", err)
	}
	stop()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left behind: %v", err)
	}
	if _, err := control.Dial(t.Context(), h.folder); !errors.Is(err, control.ErrNobody) {
		t.Errorf("none: %v", err)
	}
}

func TestWhatIsNoSocketIsLeftAlone(t *testing.T) {
	h := newHouse(t)
	path := filepath.Join(h.folder, "control.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Serve(h.folder, h.own, h.logger); err == nil || !strings.Contains(err.Error(), "is no socket; remove it") {
		t.Errorf("got %v", err)
	}
	if text, err := os.ReadFile(path); string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := control.Serve(strings.Repeat("x", 100), h.own, h.logger); err == nil || !strings.Contains(err.Error(), "use a shorter store.path") {
		t.Errorf("got %v", err)
	}
}

func TestTheSocketTakesNothingElse(t *testing.T) {
	h := newHouse(t)
	h.serve(t)
	lives := h.signIn(t, "company", "s", "u")
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(h.folder, "control.sock"))
	}}}
	t.Cleanup(client.CloseIdleConnections)
	for name, row := range map[string]struct {
		method, path, body string
		status             int
	}{
		"no body":        {"POST", "/sessions/end", "", 400},
		"no subject":     {"POST", "/sessions/end", "{}", 400},
		"no JSON":        {"POST", "/sessions/end", "subject=s", 400},
		"by GET":         {"GET", "/sessions/end", "", 405},
		"another path":   {"GET", "/", "", 404},
		"a body too big": {"POST", "/sessions/end", `{"x":"` + strings.Repeat("x", 10<<10) + `","subject":"s"}`, 400},
	} {
		req, err := http.NewRequestWithContext(t.Context(), row.method, "http://akprox"+row.path, strings.NewReader(row.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != row.status {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
	if !lives() {
		t.Error("a session was ended")
	}
}

// What answers at the socket and is not akprox, or dies in the middle, is an
// error, never "nobody is signed in".
func TestAnAnswerThatIsNotWholeIsAnError(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":    "",
		"broken off": `{"session":{"subject":"s"}}` + "\n",
		"cut":        `{"session":{"sub`,
		"a page":     "<html>",
		"an error":   `{"error":"the store is silent"}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			l, err := net.Listen("unix", filepath.Join(h.folder, "control.sock"))
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }), ReadHeaderTimeout: time.Minute}
			go func() { _ = srv.Serve(l) }()
			t.Cleanup(func() { _ = srv.Close() })
			r, err := control.Dial(t.Context(), h.folder)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range []control.Query{{Verb: "list"}, {Verb: "end", Subject: "s"}} {
				var out bytes.Buffer
				if err := q.Run(t.Context(), r, &out); err == nil || out.Len() > 0 {
					t.Errorf("%s: %v %q", q.Verb, err, out.String())
				}
			}
		})
	}
}

func TestTheWordsOfAQuery(t *testing.T) {
	for _, row := range []struct {
		q    control.Query
		want string
	}{
		{control.Query{Verb: "list"}, ""},
		{control.Query{Verb: "end", Subject: "s"}, ""},
		{control.Query{Verb: "end"}, "--subject is missing"},
		{control.Query{Verb: "stop"}, "there are list and end"},
	} {
		err := row.q.Check()
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%+v: %v", row.q, err)
		}
	}
}
