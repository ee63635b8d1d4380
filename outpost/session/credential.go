package session

import (
	"context"
	"errors"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// Credential answers the kind that reads app's session cookie for sign-ins at
// one provider. A cookie that is unknown, malformed or expired is "not mine".
func (s *Sessions) Credential(provider string, cookie outpost.CookieReach, life outpost.Lifetimes) outpost.Credential {
	return &credential{sessions: s, provider: provider, cookie: cookie.Name, life: life}
}

type credential struct {
	sessions *Sessions
	provider string
	cookie   string
	life     outpost.Lifetimes
}

// Identify implements outpost.Credential.
func (c *credential) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	found, n := cookieValues(r.Header, c.cookie)
	for _, value := range found[:n] {
		rec, err := c.sessions.find(ctx, c.cookie, value, c.life)
		switch {
		case err == nil && rec.Identity.Provider == c.provider:
			return rec.Identity, nil
		case err != nil && !errors.Is(err, outpost.ErrNoCredential):
			return nil, err
		}
	}
	return nil, outpost.ErrNoCredential
}

// find answers the live record behind a cookie's value, from memory when it
// was seen before.
func (s *Sessions) find(ctx context.Context, cookie, value string, life outpost.Lifetimes) (*Record, error) {
	now := s.now()
	e := s.seen.get(value)
	if e == nil || !e.alive(now, life) { // what is held may be older than what is kept
		var err error
		if e, err = s.load(ctx, cookie, value); err != nil {
			return nil, err
		}
	}
	if e.record.Cookie != cookie || !e.alive(now, life) {
		return nil, outpost.ErrNoCredential
	}
	s.extend(ctx, value, e, now, life)
	return e.record, nil
}

// load reads a record from the store and remembers it, unless any session was
// ended meanwhile.
func (s *Sessions) load(ctx context.Context, cookie, value string) (*entry, error) {
	epoch := s.seen.epoch.Load()
	id, ok := s.cookies.Load().read(cookie, value)
	if !ok {
		return nil, outpost.ErrNoCredential
	}
	item, err := s.store.Get(ctx, key(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, outpost.ErrNoCredential
	}
	if err != nil {
		return nil, unavailable(err)
	}
	rec := decode(item.Value)
	if rec == nil {
		return nil, outpost.ErrNoCredential
	}
	e := &entry{key: key(id), record: rec}
	e.expires.Store(item.Expires.UnixNano())
	s.seen.put(value, e, epoch)
	return e, nil
}

// extend moves the idle limit once a tenth of it has gone by, in the
// background: no request waits for it, and one that fails is tried again by
// the next.
func (s *Sessions) extend(ctx context.Context, value string, e *entry, now time.Time, life outpost.Lifetimes) {
	until := now.Add(life.Idle)
	if end := e.record.Created.Add(life.Absolute); until.After(end) {
		until = end
	}
	if until.UnixNano()-e.expires.Load() < int64(life.Idle/10) {
		return
	}
	toucher, ok := s.store.(store.Toucher)
	if !ok || !e.busy.CompareAndSwap(false, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	go func() {
		defer cancel()
		defer e.busy.Store(false)
		switch err := toucher.Touch(ctx, e.key, until); {
		case err == nil:
			e.expires.Store(until.UnixNano())
		case errors.Is(err, store.ErrNotFound):
			s.seen.forget(value) // ended by somebody else
		}
	}()
}
