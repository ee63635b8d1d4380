package server

import (
	"net"
	"syscall"
)

// maxWaiting bounds what one Close takes; the kernel keeps 4,096 by itself.
const maxWaiting = 4096

// takeWaiting takes what the kernel has accepted, and answers it by descriptor.
func takeWaiting(l net.Listener) (taken []int) {
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
				taken = append(taken, c)
			case syscall.EINTR, syscall.ECONNABORTED:
			default: // EAGAIN: nobody waits
				return
			}
		}
	})
	return taken
}
