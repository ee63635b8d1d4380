package kinds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/knock"
	"github.com/akprox/akprox/providers/knock/ranges"
	face "github.com/akprox/akprox/proxy/knock"
	"github.com/akprox/akprox/proxy/page"
)

// KnockSettings is the document's kind knock.
type KnockSettings struct {
	Keys          []knockKey          `yaml:"keys" required:"true" filled:"true" doc:"Who may knock, and for how long."`
	AlwaysAllowed []netip.Prefix      `yaml:"always_allowed_ips" doc:"Addresses that are admitted without a lease."`
	MaxLeases     int                 `yaml:"max_leases" default:"10000" positive:"true" doc:"How many addresses may hold leases at once; a full table refuses the newcomer."`
	Limits        knockLimits         `yaml:"limits" doc:"How often one address may knock; IPv6 counts by its /64."`
	CORSOrigin    string              `yaml:"cors_origin" default:"'*'" form:"text" doc:"The web origin that may knock from a browser."`
	Excluded      []string            `yaml:"excluded_paths" doc:"For /verify alone: paths at and under which everybody is admitted."`
	ByHost        map[string][]string `yaml:"excluded_paths_by_host" doc:"The same for single hosts; * is every host."`
	Page          bool                `yaml:"page" doc:"Whether /verify shows a page to a browser that it refuses; the answer is empty otherwise."`
	Leases        []knockLease        `yaml:"leases" doc:"Leases that need no knock, such as those brought along from elsewhere; each ends with its time or with its line here."`
}

type knockKey struct {
	Name        string        `yaml:"name" required:"true" form:"name" doc:"What leases call this key; with the key its leases end."`
	Key         config.Secret `yaml:"key" required:"true" doc:"The key itself, which is sent as X-Api-Key."`
	TTL         int64         `yaml:"ttl" positive:"true" doc:"How many seconds a lease lasts, and at most may be asked for."`
	MaxTTL      int64         `yaml:"max_ttl" positive:"true" doc:"Another name of ttl."`
	AllowRemote bool          `yaml:"allow_remote_whitelist" doc:"Whether it may admit other addresses and ranges than its own."`
}

type knockLimits struct {
	Window    time.Duration `yaml:"window" default:"60s" positive:"true" doc:"In how much time."`
	Successes int           `yaml:"successes" default:"20" doc:"How many knocks may succeed; 0 is any number."`
	Failures  int           `yaml:"failures" default:"30" doc:"How many knocks may fail before the address is refused, with the right key too; 0 is any number."`
}

type knockLease struct {
	Address netip.Prefix `yaml:"address" required:"true" doc:"An address, or a range no wider than an IPv4 /16 or an IPv6 /64."`
	Expires time.Time    `yaml:"expires" required:"true" doc:"When it ends."`
}

// Check implements config.Checker.
func (s *KnockSettings) Check(report func(key, problem string)) {
	for i, k := range s.Keys {
		switch at := fmt.Sprintf("keys[%d].ttl", i); {
		case k.TTL == 0 && k.MaxTTL == 0:
			report(at, "is missing; write for how many seconds a lease lasts")
		case k.TTL != 0 && k.MaxTTL != 0:
			report(at, "is the same as max_ttl; leave one of them out")
		}
	}
	check := func(at string, list []string) {
		for i, path := range list {
			if _, err := face.Exclusion(path); err != nil && path != "" {
				report(fmt.Sprintf("%s[%d]", at, i), err.Error())
			}
		}
	}
	check("excluded_paths", s.Excluded)
	for host, list := range s.ByHost {
		check("excluded_paths_by_host."+host, list)
	}
	for key, n := range map[string]int{"limits.successes": s.Limits.Successes, "limits.failures": s.Limits.Failures} {
		if n < 0 {
			report(key, "must not be negative; 0 is no limit")
		}
	}
}

// knockWorld is what a knock provider needs beside its settings.
type knockWorld struct {
	store   store.Store   // nil where a document is only looked at
	tallies limit.Tallier // nil: this process counts alone
	trusted []netip.Prefix
	now     func() time.Time
	observe func(face.Event)
}

