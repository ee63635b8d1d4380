package disk

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

// maxBatch bounds the writes of one transaction.
const maxBatch = 1024

// op is one write that waits for the writer.
type op struct {
	apply func(*tables) error
	done  chan error // takes one answer without blocking
}

// errClean ends a transaction that changed nothing, so that it costs no commit.
var errClean = errors.New("nothing changed")

// write hands a change to the writer and waits until it is on the disk. When
// the context ends first, the change may or may not happen.
func (s *Store) write(ctx context.Context, doing string, apply func(*tables) error) error {
	if err := ctx.Err(); err != nil {
		return unavailable(doing, err)
	}
	o := op{apply: apply, done: make(chan error, 1)}
	select {
	case s.queue <- o:
	case <-s.stop:
		return unavailable(doing, errClosed)
	case <-ctx.Done():
		return unavailable(doing, ctx.Err())
	}
	select {
	case err := <-o.done:
		if err != nil {
			return unavailable(doing, err)
		}
		return nil
	case <-ctx.Done():
		return unavailable(doing, ctx.Err())
	}
}

// run is the writer: the only goroutine that changes the file. A write that
// comes alone is committed at once; those that come while a commit is under way
// share the next one.
func (s *Store) run(sweepEvery time.Duration) {
	defer close(s.stopped)
	timer := time.NewTimer(sweepEvery)
	defer timer.Stop()
	for {
		select {
		case <-s.stop:
			return
		case first := <-s.queue:
			s.commit(s.gather(first))
		case <-timer.C:
			if s.sweep() == chunk {
				timer.Reset(0) // there is more, but writes that wait get their turn
				continue
			}
			// Only memory is at stake: a failure is tried again next time.
			_ = guarded(func() error { return trim(s.db) })
			timer.Reset(sweepEvery)
		}
	}
}

// gather answers first and the writes that wait beside it.
func (s *Store) gather(first op) []op {
	batch := []op{first}
	for len(batch) < maxBatch {
		select {
		case o := <-s.queue:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// commit applies the writes in one transaction, all or none, and answers each.
func (s *Store) commit(batch []op) {
	err := s.update(func(t *tables) error {
		for _, o := range batch {
			if err := o.apply(t); err != nil {
				return err
			}
		}
		return nil
	})
	for _, o := range batch {
		o.done <- err
	}
}

// sweep removes a chunk of what expired and says how many. A failure is tried
// again at the next tick; whoever writes meets the same one and reports it.
func (s *Store) sweep() int {
	n := 0
	err := s.update(func(t *tables) (err error) {
		n, err = t.sweep(s.now())
		return err
	})
	if err != nil {
		return 0
	}
	return n
}

// update runs one write transaction. After a panic in bbolt its locks and its
// view of the free pages are unknown, so nothing is written any more.
func (s *Store) update(change func(*tables) error) error {
	if s.broken != nil {
		return s.broken
	}
	panicked := true
	err := guarded(func() error {
		err := s.db.Update(func(tx *bolt.Tx) error {
			t := openTables(tx)
			if err := change(t); err != nil {
				return err
			}
			if !t.dirty {
				return errClean
			}
			return t.flush()
		})
		panicked = false
		return err
	})
	if panicked {
		s.broken = err
	}
	if errors.Is(err, errClean) {
		return nil
	}
	return err
}

// guarded turns a panic of bbolt, which meets a damaged page by panicking, and
// a fault in the mapped file into an error.
func guarded(do func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // the runtime's word for a fault
			err = fmt.Errorf("%w: a page is missing or cannot be read", ErrDamaged)
		default:
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return do()
}
