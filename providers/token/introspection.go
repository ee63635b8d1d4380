package token

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token/call"
	"github.com/akprox/akprox/providers/token/recent"
)

// What the document's settings are when it does not say.
const (
	DefaultCache         = 60 * time.Second
	DefaultNegativeCache = 5 * time.Second
)

// How the outpost shows the introspection endpoint who it is.
const (
	AuthBasic = "basic" // client_secret_basic (RFC 6749, section 2.3.1)
	AuthPost  = "post"  // client_secret_post
	AuthNone  = "none"  // not at all, or by client_id alone where there is one
)

// IntrospectionOptions is what an Introspection is made of.
type IntrospectionOptions struct {
	Name          string        // of the provider in the document; becomes Identity.Provider
	URL           string        // the whole introspection endpoint
	ClientID      string        // of the outpost
	ClientSecret  string        // of the outpost
	Auth          string        // AuthBasic, AuthPost or AuthNone; "" means AuthBasic
	Cache         time.Duration // how long a good token is believed; 0 asks every time, at most 24 h
	NegativeCache time.Duration // how long a refusal is believed; 0 asks every time, at most 1 h
	Timeout       time.Duration // of one question; 0 means 1 s, at most 60 s
	MaxEntries    int           // good tokens that are remembered, and as many bad ones; 0 means 10,000
	Issuer        string        // when set, "iss" must be there and this
	Audience      []string      // when set, one of them must be in "aud"
	ClientIDs     []string      // when set, "client_id" must be one of them
	Claims        Claims        // Username "" means username
	Shared        Shared        // where outposts keep answers for each other; nil: each asks for itself
	UserAgent     string        // "" means akprox
	RootCAs       *x509.CertPool
	Now           func() time.Time

	// Observe, when set, is told of every question ("introspection"), how
	// long it took, and why it failed. The error holds no secret.
	Observe func(call string, took time.Duration, err error)
	// Loud, when set, is told, at most once a minute, of what only the
	// operator can mend: the endpoint refuses the outpost itself.
	Loud func(msg string)
}

// Introspection is the credential kind of opaque access tokens, about which
// the issuer is asked (RFC 7662).
type Introspection struct {
	opts    IntrospectionOptions
	salt    recent.Digest
	client  *call.Client
	shared  *sharing // nil when answers are not shared
	flight  singleflight.Group
	good    *recent.Cache[active]
	bad     *recent.Cache[*Error]
	pause   atomic.Int64 // until when nobody is asked, in Unix nanoseconds
	louded  atomic.Int64 // when Loud was last told, in Unix nanoseconds
	failure atomic.Pointer[Unavailable]
	counts  struct{ hits, refusals, misses, shared atomic.Uint64 }
}

// active is a token that its issuer vouches for.
type active struct {
	id       *outpost.Identity
	from     time.Time // not good before
	exp      time.Time // the zero time when the issuer did not say
	size     int       // about the bytes that id takes
	observed time.Time // when the issuer said so
	answer   []byte    // what it said; nil once that is in the cache
}

var _ outpost.Credential = (*Introspection)(nil)

