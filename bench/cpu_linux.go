package main

import (
	"syscall"
	"time"
	"unsafe"
)

// cpu answers the CPU time, user and system, that a process has used: its CPU
// clock, which counts in nanoseconds where /proc/PID/stat counts in ticks
// (clock_getcpuclockid(3)).
func cpu(pid int) (time.Duration, error) {
	var at syscall.Timespec
	clock := uintptr(^int32(pid)<<3 | 2)
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&at)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(at.Nano()), nil
}
