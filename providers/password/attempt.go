package password

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/maphash"
	"net/netip"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/providers/password/hash"
	"github.com/akprox/akprox/providers/password/users"
)

// attempt is one presented user name and password.
type attempt struct {
	owner    *Users
	at       *moment
	user     *users.Known // nil when there is none of this name
	password string
	digest   [sha256.Size]byte // of the password
	names    *limit.Guesses    // where failures for the name are counted
	name     string            // under this key
	address  string            // "" when not known, and then not counted
}

func (u *Users) attempt(login, password string, client netip.Addr) *attempt {
	m := u.now.Load()
	a := &attempt{owner: u, at: m, user: m.Find(login), password: password, names: u.unknown, name: login}
	if a.user != nil {
		a.names, a.name = u.known, a.user.Login
	}
	if client.IsValid() {
		a.address = limit.AddressKey(client)
	}
	var buf [sha256.Size + hash.MaxPassword]byte
	n := copy(buf[:], u.key[:])
	n += copy(buf[n:], password)
	a.digest = sha256.Sum256(buf[:n])
	return a
}

// throttled answers a ThrottledError while the user or the address is banned.
func (a *attempt) throttled() error {
	banned := a.names.Banned(a.name)
	if a.address != "" {
		banned = max(banned, a.owner.addresses.Banned(a.address))
	}
	if banned > 0 {
		return &ThrottledError{RetryAfter: banned}
	}
	return nil
}

// verify checks the password once for all who present it at the same time from
// the same address. When ctx ends, the check goes on and counts, so that
// hanging up does not make guesses free.
func (a *attempt) verify(ctx context.Context) (*outpost.Identity, error) {
	same := a.name + "\x00" + a.address + "\x00" + string(a.digest[:])
	done := a.at.flights.DoChan(same, func() (any, error) { return a.check() })
	select {
	case answer := <-done:
		id, _ := answer.Val.(*outpost.Identity)
		return id, answer.Err
	case <-ctx.Done():
		return nil, fmt.Errorf("the password is still being checked: %w: %w", outpost.ErrUnavailable, context.Cause(ctx))
	}
}

func (a *attempt) check() (*outpost.Identity, error) {
	if err := a.owner.pool.Enter(context.Background()); err != nil {
		return nil, fmt.Errorf("%w: %w", outpost.ErrUnavailable, err)
	}
	defer a.owner.pool.Leave()
	// Others may have failed while this one waited for its turn.
	if err := a.throttled(); err != nil {
		return nil, err
	}
	h, enabled := a.hash()
	if right := a.owner.pool.Matches(h, []byte(a.password)); !right || !enabled {
		return nil, a.failed()
	}
	// And while it was checked: of many guesses at once no more than the
	// allowed tries are told the truth.
	if err := a.throttled(); err != nil {
		return nil, err
	}
	forgiven := a.names.Forgive(a.name, maxTries)
	if a.address != "" {
		a.owner.addresses.Forgive(a.address, forgiven)
	}
	a.user.Remember(a.digest, a.owner.clock().Add(verifiedFor))
	return a.user.Identity, nil
}

// hash answers what the password is checked against, and whether a match lets
// in. It costs the same whether there is such a user or not.
func (a *attempt) hash() (h *hash.Hash, enabled bool) {
	if a.user != nil {
		if h, enabled = a.user.Hash(); h != nil {
			return h, enabled
		}
	}
	return a.at.Decoy(maphash.String(a.owner.seed, a.name)), false
}

// failed counts a failure.
func (a *attempt) failed() error {
	banned := a.names.Fail(a.name)
	if a.address != "" {
		banned = max(banned, a.owner.addresses.Fail(a.address))
	}
	if banned > 0 {
		return &ThrottledError{RetryAfter: banned}
	}
	return ErrRefused
}
