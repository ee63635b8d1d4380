package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// Record is what is kept of one sign-in.
type Record struct {
	Identity *outpost.Identity `json:"identity"`
	Cookie   string            `json:"cookie"`        // name of the cookie it belongs to
	SID      string            `json:"sid,omitempty"` // the issuer's session id
	Created  time.Time         `json:"created"`
}

// Prefix is the beginning of every session's key, for store.Counter.
const Prefix = "session:"

// Sessions makes, finds and ends sessions. Its methods are safe for
// concurrent use.
type Sessions struct {
	store   store.Store
	cookies atomic.Pointer[cookies]
	seen    seen
	now     func() time.Time
}

// New answers Sessions kept in st, whose cookies are signed with hashKey (32
// bytes or more, used for nothing else).
func New(st store.Store, hashKey []byte, now func() time.Time) *Sessions {
	s := &Sessions{store: st, now: now}
	s.Rekey(hashKey)
	return s
}

// Rekey signs with hashKey from now on. Cookies signed with another key are
// unknown from the same moment.
func (s *Sessions) Rekey(hashKey []byte) {
	c := newCookies(hashKey)
	s.cookies.Store(&c)
	s.seen.forgetAll()
}

// Create begins a session of app for the granted identity, under an id that
// was never used, and sends its cookie. What the browser presented before is
// ended. The cookie is written only when the store has acknowledged the record.
func (s *Sessions) Create(ctx context.Context, w http.ResponseWriter, r *http.Request, app *outpost.Application, g *outpost.Grant) error {
	if _, err := s.end(ctx, r.Header, app); err != nil {
		return err
	}
	id := make([]byte, 32)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	now := s.now()
	value, err := json.Marshal(Record{Identity: g.Identity, Cookie: app.Cookie.Name, SID: g.SID, Created: now})
	if err != nil {
		return fmt.Errorf("session record: %w", err)
	}
	item := store.Item{Value: value, Expires: now.Add(min(app.Session.Idle, app.Session.Absolute)), Tags: tags(app, g)}
	if err := s.store.Put(ctx, key(id), item); err != nil {
		return fmt.Errorf("keep the session: %w", unavailable(err))
	}
	cookie, err := s.cookies.Load().make(app.Cookie, id, app.Session.Absolute)
	if err != nil {
		return err
	}
	http.SetCookie(w, cookie)
	return nil
}

// Current answers the session of app that the request presents, or
// outpost.ErrNoCredential.
func (s *Sessions) Current(ctx context.Context, app *outpost.Application, h http.Header) (*Record, error) {
	found, n := cookieValues(h, app.Cookie.Name)
	for _, value := range found[:n] {
		rec, err := s.find(ctx, app.Cookie.Name, value, app.Session)
		if !errors.Is(err, outpost.ErrNoCredential) {
			return rec, err
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

// EndTagged ends every session that carries tag and says how many.
func (s *Sessions) EndTagged(ctx context.Context, tag string) (int, error) {
	n, err := s.store.DeleteTagged(ctx, tag)
	s.seen.forgetAll()
	return n, unavailable(err)
}

// SubjectTag and SIDTag name the sessions of one person, and of one session at
// the issuer.
func SubjectTag(provider, subject string) string { return "sub:" + provider + ":" + subject }

// SIDTag names the sessions that belong to one session at the issuer.
func SIDTag(provider, sid string) string { return "sid:" + provider + ":" + sid }

func tags(app *outpost.Application, g *outpost.Grant) []string {
	t := []string{"app:" + app.Name}
	if s := SubjectTag(g.Identity.Provider, g.Identity.Subject); len(s) <= store.MaxKey {
		t = append(t, s)
	}
	if s := SIDTag(g.Identity.Provider, g.SID); g.SID != "" && len(s) <= store.MaxKey {
		t = append(t, s)
	}
	return t
}

// end deletes every record that the presented cookies name.
func (s *Sessions) end(ctx context.Context, h http.Header, app *outpost.Application) (*Record, error) {
	var ended *Record
	found, n := cookieValues(h, app.Cookie.Name)
	for _, value := range found[:n] {
		id, ok := s.cookies.Load().read(app.Cookie.Name, value)
		if !ok {
			continue
		}
		item, err := s.store.Take(ctx, key(id))
		s.seen.forget(value)
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

// key is where the session with this id stands; only a hash, so that a reader
// of the store cannot make the cookie.
func key(id []byte) string {
	sum := sha256.Sum256(id)
	return Prefix + base64.RawURLEncoding.EncodeToString(sum[:])
}

// decode answers nil for a record that is not one of ours.
func decode(value []byte) *Record {
	var rec Record
	if err := json.Unmarshal(value, &rec); err != nil || rec.Identity == nil || rec.Cookie == "" {
		return nil
	}
	return &rec
}

// unavailable marks an error of the store as "nobody could be asked".
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", outpost.ErrUnavailable, err)
}
