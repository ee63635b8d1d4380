package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// Times of a renewal.
const (
	maxAhead = time.Minute     // before the access token ends; a fifth of its life when that is less
	minEvery = 5 * time.Second // between two renewals, however short the access token lives

	claimLife = 5 * time.Minute           // of the right to renew one session
	writeTime = claimLife - 2*time.Minute // how long the newest refresh token is tried to be written
	askTime   = time.Minute               // of everything that the issuer is asked
	storeTime = 5 * time.Second           // of one call to the store

	firstRetry = 2 * time.Second // after a failure, doubled with each
	lastRetry  = time.Minute
)

// Renewal is what became of the renewal of one session, for the log.
type Renewal struct {
	Provider string
	Identity string // what a log line calls the person
	Result   Result
	Err      error // why it is not Renewed; holds no secret
}

// Result is what became of a renewal, in a word that may be a metric's label.
type Result string

// The results.
const (
	Renewed   Result = "renewed"   // the issuer vouched again
	Postponed Result = "postponed" // the issuer or the store did not answer; the session goes on
	Refused   Result = "refused"   // the issuer said no; the session has ended
	Gone      Result = "gone"      // the session was ended meanwhile; what the issuer answered is dropped
	Lost      Result = "lost"      // the issuer's answer could not be kept; the session goes on until its refresh token is refused
)

// claimPrefix is the beginning of the key under which the right to renew a
// session is claimed.
const claimPrefix = "refresh:"

// powers are what a store needs for its sessions to be renewed.
type powers interface {
	store.Store
	store.Claimer
	store.Replacer
}

// renewal is one of them.
type renewal struct {
	*Sessions
	store powers
	way   way
	entry *entry // as the request found it
	held  *entry // as it was read since; nil until then
	life  outpost.Lifetimes
	asked time.Time // when a request found it due
}

// renew begins the renewal of a session that is due, unless one is under way
// here or its issuer is known not to answer. It does not wait for anything.
func (s *Sessions) renew(w way, e *entry, life outpost.Lifetimes, now time.Time) {
	st, ok := s.store.(powers)
	if !ok || !e.next.running.CompareAndSwap(false, true) {
		return
	}
	r := &renewal{Sessions: s, store: st, way: w, entry: e, life: life, asked: now}
	if w.issuer.Ready() == nil && s.lanes.begin(w.party, r.run) {
		return
	}
	r.wait(firstRetry)
	e.next.running.Store(false)
}

// Close begins no more renewals and waits for those under way, so that no
// refresh token is lost, until ctx ends.
func (s *Sessions) Close(ctx context.Context) error { return s.lanes.close(ctx) }

// run renews the session, and tells what became of it.
func (r *renewal) run() {
	defer r.entry.next.running.Store(false)
	result, err := r.do()
	if result == "" {
		return
	}
	if result == Postponed || result == Lost {
		n := r.failed()
		r.wait(backoff(n))
		r.entry.next.failed.Store(int32(n))
		r.hold(r.held)
	}
	id := r.entry.record.Identity
	r.opts.Observe(Renewal{Provider: r.way.provider, Identity: id.Label(), Result: result, Err: err})
}

// do answers "" where another process renews the session, or has done so.
func (r *renewal) do() (Result, error) {
	mine, err := r.claim()
	if err != nil {
		return Postponed, err
	}
	e, err := r.read()
	switch {
	case errors.Is(err, outpost.ErrNoCredential):
		r.release(mine, 0)
		return "", nil
	case err != nil:
		r.release(mine, 0)
		return Postponed, err
	}
	if !e.old(r.opts.Now(), r.life.Refresh) {
		r.release(mine, 0)
		return "", nil
	}
	r.hold(e)
	if !mine {
		r.wait(firstRetry)
		return "", nil
	}
	return r.exchange(e)
}

