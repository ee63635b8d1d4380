package server

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"testing"
)

func Test_listener_that_leaves_still_answers_who_was_waiting(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // the kernel is not asked
	}
	for _, network := range []string{"tcp", "unix"} {
		address := "127.0.0.1:0"
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
		}
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		g := &gentle{Listener: l}
		var clients []net.Conn
		for range 30 {
			c, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			clients = append(clients, c)
		}
		g.leave()
		if c, err := net.Dial(network, l.Addr().String()); err == nil {
			_ = c.Close()
			t.Errorf("%s: it still listens", network)
		}
		for range clients {
			c, err := g.Accept()
			if err != nil {
				t.Fatalf("%s: %v", network, err)
			}
			_, err = io.WriteString(c, "x")
			if err := errors.Join(err, c.Close()); err != nil {
				t.Errorf("%s: %v", network, err)
			}
		}
		if _, err := g.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", network, err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("%s: %v", network, err)
		}
		for _, c := range clients {
			if b, err := io.ReadAll(c); string(b) != "x" || err != nil {
				t.Errorf("%s: %q %v", network, b, err)
			}
		}
	}
}

func Test_accept_that_waits_ends_with_its_listener(t *testing.T) {
	for name, end := range map[string]func(*gentle){"leave": (*gentle).leave, "Close": func(g *gentle) { _ = g.Close() }} {
		for range 20 {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			g := &gentle{Listener: l}
			ended := make(chan error)
			go func() {
				_, err := g.Accept()
				ended <- err
			}()
			end(g)
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
			if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
				_ = c.Close()
				t.Errorf("%s: it still listens", name)
			}
		}
	}
}
