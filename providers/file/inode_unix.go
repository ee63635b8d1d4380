//go:build unix

package file

import (
	"os"
	"syscall"
)

// sysID tells a file from the one that replaced it.
func sysID(info os.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
