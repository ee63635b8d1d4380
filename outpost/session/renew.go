package session

import (
	"bytes"
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
	next  *tries // of the entry as it was read last
	life  outpost.Lifetimes
	asked time.Time // when a request found it due
	stays bool      // its claim stands until it ends by itself
}

// renew begins the renewal of a session that is due, unless one is under way
// here or its issuer is known not to answer. It does not wait for anything.
func (s *Sessions) renew(w way, e *entry, life outpost.Lifetimes, now time.Time) {
	st, ok := s.store.(powers)
	if !ok || !s.lanes.take(e.key) {
		return
	}
	r := &renewal{Sessions: s, store: st, way: w, entry: e, next: e.next, life: life, asked: now}
	if w.issuer.Ready() == nil && s.lanes.begin(w.party, r.run) {
		return
	}
	r.wait(firstRetry)
	s.lanes.give(e.key)
}

// Close begins no more renewals and waits for those under way, so that no
// refresh token is lost, until ctx ends.
func (s *Sessions) Close(ctx context.Context) error { return s.lanes.close(ctx) }

// run renews the session, and tells what became of it.
func (r *renewal) run() {
	defer r.done()
	result, err := r.do()
	if result == "" {
		return
	}
	if result == Postponed || result == Lost {
		r.wait(r.next.backoff())
		r.next.failed.Add(1)
	}
	id := r.entry.record.Identity
	r.opts.Observe(Renewal{Provider: r.way.provider, Identity: id.Label(), Result: result, Err: err})
}

// done lets this process renew the session again: at once, or when a claim of
// its own that has to stand has ended.
func (r *renewal) done() {
	if r.stays {
		time.AfterFunc(claimLife, func() { r.lanes.give(r.entry.key) })
		return
	}
	r.lanes.give(r.entry.key)
}

// do answers "" where another process renews the session, or has done so.
func (r *renewal) do() (Result, error) {
	mine, err := r.claim()
	if err != nil {
		return Postponed, err
	}
	e, err := r.read()
	old := err == nil && e.old(r.opts.Now(), r.life.Refresh)
	if mine && !old {
		r.release(0)
	}
	switch {
	case err != nil && !errors.Is(err, outpost.ErrNoCredential):
		return Postponed, err
	case !old:
		return "", nil
	case !mine:
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
		r.release(r.next.backoff())
		return Postponed, errNoGrant
	case err != nil && !silent:
		return r.refuse(e, err)
	case silent && g == nil:
		r.release(r.next.backoff())
		return Postponed, err
	}
	kept := r.keep(e, e.record.with(g, !silent, r.opts.Now()))
	if !silent && errors.Is(kept, store.ErrTooLarge) {
		// There is no room for what the issuer said. Its new token is kept beside
		// what was known: the old one is worth nothing any more.
		silent, err = true, kept
		kept = r.keep(e, e.record.with(g, false, r.opts.Now()))
	}
	switch {
	case errors.Is(kept, store.ErrNotFound):
		r.seen.forget(e.key)
		r.release(0)
		return Gone, nil
	case kept != nil:
		r.stays = true // the old token must not be used
		return Lost, kept
	}
	r.seen.forget(e.key) // also by who has read the old record and not yet remembered it
	_, _ = r.read()      // or the next request reads it
	if silent {
		r.release(r.next.backoff())
		return Postponed, err
	}
	r.release(0)
	return Renewed, nil
}

var errNoGrant = errors.New("the issuer granted the session to nobody")

// claim reports whether this process may renew the session.
func (r *renewal) claim() (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	now, key := r.opts.Now(), claimPrefix+r.entry.key
	claim := store.Item{Value: r.self, Expires: now.Add(claimLife)}
	mine, err := r.store.Claim(ctx, key, claim)
	if mine || err != nil {
		return mine, err
	}
	if left, err := r.regain(ctx, key, now); !left || err != nil {
		return false, err
	}
	return r.store.Claim(ctx, key, claim)
}

// regain takes away a claim of this process that stands though nothing here
// uses it, and reports whether it did. A call that failed may have happened
// nevertheless, or happen yet, so that a claim stands which was never answered,
// or one that was given back.
func (r *renewal) regain(ctx context.Context, key string, now time.Time) (bool, error) {
	stands, err := r.store.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound): // given back just now
		return false, nil
	case err != nil:
		return false, err
	case !bytes.Equal(stands.Value, r.self) || stands.Expires.Sub(now) < claimLife/2: // another's, or soon it may be
		return false, nil
	}
	taken, err := r.store.Take(ctx, key)
	if err == nil && !bytes.Equal(taken.Value, r.self) { // it came in between, and goes back
		_, err = r.store.Claim(ctx, key, taken)
		return false, err
	}
	return err == nil, err
}

// release gives the claim back, at once or after a while during which nobody
// tries.
//
// It is taken, not deleted: should that happen late, it hits the claim that it
// was meant for and no later one. A pause would hit any, and so the claim has
// to stand when that may come late.
func (r *renewal) release(after time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if after == 0 {
		_, _ = r.store.Take(ctx, claimPrefix+r.entry.key) // or regain does
		return
	}
	pause := store.Item{Expires: r.opts.Now().Add(after)} // nobody's
	r.stays = r.store.Put(ctx, claimPrefix+r.entry.key, pause) != nil
}

// read reads the session as it is now, and goes on with its tries. They are the
// same ones, unless the session was not held any more; then the failures are
// those of before, as long as the issuer has not vouched.
func (r *renewal) read() (*entry, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	e, err := r.fetch(ctx, r.entry.key, r.entry.value, r.entry.cookies)
	if err != nil {
		return nil, err
	}
	if e.renewed == r.entry.renewed {
		e.next.failed.Store(r.next.failed.Load())
	}
	r.next = e.next
	return e, nil
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
	defer r.release(0)
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
func (r *renewal) wait(d time.Duration) { r.next.after.Store(r.opts.Now().Add(jitter(d)).UnixNano()) }

// backoff answers how long to wait after one more failure.
func (t *tries) backoff() time.Duration { return min(firstRetry<<min(t.failed.Load(), 10), lastRetry) }

// jitter spreads d by a fifth each way, so that what was due at one moment is
// not tried again at one moment.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5) //nolint:gosec // no secret
}
