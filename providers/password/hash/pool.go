package hash

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	maxWaiting = 128 // that wait for their turn
	maxWait    = 10 * time.Second
)

// ErrBusy says that a password was not looked at.
var ErrBusy = errors.New("not now")

// Pool bounds how many passwords are checked at once, since each takes many
// milliseconds of a processor and many MiB. Up to 128 more wait, for up to 10
// seconds.
type Pool struct {
	turns   chan struct{}
	waiting atomic.Int64
	checked atomic.Int64
}

// NewPool makes a Pool for so many at once, at least one.
func NewPool(parallel int) *Pool { return &Pool{turns: make(chan struct{}, max(parallel, 1))} }

// Enter waits for its turn. The error wraps ErrBusy: too many
// wait already, or the wait took too long, or ctx ended. Without an error,
// Leave ends the turn.
func (p *Pool) Enter(ctx context.Context) error {
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return fmt.Errorf("too many passwords wait for being checked: %w", ErrBusy)
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("a password waited %s for being checked: %w", maxWait, ErrBusy)
	case <-ctx.Done():
		return fmt.Errorf("a password waited for being checked: %w: %w", ErrBusy, context.Cause(ctx))
	}
}

// Leave ends a turn.
func (p *Pool) Leave() { <-p.turns }

// Matches does Hash.Matches in a turn that Enter gave, and counts it.
func (p *Pool) Matches(h *Hash, password []byte) bool {
	p.checked.Add(1)
	return h.Matches(password)
}

// Checked answers how many passwords have been checked.
func (p *Pool) Checked() int64 { return p.checked.Load() }