// open makes the door and its HTTP face. secrets are the keys' own, in order.
func (s *KnockSettings) open(name string, secrets []string, w knockWorld) (*knock.Door, *face.Handler, error) {
	o := knock.Options{
		Name: name, AlwaysAllowed: s.AlwaysAllowed, MaxLeases: s.MaxLeases,
		TrustedProxies: w.trusted, Store: w.store, Now: w.now,
	}
	for i, k := range s.Keys {
		o.Keys = append(o.Keys, knock.Key{Name: k.Name, Key: secrets[i], TTL: max(k.TTL, k.MaxTTL), AllowRemote: k.AllowRemote})
	}
	for _, l := range s.Leases {
		o.Granted = append(o.Granted, knock.Granted{Range: l.Address, Expires: l.Expires})
	}
	door, err := knock.New(o)
	if err != nil {
		return nil, nil, err
	}
	var refused func(http.ResponseWriter, *http.Request)
	if s.Page {
		refused = refusedPage
	}
	handler, err := face.New(face.Options{
		Refused: refused,
		Door:    doorFace{door}, Trusted: w.trusted, Origin: s.CORSOrigin, Excluded: s.Excluded, ExcludedByHost: s.ByHost,
		Limits: face.Limits(s.Limits), Shared: w.tallies, Now: w.now, Observe: w.observe,
	})
	return door, handler, err
}

// refusedPage tells a person that the address is not admitted. /verify is
// asked for any host, so there are no links.
func refusedPage(w http.ResponseWriter, r *http.Request) {
	page.Write(w, r, "", page.Refusal(outpost.Decision{Outcome: outpost.Unauthorized, Reason: outpost.ReasonGate}, nil, ""))
}

// openKnock opens a provider of kind knock: the credential kind, and the
// handler that package proxy mounts.
func openKnock(b *Builder, name string, settings any) (config.Opened, error) {
	s := settings.(*KnockSettings)
	secrets := make([]string, len(s.Keys))
	for i, k := range s.Keys {
		var err error
		if secrets[i], err = b.secret(fmt.Sprintf("keys[%d].key", i), k.Key); err != nil {
			return config.Opened{}, err
		}
	}
	// Not secret, but what the door was opened with as well: a reload that
	// changes it opens the door anew.
	b.current.secrets = append(b.current.secrets, fmt.Sprint(b.Doc.Server.TrustedProxies))
	door, handler, err := s.open(name, secrets, knockWorld{store: b.Store, tallies: b.Tallies, trusted: b.Doc.Server.TrustedProxies, observe: b.Knocked})
	if err != nil {
		return config.Opened{}, err
	}
	b.current.Knock = handler
	b.follow(door.Follow)
	return config.Opened{Credential: same(door)}, nil
}

// doorFace is a door as its HTTP face sees it.
type doorFace struct{ *knock.Door }

// Knock implements face.Door.
func (d doorFace) Knock(ctx context.Context, client netip.Addr, key string, ask face.Ask) face.Result {
	lease, err := d.Door.Knock(ctx, client, key, knock.Request(ask))
	if err == nil {
		return face.Result{Outcome: face.Opened, Entry: lease.Entry, Expires: lease.Expires, Seconds: lease.Seconds}
	}
	for _, known := range []struct {
		err     error
		outcome face.Outcome
	}{
		{knock.ErrKey, face.BadKey},
		{knock.ErrNoClient, face.NoClient},
		{knock.ErrTTL, face.BadTTL},
		{knock.ErrTTLTooLong, face.TTLTooLong},
		{ranges.ErrAddressTooLong, face.AddressLong},
		{ranges.ErrAddress, face.BadAddress},
		{knock.ErrRemote, face.NoRemote},
		{ranges.ErrTooBroad, face.TooBroad},
		{ranges.ErrReserved, face.Reserved},
		{knock.ErrFull, face.Full},
		{face.ErrLimited, face.Limited},
	} {
		if errors.Is(err, known.err) {
			return face.Result{Outcome: known.outcome}
		}
	}
	return face.Result{Outcome: face.Failed, Err: err}
}
