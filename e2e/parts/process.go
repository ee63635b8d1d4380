package parts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Cmd says how to start a process and how to know that it is up.
type Cmd struct {
	// Name is for messages.
	Name string
	// Path is the program.
	Path string
	// Args are its arguments, without the program itself.
	Args []string
	// Env is added to PATH and HOME; nothing else is inherited.
	Env []string
	// Dir is the working directory.
	Dir string
	// Port is where it will listen on 127.0.0.1; see Process.Addr.
	Port int
	// Ready returns nil once it is up. Without it ReadyURL has to answer 200,
	// and without that Port has to take connections.
	Ready    func() error
	ReadyURL string
	// Timeout is how long to wait for that; three minutes if zero.
	Timeout time.Duration
	// Hangs says that it may hang at its start; it is then killed and started
	// once more.
	Hangs bool
}

// Process is a started part.
type Process struct {
	t   testing.TB
	cmd Cmd
	out output

	mu   sync.Mutex
	run  *exec.Cmd
	done chan struct{} // closed when run has ended
}

// stopGrace is how long a process may take to end by itself.
const stopGrace = time.Minute

// Start starts the process, waits until it is up, and ends it with the test.
// Its output is logged if the test failed. The test fails if it is an akprox
// that wrote a secret anywhere; see Secret.
func Start(t testing.TB, c Cmd) *Process {
	t.Helper()
	Need(t)
	if c.Timeout == 0 {
		c.Timeout = 3 * time.Minute
	}
	p := &Process{t: t, cmd: c}
	switch c.Name {
	case "dex", "oidc-provider", "hydra":
		issuers.add(strconv.Itoa(c.Port))
	}
	t.Cleanup(func() {
		scraped := p.scrape()
		p.Stop()
		for _, leak := range p.leaks(scraped) {
			t.Error(leak)
		}
		if t.Failed() {
			most := 2 << 10
			if c.Name == "akprox" {
				most = 8 << 10
			}
			t.Logf("output of %s:\n%s", c.Name, p.out.tail(most))
		}
	})
	p.start()
	return p
}

// Addr is the process's host and port.
func (p *Process) Addr() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.cmd.Port))
}

// Port is the process's port.
func (p *Process) Port() int { return p.cmd.Port }

// Pid is the process's id, or 0 while it is stopped.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return 0
	}
	return p.run.Process.Pid
}

// Output is all that the process wrote so far, over all its restarts.
func (p *Process) Output() string { return p.out.tail(0) }

// Signal sends a signal to the process.
func (p *Process) Signal(sig syscall.Signal) {
	p.t.Helper()
	pid := p.Pid()
	if pid == 0 {
		p.t.Fatalf("%s does not run", p.cmd.Name)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		p.t.Fatalf("signal to %s: %v", p.cmd.Name, err)
	}
}

// Stop asks the process to end, waits, and kills it if it does not.
func (p *Process) Stop() { p.end(syscall.SIGTERM) }

// Kill ends the process without a chance to tidy up.
func (p *Process) Kill() { p.end(syscall.SIGKILL) }

// Restart stops the process if it runs and starts it again as it was, on the
// same port, with the environment variables given added or replaced.
func (p *Process) Restart(env ...string) {
	p.t.Helper()
	p.Stop()
	p.cmd.Env = append(p.cmd.Env, env...) // the last of a name counts
	p.start()
}

func (p *Process) end(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == nil {
		return
	}
	pid := p.run.Process.Pid
	if sig != syscall.SIGKILL {
		_ = syscall.Kill(pid, sig)             // may have ended by itself
		_ = syscall.Kill(pid, syscall.SIGCONT) // while stopped it does not see sig
		select {
		case <-p.done:
		case <-time.After(stopGrace):
			p.t.Errorf("%s did not end within %v of %v", p.cmd.Name, stopGrace, sig)
		}
	}
	// The group: workers of a killed master, and whatever else is left.
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-p.done
	p.run = nil
	// The kernel may take a moment to close the sockets of a killed worker.
	for range 100 {
		if p.cmd.Port == 0 || connects(p.Addr()) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.t.Errorf("something still listens on %s after %s ended", p.Addr(), p.cmd.Name)
}

func (p *Process) start() {
	p.t.Helper()
	err := p.launch()
	if errors.Is(err, errNotUp) && p.cmd.Hangs {
		p.end(syscall.SIGKILL)
		err = p.launch()
	}
	if err != nil {
		p.t.Fatalf("%s did not come up: %v\n%s", p.cmd.Name, err, p.out.tail(4<<10))
	}
}

var errNotUp = errors.New("not up")

func (p *Process) launch() error {
	p.t.Helper()
	// The path and the arguments are the test's own.
	run := exec.Command(p.cmd.Path, p.cmd.Args...) // #nosec G204
	run.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GORACE=" + os.Getenv("GORACE")}, p.cmd.Env...)
	run.Dir = p.cmd.Dir
	run.Stdout, run.Stderr = &p.out, &p.out
	run.WaitDelay = time.Second // a child that outlives it may hold the pipe
	run.SysProcAttr = ownGroup()
	if err := run.Start(); err != nil {
		p.t.Fatalf("start %s: %v", p.cmd.Name, err)
	}
	done := make(chan struct{})
	go func() {
		_ = run.Wait() // how it ended shows in the output
		close(done)
	}()
	p.mu.Lock()
	p.run, p.done = run, done
	p.mu.Unlock()

	return p.await(done)
}

// await polls until the process is up, has ended or takes too long.
func (p *Process) await(done <-chan struct{}) error {
	ready := p.cmd.Ready
	switch {
	case ready != nil:
	case p.cmd.ReadyURL != "":
		ready = func() error { return answers(p.cmd.ReadyURL) }
	case p.cmd.Port != 0:
		ready = func() error { return connects(p.Addr()) }
	default:
		return nil
	}
	deadline := time.Now().Add(p.cmd.Timeout)
	for {
		err := ready()
		select {
		case <-done:
			return errors.New("it ended")
		default:
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w within %v: %w", errNotUp, p.cmd.Timeout, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func connects(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func answers(url string) error { return answersWithin(2*time.Second, url) }

func answersWithin(most time.Duration, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// tail returns the last n bytes, or all of them if n is 0.
func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.buf.String()
	if n > 0 && len(s) > n {
		s = s[len(s)-n:]
		_, s, _ = strings.Cut(s, "\n")
	}
	return s
}