// exchange asks the issuer, holding the claim, and writes what it said.
func (r *renewal) exchange(e *entry) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	g, err := r.way.renewer.Refresh(ctx, e.record.grant())
	cancel()
	silent := errors.Is(err, outpost.ErrUnavailable)
	switch {
	case err == nil && (g == nil || g.Identity == nil):
		r.release(true, firstRetry)
		return Postponed, errNoGrant
	case err != nil && !silent:
		return r.refuse(e, err)
	case silent && g == nil:
		r.release(true, backoff(r.failed()))
		return Postponed, err
	}
	if kept := r.keep(e, e.record.with(g, !silent, r.opts.Now())); kept != nil {
		if errors.Is(kept, store.ErrNotFound) {
			r.seen.forget(e.key)
			r.release(true, 0)
			return Gone, nil
		}
		return Lost, kept // and the claim stands: the old token must not be used
	}
	r.seen.forget(e.key) // also by who has read the old record and not yet remembered it
	now, _ := r.read()   // or the next request reads it
	if silent {
		r.hold(now)
		r.release(true, backoff(r.failed()))
		return Postponed, err
	}
	r.release(true, 0)
	return Renewed, nil
}

var errNoGrant = errors.New("the issuer granted the session to nobody")

// claim reports whether this process may renew the session.
func (r *renewal) claim() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	return r.store.Claim(ctx, claimPrefix+r.entry.key, store.Item{Value: []byte{1}, Expires: r.opts.Now().Add(claimLife)})
}

// release gives the claim back after a while, during which nobody tries.
func (r *renewal) release(mine bool, after time.Duration) {
	if !mine {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	// A claim that cannot be given back ends by itself.
	if after == 0 {
		_ = r.store.Delete(ctx, claimPrefix+r.entry.key)
		return
	}
	_ = r.store.Put(ctx, claimPrefix+r.entry.key, store.Item{Value: []byte{1}, Expires: r.opts.Now().Add(after)})
}

// read reads the session as it is now.
func (r *renewal) read() (*entry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	return r.fetch(ctx, r.entry.key, r.entry.value, r.entry.cookies)
}

// keep writes the new record in the place of the old, again and again while the
// store is silent: it has the only refresh token that the issuer still takes.
func (r *renewal) keep(e *entry, rec *Record) error {
	value, err := rec.encode()
	if err != nil {
		return err
	}
	end := time.Now().Add(writeTime)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		item := store.Item{Value: value, Expires: r.until(e), Tags: retagged(e, rec)}
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		err = r.store.Replace(ctx, e.key, item)
		cancel()
		if !errors.Is(err, store.ErrUnavailable) || !time.Now().Add(wait).Before(end) {
			return err
		}
		time.Sleep(jitter(wait))
	}
}

// until answers the idle limit: a request has used the session a moment ago,
// and what an extension has reached meanwhile stays.
func (r *renewal) until(e *entry) time.Time {
	used := r.asked.Add(r.life.Idle)
	if end := e.record.Created.Add(r.life.Absolute); used.After(end) {
		used = end
	}
	return time.Unix(0, max(used.UnixNano(), e.expires.Load(), r.entry.expires.Load()))
}

// retagged answers the tags of the session, of which only the issuer's session
// may be another one.
func retagged(e *entry, rec *Record) []string {
	if rec.SID == e.record.SID {
		return e.tags
	}
	return tags(appOf(e.tags), rec)
}

// refuse ends the session, unless another refresh token stands there now than
// the one that was refused.
func (r *renewal) refuse(e *entry, no error) (Result, error) {
	defer r.release(true, 0)
	now, err := r.read()
	switch {
	case errors.Is(err, outpost.ErrNoCredential):
		return Gone, nil
	case err != nil:
		return Postponed, err
	case now.record.Refresh != e.record.Refresh:
		return "", nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := r.Sessions.store.Delete(ctx, e.key); err != nil {
		return Postponed, unavailable(err)
	}
	r.seen.forget(e.key)
	return Refused, no
}

// wait lets the session be for about d.
func (r *renewal) wait(d time.Duration) {
	after := r.opts.Now().Add(jitter(d)).UnixNano()
	r.entry.next.after.Store(after)
	if r.held != nil {
		r.held.next.after.Store(after)
	}
}

// hold makes e, if any, the entry that goes on where the first one was.
func (r *renewal) hold(e *entry) {
	if e != nil {
		r.held = e
		e.next.failed.Store(r.entry.next.failed.Load())
	}
}

// failed answers how many failures in a row there are with this one.
func (r *renewal) failed() int { return int(r.entry.next.failed.Load()) + 1 }

// backoff answers how long to wait after so many failures in a row.
func backoff(failed int) time.Duration {
	return min(firstRetry<<min(failed-1, 10), lastRetry)
}

// jitter spreads d by a fifth each way, so that what was due at one moment is
// not tried again at one moment.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5) //nolint:gosec // no secret
}
