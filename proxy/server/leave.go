package server

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// gentle is a listener that loses nobody when it closes. A proxy's connection
// that the kernel has taken and nobody here has yet would be reset, and with it
// a POST, which no proxy sends twice. So Close takes those, and Accept answers
// them before it answers the error.
type gentle struct {
	net.Listener

	closing   atomic.Bool
	accepting sync.Mutex // held while the listener is asked
	left      []net.Conn // once it is closed
}

// Accept implements net.Listener.
func (g *gentle) Accept() (net.Conn, error) {
	g.accepting.Lock()
	defer g.accepting.Unlock()
	c, err := g.Listener.Accept()
	if err == nil {
		return c, nil
	}
	if !g.closing.Load() {
		return nil, err
	}
	_ = g.close()
	if len(g.left) == 0 {
		return nil, net.ErrClosed
	}
	c, g.left = g.left[0], g.left[1:]
	return c, nil
}

// Close implements net.Listener.
func (g *gentle) Close() error {
	// An Accept that waits would keep the socket open until it is scheduled
	// again, and who comes meanwhile would be lost.
	l, ok := g.Listener.(interface{ SetDeadline(t time.Time) error })
	if !ok {
		return g.Listener.Close()
	}
	g.closing.Store(true)
	if err := l.SetDeadline(time.Unix(0, 1)); err != nil {
		return err // closed before
	}
	g.accepting.Lock()
	defer g.accepting.Unlock()
	return g.close()
}

func (g *gentle) close() error {
	waiting := takeWaiting(g.Listener)
	err := g.Listener.Close()
	for _, fd := range waiting {
		f := os.NewFile(uintptr(fd), "")
		if c, err := net.FileConn(f); err == nil { // it has a descriptor of its own
			g.left = append(g.left, c)
		}
		_ = f.Close()
	}
	return err
}
