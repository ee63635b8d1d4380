package parts

import "syscall"

// ownGroup puts a process into a group of its own, so that it can be ended
// with its children, and has the kernel end it when the test binary dies
// without running its cleanups (a panic, or go test's own timeout).
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
