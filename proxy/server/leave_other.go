//go:build !linux

package server

import "net"

// takeWaiting takes nobody: only Linux is asked.
func takeWaiting(net.Listener) []net.Conn { return nil }
