package knock

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/knock/ranges"
)

// Why a knock is refused, beside the errors of package ranges and one that
// wraps outpost.ErrUnavailable, which says that the lease could not be kept.
var (
	// ErrKey says that the key is none of ours.
	ErrKey = errors.New("knock: no such key")
	// ErrTTL says that a time is not positive.
	ErrTTL = errors.New("knock: a time has to be positive")
	// ErrTTLTooLong says that a time is longer than MaxTTL.
	ErrTTLTooLong = errors.New("knock: longer than ten years")
	// ErrRemote says that the key may admit its own address alone.
	ErrRemote = errors.New("knock: the key may admit its own address alone")
	// ErrNoClient says that the client's address is not known.
	ErrNoClient = errors.New("knock: the client's address is not known")
	// ErrFull says that MaxLeases ranges hold leases. None of them was ended
	// for the newcomer.
	ErrFull = errors.New("knock: as many addresses hold leases as may")
)

// Request is what a knock asks for.
type Request struct {
	// Address is another address or range than the client's own; nil for that.
	Address *string
	// TTL is how long, in seconds; the key's own TTL bounds it and is asked
	// for by nil.
	TTL *int64
	// Before, when set, is asked once everything else is good and nothing is
	// kept yet. An error of it ends the knock and is its answer.
	Before func() error
}

// Lease is what a knock has earned: what now holds for the address and the
// key, which is longer than what was asked for if an earlier knock said so.
type Lease struct {
	Entry   string // the address in its usual form, or the range as it was asked for
	Expires int64  // Unix seconds
	Seconds int64  // from now on
}

// entry is what is known of one range. It never changes once it is in a set.
type entry struct {
	holders []holder
	expires int64 // when the last holder's lease ends, in Unix seconds; it lives while that is later than now
}

// holder is a key and until when its lease on a range lasts.
type holder struct {
	Key     string `json:"key"`     // the key's name
	Print   string `json:"print"`   // tells that the key was changed under its name
	Expires int64  `json:"expires"` // Unix seconds
}

// prefix begins the keys of leases in the store; the range follows.
const prefix = "lease:"

// writeTime bounds how long a lease may take to be kept.
const writeTime = 5 * time.Second

// record is a lease's value in the store.
type record struct {
	Holders []holder `json:"holders"`
}

// Knock admits an address for a while. When it answers a lease, the lease is
// in the store. The error is one of this package, that of Before, or wraps
// outpost.ErrUnavailable; everything that is wrong with what was asked is
// found before Before is.
func (d *Door) Knock(ctx context.Context, client netip.Addr, secret string, r Request) (Lease, error) {
	k := d.key(secret)
	if k == nil {
		return Lease{}, ErrKey
	}
	ttl, err := k.ttl(r.TTL)
	if err != nil {
		return Lease{}, err
	}
	p, entry, err := d.target(k, client, r.Address)
	if err != nil {
		return Lease{}, err
	}
	if r.Before != nil {
		if err := r.Before(); err != nil {
			return Lease{}, err
		}
	}
	now := d.options.Now().Unix()
	expires, err := d.grant(ctx, p, holder{k.Name, k.print, now + ttl}, now)
	return Lease{Entry: entry, Expires: expires, Seconds: expires - now}, err
}

func (k *key) ttl(asked *int64) (int64, error) {
	switch {
	case asked == nil:
		return k.TTL, nil
	case *asked <= 0:
		return 0, ErrTTL
	case *asked > MaxTTL:
		return 0, ErrTTLTooLong
	}
	return min(*asked, k.TTL), nil
}

// target answers what is to be admitted, and how the answer calls it.
func (d *Door) target(k *key, client netip.Addr, asked *string) (netip.Prefix, string, error) {
	if asked == nil {
		client = client.Unmap()
		if !client.IsValid() || client.Zone() != "" {
			return netip.Prefix{}, "", ErrNoClient
		}
		own := netip.PrefixFrom(client, client.BitLen())
		return own, client.String(), ranges.Admissible(own, d.closed)
	}
	p, err := ranges.Parse(*asked)
	if err == nil && !k.AllowRemote {
		err = ErrRemote
	}
	if err == nil {
		err = ranges.Admissible(p, d.closed)
	}
	return p, *asked, err
}

// grant gives h on p, in the store first, and answers until when the lease of
// that key on that range lasts.
func (d *Door) grant(ctx context.Context, p netip.Prefix, h holder, now int64) (int64, error) {
	if err := d.ready(ctx); err != nil {
		return 0, err
	}
	// Who hangs up now must not leave the store and the memory apart.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTime)
	defer cancel()
	lock := d.lock(p)
	lock.Lock()
	defer lock.Unlock()
	stored, err := d.fetch(ctx, p)
	if err != nil {
		return 0, err
	}
	old := d.leases.Get(p)
	if old == nil && !d.reserve(now, lock) {
		return 0, ErrFull
	}
	e := merge(append(slices.Concat(stored, old.list()), h), now)
	if err := d.keep(ctx, p, e); err != nil {
		if old == nil {
			d.size.Add(-1)
		}
		return 0, err
	}
	d.leases.Put(p, e)
	i := slices.IndexFunc(e.holders, h.same)
	return e.holders[i].Expires, nil
}

