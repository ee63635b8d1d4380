package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// unixPrefix begins the address of a unix socket.
const unixPrefix = "unix:"

// listen binds one address.
func listen(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return listenUnix(path)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w%s", address, err, mend(err))
	}
	return l, nil
}

// mend says what to do about the usual errors.
func mend(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "; stop the program that listens there, or choose another port"
	case errors.Is(err, syscall.EACCES):
		return "; choose a port above 1023, or give the program CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "; this machine does not have that address: use one that it has, or none before the colon for all"
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "; write an address of this machine, or none before the colon for all"
	}
	return ""
}

// listenUnix binds a socket file that its owner and group may use (0660); it
// goes away when the listener is closed. Who may connect is trusted, so a
// socket without a file, which has no permissions, is refused.
func listenUnix(path string) (net.Listener, error) {
	if path == "" || path[0] == '@' {
		return nil, fmt.Errorf("unix:%s names no file; write unix:/run/akprox.sock, say", path)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on unix:%s: %w; its folder must exist and be writable, and the path be shorter than 108 bytes", path, err)
	}
	if err := os.Chmod(path, 0o660); err != nil { //nolint:gosec // G302: the reverse proxy's group may connect
		_ = l.Close()
		return nil, fmt.Errorf("unix:%s: %w", path, err)
	}
	return l, nil
}

// removeStale removes a socket file that a program which was killed has left.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unix:%s: %w", path, err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("unix:%s: a file that is no socket is there; remove it or choose another path", path)
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("unix:%s: another program listens there; stop it or choose another path", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("unix:%s: a socket is there, and whether anybody listens on it cannot be told: %w", path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("unix:%s: cannot remove what a killed program left: %w", path, err)
	}
	return nil
}
