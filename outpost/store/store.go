// Package store is the one place where akprox keeps small values that outlive a
// request: sessions, sign-ins in progress, leases, cached answers and seen
// logout tokens. It holds the interface alone; each technology is a folder below
// it, and storetest is the suite that every one of them passes.
package store

import (
	"context"
	"errors"
	"time"
)

// ErrNotFound says that no item stands under the key, or that it has expired.
var ErrNotFound = errors.New("store: not found")

// ErrUnavailable is wrapped by every error that means "the store could not be
// asked", so that a caller never takes silence for "not found".
var ErrUnavailable = errors.New("store: unavailable")

// Bounds that every store enforces; Put answers ErrTooLarge beyond them.
const (
	MaxKey   = 512      // bytes of a key
	MaxValue = 64 << 10 // bytes of a value
	MaxTags  = 8        // tags of one item, each at most MaxKey bytes
)

// ErrTooLarge says that an item exceeds MaxKey, MaxValue or MaxTags.
var ErrTooLarge = errors.New("store: item too large")

// Item is a stored record.
type Item struct {
	Value []byte
	// Expires is when the item stops being found, to the millisecond. It is
	// required: a zero time is already past.
	Expires time.Time
	// Tags name the groups that DeleteTagged ends at once, for example
	// "sub:…", "sid:…" and "app:…".
	Tags []string
}

// Store keeps items. Every method is safe for concurrent use, obeys its
// context, and answers an error wrapping ErrUnavailable when the technology
// behind it could not be asked. Once a method has returned nil its effect
// survives the death of the process (a memory store, which promises nothing
// beyond the process, excepted).
type Store interface {
	// Get answers the item under key, or ErrNotFound. The caller owns it.
	Get(ctx context.Context, key string) (Item, error)
	// Put writes the item under key, replacing what stood there and its tags.
	Put(ctx context.Context, key string, item Item) error
	// Take answers the item under key and deletes it: of any number of
	// concurrent callers exactly one gets it, the others ErrNotFound.
	Take(ctx context.Context, key string) (Item, error)
	// Delete removes the item under key; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// DeleteTagged removes every item that carries tag and says how many.
	DeleteTagged(ctx context.Context, tag string) (int, error)
}

// Counter is an optional power of a store: how many unexpired items have a key
// that begins with prefix, for metrics and bounds. It may be a few seconds old.
type Counter interface {
	Count(ctx context.Context, prefix string) (int, error)
}

// Lister is an optional power of a store: List tells each of every unexpired
// item whose key begins with prefix, in no order that can be relied on. An item
// that stays throughout is told exactly once; one that comes or goes meanwhile
// is told or not. No lock is held while each runs, so it may use the store; an
// error of its own ends List, which then answers that very error. The caller
// owns the items.
type Lister interface {
	List(ctx context.Context, prefix string, each func(key string, item Item) error) error
}

// Toucher is an optional power of a store: Touch lets the item under key live
// on until expires, without touching its value. It never brings an item back,
// and never shortens its life; ErrNotFound says that it has gone meanwhile.
type Toucher interface {
	Touch(ctx context.Context, key string, expires time.Time) error
}

// Replacer is an optional power of a store: Replace writes the item under key
// as Put does, but only where an unexpired one stands, else it answers
// ErrNotFound: what was deleted meanwhile does not come back. The two happen
// at once.
type Replacer interface {
	Replace(ctx context.Context, key string, item Item) error
}

// Claimer is an optional power of a store: Claim writes the item under key as
// Put does, but only where no unexpired one stands, and reports whether it did:
// of any number of concurrent callers, in any number of processes, exactly one
// is told true.
type Claimer interface {
	Claim(ctx context.Context, key string, item Item) (bool, error)
}

// Watcher is an optional power of a store that several processes share: from
// then on changed is called with each key that this process has read by Get and
// that was written, deleted or has expired since, by whichever process, and with
// "" when that may have happened to any of them, as after a lost connection. It
// is called soon (some milliseconds) after the change, and may be called twice
// or without need. It must not block. Watch is called at most once, before the
// first Get.
type Watcher interface {
	Watch(changed func(key string))
}
