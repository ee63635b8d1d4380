package session

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// known finds sessions: in memory, and else in the store.
type known struct {
	store   store.Store
	cookies atomic.Pointer[cookies]
	seen    *seen
	opts    Options
	silent  atomic.Int64 // the store did not answer: Unix nanoseconds until which nobody in grace asks it again
}

// changed is what a store.Watcher tells.
func (k *known) changed(key string) {
	switch {
	case key == "":
		k.seen.lose(k.opts.Now())
	case strings.HasPrefix(key, Prefix): // nothing else is held
		k.seen.forget(key)
	}
}

// find answers the live session behind a cookie's value, from memory when it
// was seen before, and the time of the answer.
func (k *known) find(ctx context.Context, cookie, value string, life outpost.Lifetimes) (*entry, time.Time, error) {
	now := k.opts.Now()
	e := k.seen.get(value)
	if e != nil && e.cookies != k.cookies.Load() {
		e = nil // signed when there were other keys
	}
	if e == nil || !e.alive(now, life) || !e.confirmed() { // what is held may be older than what is kept
		var err error
		if e, err = k.ask(ctx, cookie, value, e, now, life); err != nil {
			return nil, now, err
		}
	}
	if e.record.Cookie != cookie || !e.alive(now, life) {
		return nil, now, outpost.ErrNoCredential
	}
	k.extend(ctx, e, now, life)
	return e, now, nil
}

// How long the store is waited for, and left alone, where the answer can do
// without it.
const (
	graceWait  = 500 * time.Millisecond
	graceQuiet = time.Second
)

// ask reads the session from the store. When the store does not answer, what
// is held may go on for a while.
func (k *known) ask(ctx context.Context, cookie, value string, held *entry, now time.Time, life outpost.Lifetimes) (*entry, error) {
	if held == nil || !held.alive(now, life) || !k.inGrace(held, now) {
		return k.load(ctx, cookie, value)
	}
	if now.UnixNano() < k.silent.Load() {
		return held, nil
	}
	short, cancel := context.WithTimeout(ctx, graceWait)
	defer cancel()
	e, err := k.load(short, cookie, value)
	if errors.Is(err, outpost.ErrUnavailable) {
		if ctx.Err() == nil {
			k.silent.Store(now.Add(graceQuiet).UnixNano())
		}
		return held, nil
	}
	return e, err
}

// inGrace reports whether the watch over e was lost a short while ago. A clock
// that was set back since ends the grace.
func (k *known) inGrace(e *entry, now time.Time) bool {
	ago := now.UnixNano() - e.era.lost.Load()
	return ago >= 0 && ago < int64(k.opts.Grace)
}

// load reads the session of a cookie from the store.
func (k *known) load(ctx context.Context, cookie, value string) (*entry, error) {
	signed := k.cookies.Load()
	id, ok := signed.read(cookie, value)
	if !ok {
		return nil, outpost.ErrNoCredential
	}
	return k.fetch(ctx, key(id), value, signed)
}

// fetch reads a session from the store and remembers it, unless it has changed
// meanwhile. One that is not there is outpost.ErrNoCredential. signed are the
// keys that value was read with: it is worth nothing once there are others.
func (k *known) fetch(ctx context.Context, key, value string, signed *cookies) (*entry, error) {
	mark, era := k.seen.mark(key)
	item, err := k.store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		k.seen.forget(key)
		return nil, outpost.ErrNoCredential
	}
	if err != nil {
		return nil, unavailable(err)
	}
	rec := decode(item.Value)
	if rec == nil {
		k.seen.forget(key)
		return nil, outpost.ErrNoCredential
	}
	e := newEntry(key, value, rec, item, era)
	e.cookies = signed
	k.seen.put(e, mark)
	return e, nil
}

// extend moves the idle limit once a tenth of it has gone by, in the
// background: no request waits for it, and one that fails is tried again by
// the next.
func (k *known) extend(ctx context.Context, e *entry, now time.Time, life outpost.Lifetimes) {
	until := now.Add(life.Idle)
	if end := e.record.Created.Add(life.Absolute); until.After(end) {
		until = end
	}
	if until.UnixNano()-e.expires.Load() < int64(life.Idle/10) {
		return
	}
	toucher, ok := k.store.(store.Toucher)
	if !ok || !e.touching.CompareAndSwap(false, true) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	go func() {
		defer cancel()
		defer e.touching.Store(false)
		switch err := toucher.Touch(ctx, e.key, until); {
		case err == nil:
			e.expires.Store(until.UnixNano())
		case errors.Is(err, store.ErrNotFound):
			k.seen.forget(e.key) // ended by somebody else
		}
	}()
}
