package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// Options is how Sessions live. The zero value is ready.
type Options struct {
	Now func() time.Time // nil means time.Now
	// Grace is how long sessions go on that this process holds while the store
	// does not answer; see the package's comment. 0 means not at all.
	Grace time.Duration
	// Observe, when set, is told what became of every renewal. It must not
	// block.
	Observe func(Renewal)
}

// Sessions makes, finds, renews and ends sessions. Its methods are safe for
// concurrent use.
type Sessions struct {
	known
	lanes lanes
	self  []byte // names this process, in this life, in its claims
}

// New answers Sessions kept in st; keys are as for Rekey. If st is a
// store.Watcher, it is watched from now on.
func New(st store.Store, keys [][]byte, o Options) *Sessions {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(Renewal) {}
	}
	s := &Sessions{known: known{store: st, seen: newSeen(), opts: o}, self: []byte(rand.Text())}
	s.Rekey(keys)
	if w, ok := st.(store.Watcher); ok {
		w.Watch(s.changed)
	}
	return s
}

// Rekey signs new cookies with the first of keys from now on, and knows those
// signed with any of them; all others are unknown from the same moment. A key
// has 32 bytes or more and is used for nothing else.
func (s *Sessions) Rekey(keys [][]byte) {
	c := newCookies(keys)
	s.cookies.Store(&c)
	s.seen.forgetTagged("")
}

// Create begins a session of app for the granted identity, under an id that
// was never used, and sends its cookie. What the browser presented before is
// ended. The cookie is written only when the store has acknowledged the record.
func (s *Sessions) Create(ctx context.Context, w http.ResponseWriter, r *http.Request, app *outpost.Application, g *outpost.Grant) error {
	return s.CreateIf(ctx, w, r, app, g, func() error { return nil })
}

// CreateIf is Create for a sign-in that others can end while it is under way.
// When good, which is asked once the record is kept, answers an error, that
// record alone is deleted again, no cookie is written and the error is answered.
func (s *Sessions) CreateIf(ctx context.Context, w http.ResponseWriter, r *http.Request, app *outpost.Application, g *outpost.Grant, good func() error) error {
	if _, err := s.end(ctx, r.Header, app); err != nil {
		return err
	}
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	now := s.opts.Now()
	rec := begun(app, g, now)
	value, err := rec.encode()
	if err != nil {
		return err
	}
	item := store.Item{Value: value, Expires: now.Add(min(app.Session.Idle, app.Session.Absolute)), Tags: tags(app.Name, rec)}
	if err := s.store.Put(ctx, key(id), item); err != nil {
		return fmt.Errorf("keep the session: %w", unavailable(err))
	}
	if err := good(); err != nil {
		_ = s.store.Delete(ctx, key(id)) // its id never leaves us, so that nobody can use it
		return err
	}
	cookie, err := s.cookies.Load().make(app.Cookie, id, app.Session.Absolute)
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie)
	return nil
}

// begun answers the record of a sign-in. A refresh token is kept only where it
// will be used.
func begun(app *outpost.Application, g *outpost.Grant, now time.Time) *Record {
	rec := &Record{Identity: g.Identity, Cookie: app.Cookie.Name, SID: g.SID, Created: now}
	if app.SignIn == nil || app.SignIn.Provider != g.Identity.Provider {
		return rec
	}
	way := wayOf(app.SignIn.Provider, app.SignIn.Issuer)
	rec.Party = way.party
	if way.renewer != nil && g.Refresh != "" && len(g.Refresh) <= maxRefresh {
		rec.Refresh, rec.Renewed, rec.Until = g.Refresh, now, g.Expires
	}
	return rec
}

// Current answers the session of app that the request presents, or
// outpost.ErrNoCredential.
func (s *Sessions) Current(ctx context.Context, app *outpost.Application, h http.Header) (*Record, error) {
	found := cookieValues(h, app.Cookie.Name)
	for value, ok := found.next(); ok; value, ok = found.next() {
		e, _, err := s.find(ctx, app.Cookie.Name, value, app.Session)
		switch {
		case errors.Is(err, outpost.ErrNoCredential):
		case err != nil:
			return nil, err
		case app.SignIn != nil && app.SignIn.Provider == e.record.Identity.Provider &&
			!wayOf(app.SignIn.Provider, app.SignIn.Issuer).admits(e.record):
		default:
			return e.record, nil
		}
	}
	return nil, outpost.ErrNoCredential
}

// End ends the session of app that the request presents, here and in the
// browser, and answers what it was; nil when there was none.
func (s *Sessions) End(ctx context.Context, w http.ResponseWriter, r *http.Request, app *outpost.Application) (*Record, error) {
	rec, err := s.end(ctx, r.Header, app)
	if err != nil {
		return nil, err
	}
	http.SetCookie(w, s.cookies.Load().expire(app.Cookie))
	return rec, nil
}

// EndTagged ends every session that carries tag and says how many. When it
// returns, none of them is accepted by this process any more; by others that
// share the store, as soon as the store has told them.
func (s *Sessions) EndTagged(ctx context.Context, tag string) (int, error) {
	n, err := s.store.DeleteTagged(ctx, tag)
	s.seen.forgetTagged(tag)
	return n, unavailable(err)
}

// end deletes every record that the presented cookies name.
func (s *Sessions) end(ctx context.Context, h http.Header, app *outpost.Application) (*Record, error) {
	var ended *Record
	found := cookieValues(h, app.Cookie.Name)
	for value, ok := found.next(); ok; value, ok = found.next() {
		id, ours := s.cookies.Load().read(app.Cookie.Name, value)
		if !ours {
			continue
		}
		item, err := s.store.Take(ctx, key(id))
		s.seen.forget(key(id))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, unavailable(err)
		}
		if rec := decode(item.Value); rec != nil && ended == nil {
			ended = rec
		}
	}
	return ended, nil
}

// unavailable marks an error of the store as "nobody could be asked".
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", outpost.ErrUnavailable, err)
}
