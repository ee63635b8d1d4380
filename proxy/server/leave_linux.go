package server

import (
	"net"
	"os"
	"syscall"
)

// maxWaiting bounds what is taken at once; the kernel keeps 4,096 by itself.
const maxWaiting = 4096

// takeWaiting takes what the kernel has accepted.
func takeWaiting(l net.Listener) (taken []net.Conn) {
	s, ok := l.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) {
		for len(taken) < maxWaiting {
			c, _, err := syscall.Accept4(int(fd), syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK)
			switch err {
			case nil:
			case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO:
				continue
			default: // EAGAIN: nobody waits
				return
			}
			f := os.NewFile(uintptr(c), "")
			if conn, err := net.FileConn(f); err == nil { // it has a descriptor of its own
				taken = append(taken, conn)
			}
			_ = f.Close()
		}
	})
	return taken
}
