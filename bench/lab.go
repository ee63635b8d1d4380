package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// lab is what all trials share.
type lab struct {
	dir      string // goes with the lab
	cache    string // stays
	binary   string // akprox
	issuer   *issuer
	rounds   int
	requests int // of a round
	sessions int // of the large store

	profiles string // folder that CPU profiles of akprox are written to; "" for none

	redis *server // started by the first trial that needs it
	files int     // of this lab, for names
}

func newLab(rounds, requests, sessions int, profiles string) (*lab, error) {
	dir, err := os.MkdirTemp("", "akprox-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, rounds: rounds, requests: requests, sessions: sessions, profiles: profiles}
	caches, err := os.UserCacheDir()
	if err == nil {
		l.cache = filepath.Join(caches, "akprox", "bench")
		err = os.MkdirAll(l.cache, 0o750)
	}
	if err == nil {
		l.binary, err = l.build(".", "akprox", "./cmd/akprox")
	}
	if err == nil {
		l.issuer, err = newIssuer()
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() {
	if l.redis != nil {
		l.redis.kill()
	}
	if l.issuer != nil {
		l.issuer.close()
	}
	_ = os.RemoveAll(l.dir)
}

// build builds a program with the flags of the Dockerfile, from the module in
// folder.
func (l *lab) build(folder, name, pkg string) (string, error) {
	path := filepath.Join(l.dir, name)
	if folder != "." {
		path = filepath.Join(l.cache, name)
	}
	args := []string{"build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w -buildid= -X main.version=bench", "-o", path}
	if folder == "." {
		more, err := l.overlay()
		if err != nil {
			return "", err
		}
		args = append(args, more...)
	}
	cmd := exec.Command("go", append(args, pkg)...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// file answers the path of a new file or folder.
func (l *lab) file(name string) string {
	l.files++
	return filepath.Join(l.dir, fmt.Sprint(l.files, "-", name))
}

func (l *lab) write(name, text string) (string, error) {
	path := l.file(name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// server is a process that answers at at.
type server struct {
	cmd     *exec.Cmd
	at      target
	config  string // its document, of an akprox
	metrics string // its metrics listener, of an akprox
	up      time.Duration
	done    chan struct{} // closed once it has ended
}

func (s *server) kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // the group: workers too
	<-s.done
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// begin starts cmd in a group of its own and waits until it listens.
func begin(cmd *exec.Cmd, at target) (*server, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd: cmd, at: at, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(s.done)
	}()
	for time.Since(start) < 60*time.Second {
		if conn, err := at.dial(); err == nil {
			s.up = time.Since(start)
			_ = conn.Close()
			return s, nil
		}
		select {
		case <-s.done:
			return nil, fmt.Errorf("%s ended", cmd.Path)
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.kill()
	return nil, fmt.Errorf("%s does not listen on %s", cmd.Path, at)
}

func (l *lab) freeAddr() (target, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close() }()
	return target(listener.Addr().String()), nil
}

// startAkprox starts akprox with a document, in which ADDR, METRICS, ISSUER and
// REDIS stand for addresses. at is where it listens; "" is a free port.
func (l *lab) startAkprox(document string, at target) (*server, error) {
	var err error
	if at == "" {
		if at, err = l.freeAddr(); err != nil {
			return nil, err
		}
	}
	metrics, err := l.freeAddr()
	if err != nil {
		return nil, err
	}
	if document, err = l.hashed(document); err == nil {
		document, err = l.filled(document, at, metrics)
	}
	if err != nil {
		return nil, err
	}
	config, err := l.write("akprox.yaml", document)
	if err != nil {
		return nil, err
	}
	out, err := os.Create(l.file("log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(l.binary, "run", "--config", config)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, l.dir
	cmd.Env = append(os.Environ(), "AKPROX_BENCH_PROFILE="+filepath.Join(l.dir, "profile"))
	s, err := begin(cmd, at)
	if err != nil {
		log, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("%w\n%s", err, log[max(0, len(log)-2000):])
	}
	s.config, s.metrics = config, string(metrics)
	return s, s.ready()
}

func (l *lab) filled(document string, at, metrics target) (string, error) {
	pairs := []string{"ADDR", string(at), "METRICS", string(metrics), "ISSUER", "http://" + string(l.issuer.url), "OPTION", "", "PROVIDER", "", "RULE", ""}
	if strings.Contains(document, "REDIS") {
		if err := l.startRedis(); err != nil {
			return "", err
		}
		pairs = append(pairs, "REDIS", "redis://"+string(l.redis.at))
	}
	return strings.NewReplacer(pairs...).Replace(document), nil
}

// ready waits until the issuers have answered.
func (s *server) ready() error {
	for range 600 {
		resp, err := http.Get("http://" + s.metrics + "/readyz")
		if err == nil {
			var body bytes.Buffer
			_, _ = body.ReadFrom(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK && !strings.Contains(body.String(), "not ") && !strings.Contains(body.String(), "error") {
				time.Sleep(100 * time.Millisecond)
				return nil
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.New("akprox is not ready")
}

func (l *lab) startRedis() error {
	if l.redis != nil {
		return nil
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("%w: redis-server is not here", errMissing)
	}
	at, err := l.freeAddr()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(string(at), ":")
	l.redis, err = begin(exec.Command(path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", l.dir, "--loglevel", "warning"), at)
	return err
}

// errMissing says that a program which is no part of this repository is not
// on this machine.
var errMissing = errors.New("not measured")

func machine() string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		_, rest, _ := strings.Cut(string(text), "model name")
		_, rest, _ = strings.Cut(rest, ": ")
		model, _, _ = strings.Cut(rest, "\n")
	}
	return fmt.Sprintf("%s/%s, %s, %d processors, %s", runtime.GOOS, runtime.GOARCH, model, runtime.NumCPU(), runtime.Version())
}

func commit() string {
	out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	if changed, err := exec.Command("git", "status", "--porcelain", "--untracked-files=no").Output(); err == nil && len(changed) > 0 {
		name += " with changes"
	}
	return name
}
