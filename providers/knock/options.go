package knock

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/knock/ranges"
)

// MaxTTL is the longest that a lease may last, in seconds: ten years.
const MaxTTL = 315_360_000

// Options is what a Door is made of.
type Options struct {
	Name          string         // of the provider in the document; becomes Identity.Provider
	Keys          []Key          // who may knock; at least one
	AlwaysAllowed []netip.Prefix // admitted without a lease; may be of any width
	Granted       []Granted      // leases that the document itself gives
	MaxLeases     int            // how many ranges may hold leases at once; 0 means 10,000
	// TrustedProxies are never anybody's address, so no lease may cover one.
	TrustedProxies []netip.Prefix
	// Store keeps the leases; it has to be a store.Lister. Without one the Door
	// is only looked at: it admits what the document admits, and anybody else
	// is unavailable.
	Store store.Store
	Now   func() time.Time // time.Now when nil
}

// Key is who may knock, and for how long.
type Key struct {
	Name        string // what a lease remembers; no two keys share one
	Key         string // the secret itself, visible ASCII
	TTL         int64  // seconds that a lease lasts at most, 1 or more; MaxTTL bounds it too
	AllowRemote bool   // it may admit other addresses and ranges than its own
}

// Granted is a lease that the document gives. It ends with its time or with
// its line in the document, and counts for nothing in MaxLeases.
type Granted struct {
	Range   netip.Prefix // masked; no wider than a knock may ask for
	Expires time.Time
}

// check answers everything that is wrong, each with the setting's name.
func (o *Options) check(closed []netip.Prefix) error {
	var problems []error
	if len(o.Keys) == 0 {
		problems = append(problems, errors.New("keys: there is none, so nobody could knock"))
	}
	for i, k := range o.Keys {
		same := func(f func(Key) string) bool {
			return slices.ContainsFunc(o.Keys[:i], func(other Key) bool { return f(other) == f(k) })
		}
		if text := badKey(k); text != "" {
			problems = append(problems, fmt.Errorf("keys[%d]: %s", i, text))
		} else if same(func(k Key) string { return k.Name }) {
			problems = append(problems, fmt.Errorf("keys[%d].name: %q is the name of another key", i, k.Name))
		} else if same(func(k Key) string { return k.Key }) {
			problems = append(problems, fmt.Errorf("keys[%d].key: it is another key's, too; give each its own", i))
		}
	}
	for i, g := range o.Granted {
		if err := ranges.Admissible(g.Range, closed); err != nil {
			problems = append(problems, fmt.Errorf("leases[%d]: %s: %w", i, g.Range, err))
		}
	}
	if _, ok := o.Store.(store.Lister); o.Store != nil && !ok {
		problems = append(problems, errors.New("the store cannot list what it holds, so leases would be lost at a restart; use store: { kind: disk }"))
	}
	o.MaxLeases = min(cmp.Or(o.MaxLeases, 10_000), math.MaxInt32)
	if o.Now == nil {
		o.Now = time.Now
	}
	return errors.Join(problems...)
}

// badKey says what is wrong with a key, without repeating it.
func badKey(k Key) string {
	upper := strings.ToUpper(k.Key)
	visible := !strings.ContainsFunc(k.Key, func(c rune) bool { return c <= ' ' || c > '~' })
	switch {
	case k.Name == "":
		return "it has no name"
	case k.Key == "":
		return "it is empty"
	case !visible:
		return "it holds a space, a control or a character beyond ASCII, which no header carries safely"
	case strings.Contains(upper, "CHANGE_ME"), strings.Contains(upper, "REPLACE_WITH"):
		return "it is the placeholder of an example; make one of your own (akprox generate key)"
	case k.TTL <= 0:
		return "ttl: it has to be 1 second or more"
	}
	return ""
}
