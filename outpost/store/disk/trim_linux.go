package disk

import (
	"syscall"

	bolt "go.etcd.io/bbolt"
)

// trimFrom is the size of a file, in bytes, below which trim does nothing.
const trimFrom = 32 << 20

// trim takes the file's pages out of the process's resident memory, where each
// one read or written would stay for ever, with its neighbours. The kernel
// still caches what it has room for, so the next read maps a page again without
// the disk.
func trim(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error { // bbolt moves its mapping only while nobody reads
		if tx.Size() < trimFrom {
			return nil
		}
		_, _, errno := syscall.Syscall(syscall.SYS_MADVISE, db.Info().Data, uintptr(tx.Size()), syscall.MADV_DONTNEED)
		if errno != 0 {
			return errno
		}
		return nil
	})
}
