package limit

import (
	"context"
	"math"
	"time"
)

// maxKeys is how many keys a Memory counts at once.
const maxKeys = 100_000

// marks is how finely a window is kept: up to so many requests are kept one
// by one, more are kept by such a part of the window.
const marks = 32

// forever is the longest duration that is counted in, so that adding two of
// them is a duration still.
const forever = math.MaxInt64 / 2

// Memory limits a rate, counted in this process alone. No window of the given
// length, wherever it begins, holds more admitted requests than the limit. A
// limit of up to 32 requests is exact. With a higher one a request may count
// for up to a 32nd of the window too long, never too short.
//
// It counts the 100,000 keys that asked last and begins afresh with a key
// that it dropped. Refused requests are not counted, so that who waits as
// long as it was told is admitted.
type Memory struct {
	requests   int
	per, grain int64 // nanoseconds
	clock      func() int64
	windows    *table[window]
}

// New makes a Memory that admits requests in every window of the length per.
// When either is not positive, it admits nothing. now is time.Now when nil.
func New(requests int, per time.Duration, now func() time.Time) *Memory {
	if per <= 0 {
		requests, per = 0, time.Second
	}
	m := &Memory{requests: max(requests, 0), per: min(int64(per), forever), clock: since(now)}
	if requests > marks {
		m.grain = m.per / marks
	}
	m.windows = newTable(maxKeys, func(w *window, now int64) bool { return w.idle(now - m.per) })
	return m
}

// Take counts one request of key and says whether it is admitted. It does not
// wait and its error is always nil.
func (m *Memory) Take(_ context.Context, key string) (Limit, error) {
	now := m.clock()
	s := m.windows.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.use(key, now).take(m, now), nil
}

// Full reports whether Take would refuse key now. It counts nothing.
func (m *Memory) Full(key string) bool {
	now := m.clock()
	s := m.windows.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.find(key)
	if w == nil {
		return m.requests == 0
	}
	w.forget(now - m.per)
	return w.sum >= m.requests
}

// window is what one key was admitted for, oldest first.
type window struct {
	marks []mark
	sum   int
	began int64 // when the newest mark began
}

// mark is n requests, the last of them at a time.
type mark struct {
	at int64
	n  int
}

func (w *window) take(m *Memory, now int64) Limit {
	if last := len(w.marks) - 1; last >= 0 {
		now = max(now, w.marks[last].at) // a clock that goes back lets nobody in
	}
	w.forget(now - m.per)
	l := Limit{OK: w.sum < m.requests, Limit: m.requests, Window: time.Duration(m.per)}
	if l.OK {
		w.add(now, m.grain)
	}
	l.Remaining = m.requests - w.sum
	if len(w.marks) > 0 {
		l.Reset = time.Duration(w.marks[0].at + m.per - now)
	}
	if !l.OK {
		l.RetryAfter = l.Reset
		if m.requests == 0 {
			l.RetryAfter = l.Window
		}
	}
	return l
}

// forget drops what happened until then.
func (w *window) forget(then int64) {
	gone := 0
	for gone < len(w.marks) && w.marks[gone].at <= then {
		w.sum -= w.marks[gone].n
		gone++
	}
	if gone > 0 {
		w.marks = w.marks[:copy(w.marks, w.marks[gone:])]
	}
}

// add counts one more request. It joins the newest mark for as long as that
// spans less than grain; the mark then ends now, which keeps its earlier
// requests too long rather than this one too short.
func (w *window) add(now, grain int64) {
	w.sum++
	if last := len(w.marks) - 1; last >= 0 && now-w.began < grain {
		w.marks[last].at = now
		w.marks[last].n++
		return
	}
	w.began = now
	w.marks = append(w.marks, mark{at: now, n: 1})
}

func (w *window) idle(then int64) bool {
	return len(w.marks) == 0 || w.marks[len(w.marks)-1].at <= then
}