// reserve takes one of the MaxLeases places, if need be of what has ended.
func (d *Door) reserve(now int64, held *sync.Mutex) bool {
	for range 2 {
		if d.size.Add(1) <= int64(d.options.MaxLeases) {
			return true
		}
		d.size.Add(-1)
		if d.swept.Swap(now) == now { // once a second, however many knock
			return false
		}
		d.sweep(now, held)
	}
	return false
}

func (h holder) same(other holder) bool { return h.Key == other.Key && h.Print == other.Print }

func (e *entry) list() []holder {
	if e == nil {
		return nil
	}
	return e.holders
}

// merge answers the longest of each key's leases that live at now.
func merge(all []holder, now int64) *entry {
	e := &entry{}
	for _, h := range all {
		if h.Expires <= now {
			continue
		}
		e.expires = max(e.expires, h.Expires)
		if i := slices.IndexFunc(e.holders, h.same); i >= 0 {
			e.holders[i].Expires = max(e.holders[i].Expires, h.Expires)
		} else {
			e.holders = append(e.holders, h)
		}
	}
	return e
}

// keep writes e to the store.
func (d *Door) keep(ctx context.Context, p netip.Prefix, e *entry) error {
	value, err := json.Marshal(record{e.holders})
	if err == nil {
		err = d.options.Store.Put(ctx, prefix+p.String(), store.Item{Value: value, Expires: time.Unix(e.expires, 0)})
	}
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// fetch answers what the store has of p.
func (d *Door) fetch(ctx context.Context, p netip.Prefix) ([]holder, error) {
	item, err := d.options.Store.Get(ctx, prefix+p.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable(err)
	}
	return d.holders(item), nil
}

// holders reads an item and leaves out the leases of keys that are no more:
// with its key a lease has ended.
func (d *Door) holders(item store.Item) []holder {
	var r record
	if json.Unmarshal(item.Value, &r) != nil {
		return nil
	}
	return slices.DeleteFunc(r.Holders, func(h holder) bool {
		return !slices.ContainsFunc(d.keys, func(k key) bool { return h.Key == k.Name && h.Print == k.print })
	})
}

// recall looks in the store for a lease that another process may have given.
func (d *Door) recall(ctx context.Context, p netip.Prefix, now int64) (bool, error) {
	found, err := d.fetch(ctx, p)
	if err != nil || len(found) == 0 {
		return false, err
	}
	return d.learn(p, found, now), nil
}

// learn adds what the store says of p, and reports whether p holds a lease.
func (d *Door) learn(p netip.Prefix, found []holder, now int64) bool {
	lock := d.lock(p)
	lock.Lock()
	defer lock.Unlock()
	e := merge(append(found, d.leases.Get(p).list()...), now)
	if len(e.holders) == 0 {
		return false
	}
	if d.leases.Put(p, e) {
		d.size.Add(1)
	}
	return true
}

// load reads all leases from the store. One that the settings of today would
// refuse, since it holds a trusted proxy, is left out.
func (d *Door) load(ctx context.Context) error {
	now := d.options.Now().Unix()
	err := d.options.Store.(store.Lister).List(ctx, prefix, func(at string, item store.Item) error {
		p, ok := d.rangeOf(at)
		if !ok {
			return nil
		}
		if e := d.leases.Get(p); e != nil && e.expires == item.Expires.Unix() {
			return nil
		}
		d.learn(p, d.holders(item), now)
		return nil
	})
	if err != nil {
		return unavailable(err)
	}
	return nil
}

// rangeOf reads a key of the store.
func (d *Door) rangeOf(at string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(strings.TrimPrefix(at, prefix))
	return p, err == nil && ranges.Admissible(p, d.closed) == nil
}

// sweep forgets the leases that have ended, but for those that somebody else
// is changing just now. held is the lock that the caller has, or nil.
func (d *Door) sweep(now int64, held *sync.Mutex) {
	d.leases.All(func(p netip.Prefix, e *entry) bool {
		lock := d.lock(p)
		if e.expires > now || lock != held && !lock.TryLock() {
			return true
		}
		if d.leases.Get(p) == e && d.leases.Drop(p) {
			d.size.Add(-1)
		}
		if lock != held {
			lock.Unlock()
		}
		return true
	})
}

func (d *Door) lock(p netip.Prefix) *sync.Mutex {
	return &d.locks[maphash.Comparable(d.seed, p)%uint64(len(d.locks))]
}
