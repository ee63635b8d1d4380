//go:build !linux

package parts

import "syscall"

// ownGroup puts a process into a group of its own, so that it can be ended
// with its children.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