// NewIntrospection makes an Introspection without asking anybody anything. The
// error lists everything that is wrong with the options, by the names of the
// document.
func NewIntrospection(o IntrospectionOptions) (*Introspection, error) {
	o.Auth = cmp.Or(o.Auth, AuthBasic)
	o.Claims = o.Claims.Filled("username")
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	o.MaxEntries = cmp.Or(o.MaxEntries, defaultEntries)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Loud == nil {
		o.Loud = func(string) {}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	i := &Introspection{opts: o, good: recent.New[active](o.MaxEntries), bad: recent.New[*Error](o.MaxEntries)}
	i.salt = sha256.Sum256(fmt.Appendf(nil, "introspection %q %q %q %q %q %q %q %q",
		o.Name, o.URL, o.ClientID, o.Auth, o.Issuer, o.Audience, o.ClientIDs, o.Claims))
	if o.Shared != nil && o.Cache > 0 {
		i.shared = &sharing{store: o.Shared, now: o.Now, wait: o.Timeout}
	}
	i.client = call.New(call.Options{Timeout: o.Timeout, UserAgent: o.UserAgent, RootCAs: o.RootCAs, Observe: o.Observe})
	return i, nil
}

func (o *IntrospectionOptions) check() error {
	problems := []error{call.CheckURL("url", o.URL)}
	report := func(wrong bool, format string, args ...any) {
		if wrong {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	switch o.Auth {
	case AuthBasic, AuthPost:
		report(o.ClientID == "", "client_id: it is empty; write the id under which the issuer knows akprox, or auth: none")
		report(o.ClientSecret == "", "client_secret: it is empty; write the client's secret, or auth: none")
	case AuthNone:
	default:
		report(true, "auth: %q is not one of basic, post, none", o.Auth)
	}
	report(o.Cache < 0 || o.Cache > 24*time.Hour, "cache: %s is not between 0 and 24h", o.Cache)
	report(o.NegativeCache < 0 || o.NegativeCache > time.Hour, "negative_cache: %s is not between 0 and 1h", o.NegativeCache)
	report(o.Timeout < 0 || o.Timeout > time.Minute, "timeout: %s is not between 0 and 60s", o.Timeout)
	report(o.MaxEntries < 0 || o.MaxEntries > maxEntries, "max_entries: %d is not between 0 and %d", o.MaxEntries, maxEntries)
	return errors.Join(problems...)
}

// Identify implements outpost.Credential. A token that the issuer vouched for
// within the cache's time costs a hash and a look-up and yields the same
// *outpost.Identity; its exp and nbf are looked at each time. The first
// question about a token waits for the issuer, at most for the timeout, and
// everybody who presents that token meanwhile waits for the same answer, each
// no longer than their own ctx.
func (i *Introspection) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	token, err := Bearer(r.Header)
	if err != nil {
		return nil, err
	}
	key := recent.Key(i.salt, token)
	id, refused := i.known(key)
	switch {
	case id != nil:
		i.counts.hits.Add(1)
		return id, nil
	case refused != nil:
		i.counts.refusals.Add(1)
		return nil, refused
	}
	if outpost.IsLocal(ctx) {
		return nil, outpost.ErrUnclaimed
	}
	i.counts.misses.Add(1)
	return i.wait(ctx, key, token)
}

// known answers what the caches know of a token: the one, the other, or
// neither.
func (i *Introspection) known(key recent.Digest) (*outpost.Identity, *Error) {
	now := i.opts.Now()
	if a, ok := i.good.Get(key, now); ok && !now.Before(a.from) {
		return a.id, nil
	}
	refused, _ := i.bad.Get(key, now)
	return nil, refused
}

// wait asks the issuer, and shares the answer with whoever asks the same at
// this moment. Without a cache nothing is shared: an answer to somebody who
// asked earlier could be older than a revocation.
func (i *Introspection) wait(ctx context.Context, key recent.Digest, token string) (*outpost.Identity, error) {
	var answer <-chan singleflight.Result
	if i.opts.Cache > 0 {
		answer = i.flight.DoChan(string(key[:]), func() (any, error) { return i.ask(key, token) })
	} else {
		alone := make(chan singleflight.Result, 1)
		go func() {
			id, err := i.ask(key, token)
			alone <- singleflight.Result{Val: id, Err: err}
		}()
		answer = alone
	}
	select {
	case result := <-answer:
		if result.Err != nil {
			return nil, result.Err
		}
		return result.Val.(*outpost.Identity), nil
	case <-ctx.Done():
		return nil, &Unavailable{Cause: "the client left before the issuer answered"}
	}
}

// ask asks about one token and keeps the answer. Its context is its own: a
// client who leaves does not take the answer from the others.
func (i *Introspection) ask(key recent.Digest, token string) (*outpost.Identity, error) {
	if id, refused := i.known(key); id != nil { // answered while we were on our way here
		return id, nil
	} else if refused != nil {
		return nil, refused
	}
	if i.shared != nil {
		if t := i.shared.await(context.Background(), key); t != nil {
			a, err := i.rejudge(t)
			if id, _, err := i.keep(key, a, err); id != nil || errors.As(err, new(*Error)) {
				i.counts.shared.Add(1)
				return id, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), i.opts.Timeout)
	defer cancel()
	a, err := i.introspect(ctx, token)
	if errors.As(err, new(*Error)) {
		a.observed = i.opts.Now()
	}
	t := told{Observed: a.observed.UnixMilli(), Answer: a.answer}
	id, until, err := i.keep(key, a, err)
	if i.shared != nil {
		i.share(key, token, t, until, err)
	}
	return id, err
}

// share tells the other outposts what became of a question.
func (i *Introspection) share(key recent.Digest, token string, t told, until time.Time, err error) {
	var refused *Error
	switch {
	case errors.As(err, &refused):
		i.shared.keep(key, token, told{Observed: t.Observed, Refused: refused.Description}, until)
	case err != nil:
		i.shared.release(key)
	default:
		i.shared.keep(key, token, t, until)
	}
}

// keep remembers what became of a question, and answers until when.
func (i *Introspection) keep(key recent.Digest, a active, err error) (*outpost.Identity, time.Time, error) {
	now := i.opts.Now()
	var refused *Error
	if errors.As(err, &refused) {
		until := a.observed.Add(i.opts.NegativeCache)
		i.bad.Put(key, refused, sizeOf(nil), now, until)
		return nil, until, refused
	}
	if err != nil {
		return nil, now, err
	}
	until := a.observed.Add(i.opts.Cache)
	if !a.exp.IsZero() && a.exp.Before(until) { // RFC 7662, section 4: never beyond exp
		until = a.exp
	}
	a.answer = nil
	i.good.Put(key, a, a.size, now, until)
	return a.id, until, nil
}

// rejudge judges what another outpost was told as if it had been told here. An
// error that is no *Error means that it is of no use.
func (i *Introspection) rejudge(t *told) (a active, err error) {
	believed := i.opts.Cache
	if t.Refused != "" {
		err, believed = bad("%s", t.Refused), i.opts.NegativeCache
	} else {
		a, err = i.judge(t.Answer)
	}
	now := i.opts.Now()
	if a.observed = time.UnixMilli(t.Observed); a.observed.After(now) { // by a clock that is ahead of ours
		a.observed = now
	}
	if !now.Before(a.observed.Add(believed)) {
		err = errTooOld
	}
	return a, err
}

var errTooOld = errors.New("what another outpost was told is too old")

// Ready answers nil unless the newest question could not be answered. It does
// no I/O.
func (i *Introspection) Ready() error {
	if failure := i.failure.Load(); failure != nil {
		return failure
	}
	return nil
}

// Stats answers the counters. It walks the caches: it is for metrics.
func (i *Introspection) Stats() Stats {
	now := i.opts.Now()
	return Stats{
		Hits: i.counts.hits.Load(), NegativeHits: i.counts.refusals.Load(), Misses: i.counts.misses.Load(), Shared: i.counts.shared.Load(),
		Evicted: i.good.Evicted() + i.bad.Evicted(),
		Entries: i.good.Count(now), Negative: i.bad.Count(now),
	}
}
