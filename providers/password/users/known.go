package users

import (
	"crypto/sha256"
	"crypto/subtle"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/password/hash"
)

// Known is a user of a Set.
type Known struct {
	Login    string            // the canonical user name
	Identity *outpost.Identity // always the same pointer

	hash     *hash.Hash // nil for a user who cannot sign in
	decoy    *hash.Hash // nil for a user without a password
	verified atomic.Pointer[verified]
}

// verified remembers that a password was right. There is only one right
// password of a user of a set, so that this needs neither a bound nor, on a
// reload, a deletion.
type verified struct {
	digest [sha256.Size]byte
	until  time.Time
}

// Enabled reports whether the user can sign in: has a password and is not
// disabled.
func (k *Known) Enabled() bool { return k.hash != nil }

// Hash answers what a password is checked against, and whether the user can
// sign in if it matches. It is nil for a user without a password.
func (k *Known) Hash() (h *hash.Hash, enabled bool) {
	if k.hash != nil {
		return k.hash, true
	}
	return k.decoy, false
}

// Remember notes that the password with this digest is the user's.
func (k *Known) Remember(digest [sha256.Size]byte, until time.Time) {
	k.verified.Store(&verified{digest, until})
}

// Remembers reports whether the password with this digest was noted, for
// longer than now. It takes the same time for all digests.
func (k *Known) Remembers(digest *[sha256.Size]byte, now time.Time) bool {
	v := k.verified.Load()
	return v != nil && subtle.ConstantTimeCompare(v.digest[:], digest[:]) == 1 && now.Before(v.until)
}
