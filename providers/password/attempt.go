package password

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/providers/password/hash"
	"github.com/akprox/akprox/providers/password/users"
)

// patience bounds what the check of one password waits for a store that counts
// failures.
const patience = 5 * time.Second

// attempt is one presented user name and password.
type attempt struct {
	owner    *Users
	at       *moment
	user     *users.Known // nil when there is none of this name
	password string
	digest   [sha256.Size]byte // of the password
	names    limit.Failures    // where failures for the name are counted
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

// throttled answers a ThrottledError while the user or the address is banned,
// and an error wrapping outpost.ErrUnavailable when that cannot be told.
func (a *attempt) throttled(ctx context.Context) error {
	banned, err := a.both(func(f limit.Failures, key string) (time.Duration, error) { return f.Banned(ctx, key) })
	return refusal(banned, err)
}

// refusal answers why an attempt is refused; nil when it is not.
func refusal(banned time.Duration, err error) error {
	switch {
	case banned > 0:
		return &ThrottledError{RetryAfter: banned}
	case err != nil:
		return fmt.Errorf("failures cannot be counted: %w: %w", outpost.ErrUnavailable, err)
	}
	return nil
}

// both asks what counts for the name and what counts for the address, at once
// where that takes time, and answers the longer ban.
func (a *attempt) both(ask func(f limit.Failures, key string) (time.Duration, error)) (time.Duration, error) {
	switch {
	case a.address == "":
		return ask(a.names, a.name)
	case !a.owner.shared:
		name, err1 := ask(a.names, a.name)
		address, err2 := ask(a.owner.addresses, a.address)
		return max(name, address), errors.Join(err1, err2)
	}
	var address time.Duration
	var err error
	done := make(chan struct{})
	go func() {
		address, err = ask(a.owner.addresses, a.address)
		close(done)
	}()
	name, err1 := ask(a.names, a.name)
	<-done
	return max(name, address), errors.Join(err1, err)
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
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// Others may have failed while this one waited for its turn.
	if err := a.throttled(ctx); err != nil {
		return nil, err
	}
	h, enabled := a.hash()
	if right := a.owner.pool.Matches(h, []byte(a.password)); !right || !enabled {
		return nil, a.failed(ctx)
	}
	// And while it was checked: of many guesses at once no more than the
	// allowed tries are told the truth.
	if err := a.throttled(ctx); err != nil {
		return nil, err
	}
	// That failures stay which a store cannot take back harms nobody else.
	forgiven, _ := a.names.Forgive(ctx, a.name, maxTries)
	if a.address != "" {
		_, _ = a.owner.addresses.Forgive(ctx, a.address, forgiven)
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

// failed counts a failure. One that could not be counted is not told: guesses
// would cost nothing.
func (a *attempt) failed(ctx context.Context) error {
	banned, err := a.both(func(f limit.Failures, key string) (time.Duration, error) { return f.Fail(ctx, key) })
	if err := refusal(banned, err); err != nil {
		return err
	}
	return ErrRefused
}
