package knock

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/knock/ranges"
)

// Door admits addresses that hold a lease. It is an outpost.Credential, safe
// for concurrent use.
type Door struct {
	options  Options
	keys     []key
	closed   []netip.Prefix // what no lease may cover
	identity *outpost.Identity
	given    ranges.Set[entry] // what the document admits
	leases   ranges.Set[entry] // what was earned
	size     atomic.Int64
	swept    atomic.Int64 // when leases was last swept, in Unix seconds

	seed  maphash.Seed
	locks [64]sync.Mutex // by range: of those who change an entry of leases

	loaded  atomic.Bool
	mu      sync.Mutex
	loading *loading // under way; guarded by mu
}

// key is a Key ready to be compared.
type key struct {
	Key
	digest [sha256.Size]byte
	print  string
}

// loading is one attempt at reading the store.
type loading struct {
	done chan struct{}
	err  error // set before done is closed
}

// New makes a Door, or says everything that is wrong with its options. It does
// no I/O: the leases are read by Follow, or by the first question.
func New(o Options) (*Door, error) {
	closed := append(ranges.Reserved(), o.TrustedProxies...)
	if err := o.check(closed); err != nil {
		return nil, err
	}
	d := &Door{options: o, closed: closed, identity: &outpost.Identity{Provider: o.Name}, seed: maphash.MakeSeed()}
	for _, k := range o.Keys {
		k.TTL = min(k.TTL, MaxTTL)
		// Short enough to say nothing of a good key to who reads the store.
		print := sha256.Sum256([]byte("akprox knock\x00" + k.Name + "\x00" + k.Key))
		d.keys = append(d.keys, key{k, sha256.Sum256([]byte(k.Key)), hex.EncodeToString(print[:4])})
	}
	for _, p := range o.AlwaysAllowed {
		d.given.Put(p.Masked(), &entry{expires: math.MaxInt64})
	}
	for _, g := range o.Granted {
		if e := d.given.Get(g.Range.Masked()); e == nil || e.expires < g.Expires.Unix() {
			d.given.Put(g.Range.Masked(), &entry{expires: g.Expires.Unix()})
		}
	}
	return d, nil
}

// key answers the key whose secret this is, or nil. Every key is compared,
// each in constant time.
func (d *Door) key(secret string) (found *key) {
	digest := sha256.Sum256([]byte(secret))
	for i := range d.keys {
		if subtle.ConstantTimeCompare(digest[:], d.keys[i].digest[:]) == 1 {
			found = &d.keys[i]
		}
	}
	return found
}

// Knows reports whether secret is one of the keys.
func (d *Door) Knows(secret string) bool { return d.key(secret) != nil }

// Identify implements outpost.Credential: an address that is admitted yields
// an identity that names the provider and nobody.
func (d *Door) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	switch ok, err := d.Admits(ctx, r.Client); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, outpost.ErrNoCredential
	}
	return d.identity, nil
}

// Admits reports whether a holds a lease or is always allowed. An error wraps
// outpost.ErrUnavailable: a is not known here, and the store cannot say.
func (d *Door) Admits(ctx context.Context, a netip.Addr) (bool, error) {
	a = a.Unmap()
	if !a.IsValid() || a.Zone() != "" {
		return false, nil
	}
	now := d.options.Now().Unix()
	lives := func(e *entry) bool { return e.expires > now }
	if d.given.Holds(a, lives) || d.leases.Holds(a, lives) {
		return true, nil
	}
	if err := d.ready(ctx); err != nil {
		return false, err
	}
	if d.leases.Holds(a, lives) {
		return true, nil
	}
	return d.recall(ctx, netip.PrefixFrom(a, a.BitLen()), now)
}

// Ready answers nil while the store answers and the leases were read from it,
// else an error that wraps outpost.ErrUnavailable.
func (d *Door) Ready(ctx context.Context) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	_, err := d.options.Store.Get(ctx, prefix+"ready")
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return unavailable(err)
}

// Leases answers how many ranges hold earned leases. Those that ended within
// the last minute may still be counted.
func (d *Door) Leases() int { return int(d.size.Load()) }

// Follow reads the leases and forgets those that end, until ctx ends. It reads
// again every 15 seconds, for what other processes on the same store admit:
// theirs are known here after that time, those of single addresses at once.
func (d *Door) Follow(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for d.options.Store != nil {
		if d.ready(ctx) == nil {
			_ = d.load(ctx) // a failure is met again by who needs the store
		}
		d.sweep(d.options.Now().Unix(), nil)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ready waits until the leases were read once. Whoever asks first begins to
// read; an attempt that failed is made again by the next one.
func (d *Door) ready(ctx context.Context) error {
	if d.loaded.Load() {
		return nil
	}
	if d.options.Store == nil {
		return fmt.Errorf("knock: %w: no store is open", outpost.ErrUnavailable)
	}
	d.mu.Lock()
	l := d.loading
	if l == nil {
		l = &loading{done: make(chan struct{})}
		d.loading = l
		go d.begin(l) //nolint:gosec // whoever asked first may hang up; the others wait for the same answer
	}
	d.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

func (d *Door) begin(l *loading) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l.err = d.load(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loading = nil
	d.loaded.Store(l.err == nil)
	close(l.done)
}

func unavailable(err error) error {
	return fmt.Errorf("knock: %w: %w", outpost.ErrUnavailable, err)
}
