package server

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// gentle is a listener that can leave. What the kernel has accepted and nobody
// here has yet would be reset by a mere Close, and with it a proxy's POST, which
// no proxy sends twice.
type gentle struct {
	net.Listener

	leaving   atomic.Bool
	accepting sync.Mutex // held while the listener is asked
	once      sync.Once  // for the last question
	left      []net.Conn // what it brought
}

// Accept implements net.Listener. After leave it answers those who waited, and
// then net.ErrClosed.
func (g *gentle) Accept() (net.Conn, error) {
	g.accepting.Lock()
	defer g.accepting.Unlock()
	if !g.leaving.Load() {
		c, err := g.Listener.Accept()
		if err == nil || !g.leaving.Load() {
			return c, err
		}
	}
	g.once.Do(g.last)
	if len(g.left) == 0 {
		return nil, net.ErrClosed
	}
	c := g.left[0]
	g.left = g.left[1:]
	return c, nil
}

// leave closes the listener, and keeps those who are waiting for Accept.
func (g *gentle) leave() {
	g.leaving.Store(true)
	// An Accept that waits would keep the socket open until it is scheduled
	// again, and who comes meanwhile would be lost.
	if l, ok := g.Listener.(interface{ SetDeadline(t time.Time) error }); !ok || l.SetDeadline(time.Unix(0, 1)) != nil {
		_ = g.Listener.Close()
	}
	g.accepting.Lock()
	defer g.accepting.Unlock()
	g.once.Do(g.last)
}

func (g *gentle) last() {
	g.left = takeWaiting(g.Listener)
	_ = g.Listener.Close()
}

// Close implements net.Listener. After leave there is nothing to close.
func (g *gentle) Close() error {
	if g.leaving.Load() {
		return nil
	}
	return g.Listener.Close()
}
