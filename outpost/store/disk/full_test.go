//go:build linux || darwin

package disk_test

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
)

// fillUp lets the disk seem full, by the limit of a file's size, and then free
// again. It prints the keys that were acknowledged.
func fillUp(dir string) error {
	signal.Ignore(syscall.SIGXFSZ) // the write then fails with EFBIG
	s, err := disk.Open(dir, disk.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		return err
	}
	for round := range 3 {
		limit := syscall.Rlimit{Cur: uint64(round+1) << 18, Max: old.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			return err
		}
		if err := putUntilFull(s, round); err != nil {
			return err
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			return err
		}
		key := fmt.Sprint("after:", round)
		if err := s.Put(context.Background(), key, item(key)); err != nil {
			return fmt.Errorf("a write once there is room: %w", err)
		}
		fmt.Println(key)
	}
	return nil
}

func putUntilFull(s *disk.Store, round int) error {
	for i := range 10_000 {
		key := fmt.Sprint("session:", round, "-", i)
		err := s.Put(context.Background(), key, item(key))
		if err == nil {
			fmt.Println(key)
			continue
		}
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, disk.ErrDamaged) {
			return fmt.Errorf("a write on a full disk: %w, want ErrUnavailable", err)
		}
		if _, err := s.Get(context.Background(), key); !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("the write that failed: %w, want ErrNotFound", err)
		}
		if _, err := s.Get(context.Background(), fmt.Sprint("session:", round, "-0")); err != nil {
			return fmt.Errorf("a read on a full disk: %w", err)
		}
		return nil
	}
	return errors.New("the disk was never full")
}
