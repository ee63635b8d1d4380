package limit

import (
	"context"
	"time"
)

// Tally is one thing to count, and the numbers that it is counted by. They are
// not kept: whoever counts the same key by others sees what is kept by theirs.
type Tally struct {
	// Key names what is counted. It may be of any length and hold an address
	// or a name: a Tallier keeps a digest of it alone.
	Key string
	// Most is how many a window may hold, at least 1. Up to Marks are kept one
	// by one; of more, those of one Marks-th of the window are kept together
	// and leave together, with the last of them.
	Most int
	// Window is how long one counts, to the microsecond: from a millisecond to
	// a hundred years.
	Window time.Duration
	// Ban, when above 0, begins when Most are in one window: they are
	// forgotten then, and for so long nothing is counted. Bounds as of Window.
	Ban time.Duration
	// Add is 1 to count one more, 0 to look, and -n to take back up to n of
	// those counted last.
	Add int
}

// Marks is how many of a window a Tallier keeps one by one.
const Marks = 32

// Tallied is what became of a Tally.
type Tallied struct {
	Counted int           // 1, or 0 when there was no room or a ban; -n when n were taken back
	Sum     int           // in the window now
	Reset   time.Duration // until the oldest of them leaves; 0 when there is none
	Banned  time.Duration // how long the ban lasts from now on; 0 without one
	At      time.Time     // now, as the store has it, to the microsecond
}

// Tallier is an optional power of a store (package store) that several processes share: it
// counts for all of them. Each Tally is one round trip, happens at once, and
// is timed by the clock of the store, so that the clocks of those who ask do
// not matter.
//
// While the store keeps what it acknowledged and its clock goes forward, no
// window of the length of Window, wherever it begins, holds more than Most
// counted of one key (those taken back apart). A clock that goes back counts
// nobody too short. What a store loses (a failover to a replica that was
// behind, an eviction) is counted anew. One that was counted by a call that
// failed may be counted or not. What is kept of a key expires by itself, with
// the last that counts.
//
// An error wraps store.ErrUnavailable.
type Tallier interface {
	Tally(ctx context.Context, t Tally) (Tallied, error)
}
