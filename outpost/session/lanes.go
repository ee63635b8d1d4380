package session

import (
	"context"
	"sync"
)

// How many renewals are under way towards one issuer, and how many wait. One
// that finds no room is left to a later request.
const (
	maxRunning = 16
	maxWaiting = 4096
)

// lanes runs renewals in the background, a few at a time for each party. Its
// zero value is ready.
type lanes struct {
	mu     sync.Mutex
	by     map[string]*lane
	closed bool
	jobs   sync.WaitGroup      // those that run
	taken  map[string]struct{} // sessions that are renewed, or to be left alone
}

type lane struct {
	running int
	waiting []func()
}

// take takes the turn to renew the session under key, and reports whether it
// was free.
func (l *lanes) take(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, taken := l.taken[key]; taken {
		return false
	}
	if l.taken == nil {
		l.taken = map[string]struct{}{}
	}
	l.taken[key] = struct{}{}
	return true
}

// give gives the turn back.
func (l *lanes) give(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.taken, key)
}

// begin runs job now or when it is its turn, and reports whether it will.
func (l *lanes) begin(party string, job func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	at := l.by[party]
	if at == nil {
		if l.by == nil {
			l.by = map[string]*lane{}
		}
		at = &lane{}
		l.by[party] = at
	}
	switch {
	case at.running < maxRunning:
		at.running++
		l.jobs.Go(func() { l.run(party, at, job) })
	case len(at.waiting) < maxWaiting:
		at.waiting = append(at.waiting, job)
	default:
		return false
	}
	return true
}

func (l *lanes) run(party string, at *lane, job func()) {
	for job != nil {
		job()
		job = l.next(party, at)
	}
}

func (l *lanes) next(party string, at *lane) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(at.waiting) == 0 {
		if at.running--; at.running == 0 {
			delete(l.by, party)
		}
		return nil
	}
	job := at.waiting[0]
	at.waiting[0] = nil
	at.waiting = at.waiting[1:]
	return job
}

// close begins nothing more and waits for what runs, or for ctx.
func (l *lanes) close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	done := make(chan struct{})
	go func() { l.jobs.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
