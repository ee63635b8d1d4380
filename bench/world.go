package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/cmd/akprox/demo"
)

// world is what all cases share: the binary, an issuer, a folder.
type world struct {
	dir, binary, issuer string
	listener            net.Listener
}

func newWorld(dir, binary string) (*world, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, binary: binary, issuer: "http://" + l.Addr().String(), listener: l}
	h, err := demo.NewIssuer(w.issuer, demo.Client{ID: "akprox", Secret: "bench-secret", Redirects: []string{"http://wiki.example.test"}}, demo.Users())
	if err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(l, h) }()
	return w, nil
}

func (w *world) stop() { _ = w.listener.Close() }

// server is a process that answers at addr.
type server struct {
	cmd  *exec.Cmd
	addr string
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// cpu answers the process's user and system time (proc(5), fields 14 and 15).
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err
}

// begin starts cmd and waits until it listens on addr.
func begin(cmd *exec.Cmd, addr string) (*server, error) {
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd, addr}
	for range 100 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			return s, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.kill()
	return nil, fmt.Errorf("%s does not listen on %s", cmd.Path, addr)
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

func (w *world) startAkprox(c benchCase) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(w.dir, "akprox.yaml")
	text := strings.NewReplacer(append(c.edits, "ADDR", addr, "ISSUER", w.issuer)...).Replace(document)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(w.dir, "log"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(w.binary, "run", "--config", config)
	cmd.Stdout = out
	s, err := begin(cmd, addr)
	if err == nil {
		time.Sleep(300 * time.Millisecond) // the issuer's first answer
	}
	return s, err
}

func (w *world) startFloor(c benchCase) (*server, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "floor")
	cmd.Env = append(os.Environ(), "FLOOR_ADDR="+addr, "FLOOR_STATUS="+c.status, "FLOOR_HEADERS="+c.floor)
	return begin(cmd, addr)
}

// serveFloor is a bare net/http server that sets the reply headers of a case.
func serveFloor() {
	var headers [][2]string
	for line := range strings.SplitSeq(os.Getenv("FLOOR_HEADERS"), "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			headers = append(headers, [2]string{http.CanonicalHeaderKey(name), value})
		}
	}
	status, err := strconv.Atoi(os.Getenv("FLOOR_STATUS"))
	if err != nil {
		status = http.StatusOK
	}
	s := &http.Server{Addr: os.Getenv("FLOOR_ADDR"), ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, h := range headers {
			w.Header()[h[0]] = []string{h[1]}
		}
		w.WriteHeader(status)
	})}
	_ = s.ListenAndServe()
}

var field = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

// signIn signs alice in and answers the Cookie header's value.
func (w *world) signIn(akprox string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	c := &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if strings.HasPrefix(addr, "wiki.example.test") {
				addr = akprox
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}},
	}
	next := "http://wiki.example.test/akprox/start?rd=/"
	for range 8 {
		resp, err := c.Get(next)
		if err != nil {
			return "", err
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if next = resp.Header.Get("Location"); next != "" && !strings.Contains(next, "/akprox/") && !strings.Contains(next, "/authorize") {
			break
		}
		if next != "" {
			continue
		}
		_, form, _ := strings.Cut(string(body), `id="user-alice"`)
		form, _, _ = strings.Cut(form, "</form>")
		values := url.Values{}
		for _, m := range field.FindAllStringSubmatch(form, -1) {
			values.Set(m[1], strings.ReplaceAll(m[2], "&amp;", "&"))
		}
		if resp, err = c.PostForm(w.issuer+"/authorize", values); err != nil {
			return "", err
		}
		_ = resp.Body.Close()
		next = resp.Header.Get("Location")
	}
	var pairs []string
	for _, k := range jar.Cookies(&url.URL{Scheme: "http", Host: "wiki.example.test", Path: "/"}) {
		pairs = append(pairs, k.Name+"="+k.Value)
	}
	if len(pairs) == 0 {
		return "", fmt.Errorf("no session after the sign-in, last seen %s", next)
	}
	return strings.Join(pairs, "; "), nil
}
