package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis/record"
)

// Store is a store.Store in Redis that also counts, lists, touches, replaces,
// claims, watches and tallies. New makes it, and Close must end it.
type Store struct {
	options Options
	ring    atomic.Pointer[record.Ring]
	scripts scripts
	link    *link
	ended   *ended
	counts  counts
}

// New makes a store and connects in the background: it fails only for settings
// that can never work. Until there is a connection, every call answers an error
// that wraps store.ErrUnavailable.
func New(o Options) (*Store, error) {
	o = o.filled()
	s := &Store{options: o, scripts: newScripts(), counts: counts{last: map[string]int{}}}
	if err := s.Rekey(o.Keys); err != nil {
		return nil, err
	}
	s.ended = &ended{keep: o.remember}
	l, err := newLink(o, s.changed, s.endAgain)
	if err != nil {
		return nil, err
	}
	s.link = l
	l.begin()
	return s, nil
}

// Close ends the connections. Later calls answer an error that wraps
// store.ErrUnavailable. Closing twice is no error.
func (s *Store) Close() error {
	s.link.close()
	return nil
}

// Rekey seals with the first of keys from now on, and reads what any of them
// sealed. Every key has 32 bytes.
func (s *Store) Rekey(keys [][]byte) error {
	r, err := record.NewRing(keys)
	if err == nil {
		s.ring.Store(&r)
	}
	return err
}

// Watch implements store.Watcher. What that means here, and what it does not,
// stands in the package's comment.
func (s *Store) Watch(changed func(key string)) { s.link.watcher.Store(&changed) }

// changed tells the watcher of a key as Redis has it; "" is any.
func (s *Store) changed(name string) {
	f := s.link.watcher.Load()
	if f == nil {
		return
	}
	if name == "" {
		(*f)("")
	} else if key, ok := s.keyOf(name); ok {
		(*f)(key)
	}
}

// name answers where the record of key stands. What begins with one ~ is not
// an item's.
func (s *Store) name(key string) string {
	if strings.HasPrefix(key, "~") {
		return s.options.Prefix + "~" + key
	}
	return s.options.Prefix + key
}

// own answers the name of something that is no item.
func (s *Store) own(kind, id string) string { return s.options.Prefix + "~" + kind + ":" + id }

// keyOf answers the key of the item whose record stands under name.
func (s *Store) keyOf(name string) (string, bool) {
	key, ok := strings.CutPrefix(name, s.options.Prefix)
	if ok && strings.HasPrefix(key, "~") {
		key, ok = strings.CutPrefix(key, "~")
		ok = ok && strings.HasPrefix(key, "~")
	}
	return key, ok && key != ""
}

// start answers a context that ends in time, and the client.
func (s *Store) start(ctx context.Context) (context.Context, context.CancelFunc, rueidis.Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	client, err := s.link.client(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	return ctx, cancel, client, nil
}

// fail makes the error of a call. What Redis answers may hold a key, and never
// a value or a password.
func fail(doing string, err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if e, ok := rueidis.IsRedisErr(err); ok && (strings.HasPrefix(e.Error(), "WRONGTYPE") || strings.HasPrefix(e.Error(), "UNREADABLE")) {
		err = fmt.Errorf("%w: %s", record.ErrUnreadable, e.Error())
	}
	return fmt.Errorf("redis: %s: %w: %w", doing, store.ErrUnavailable, err)
}

// Get answers the item under key, or store.ErrNotFound.
func (s *Store) Get(ctx context.Context, key string) (store.Item, error) {
	_, item, err := s.get(ctx, "get", key)
	return item, err
}

func (s *Store) get(ctx context.Context, doing, key string) (record.Head, store.Item, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return record.Head{}, store.Item{}, fail(doing, err)
	}
	defer cancel()
	if key == "" {
		return record.Head{}, store.Item{}, store.ErrNotFound
	}
	raw, err := client.Do(ctx, client.B().Get().Key(s.name(key)).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return record.Head{}, store.Item{}, store.ErrNotFound
	}
	var h record.Head
	var item store.Item
	if err == nil {
		h, item, err = s.ring.Load().Decode(s.name(key), raw)
	}
	if err != nil {
		return record.Head{}, store.Item{}, fail(doing, err)
	}
	if !time.Now().Before(item.Expires) { // by our clock too
		return record.Head{}, store.Item{}, store.ErrNotFound
	}
	return h, item, nil
}

// Put writes the item under key, replacing what stood there and its tags. An
// item that has already expired removes what stood there.
func (s *Store) Put(ctx context.Context, key string, item store.Item) error {
	_, err := s.write(ctx, "put", key, item)
	return err
}

// Replace implements store.Replacer.
func (s *Store) Replace(ctx context.Context, key string, item store.Item) error {
	done, err := s.write(ctx, "replace", key, item)
	if err == nil && !done {
		err = store.ErrNotFound
	}
	return err
}

// Claim implements store.Claimer.
func (s *Store) Claim(ctx context.Context, key string, item store.Item) (bool, error) {
	return s.write(ctx, "claim", key, item)
}

// write writes the item as how says ("put", "replace", "claim") and reports
// whether it did.
func (s *Store) write(ctx context.Context, how, key string, item store.Item) (bool, error) {
	if err := store.Check(key, item); err != nil {
		return false, err
	}
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return false, fail(how, err)
	}
	defer cancel()
	if !time.Now().Before(item.Expires) {
		return s.writePast(ctx, client, how, key)
	}
	name := s.name(key)
	h, raw := s.ring.Load().Encode(name, item)
	if err := s.enlist(ctx, client, key, h); err != nil {
		return false, fail(how, err)
	}
	call := call{name, []string{rueidis.BinaryString(raw), strconv.FormatInt(h.Expires, 10), how}}
	old, err := s.scripts.put.run(ctx, client, call)[0].AsBytes()
	switch {
	case rueidis.IsRedisNil(err):
		s.delist(ctx, client, key, h)
		return false, nil
	case err != nil:
		return false, fail(how, err)
	}
	if was, _, err := record.ParseHead(old); err == nil {
		s.delist(ctx, client, key, was)
	}
	return true, nil
}

// writePast is write for an item whose time is over.
func (s *Store) writePast(ctx context.Context, client rueidis.Client, how, key string) (bool, error) {
	if how == "claim" {
		n, err := client.Do(ctx, client.B().Exists().Key(s.name(key)).Build()).AsInt64()
		if err != nil {
			return false, fail(how, err)
		}
		return n == 0, nil
	}
	stood, err := s.drop(ctx, client, key, "any", "")
	if err != nil {
		return false, fail(how, err)
	}
	return stood || how == "put", nil
}

// drop deletes what stands under key if it fits, as dropScript has it, and
// reports whether it did.
func (s *Store) drop(ctx context.Context, client rueidis.Client, key, fit, by string) (bool, error) {
	raw, err := s.scripts.drop.run(ctx, client, call{s.name(key), []string{fit, by}})[0].AsBytes()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if h, _, err := record.ParseHead(raw); err == nil {
		s.ended.note(key, h.ID)
		s.delist(ctx, client, key, h)
	}
	return true, nil
}

// Take answers the item under key and deletes it: exactly one caller gets it.
// It reads first, so that nothing is deleted that cannot be read.
func (s *Store) Take(ctx context.Context, key string) (store.Item, error) {
	for {
		h, item, err := s.get(ctx, "take", key)
		if err != nil {
			return store.Item{}, err
		}
		ctx, cancel, client, err := s.start(ctx)
		if err != nil {
			return store.Item{}, fail("take", err)
		}
		mine, err := s.drop(ctx, client, key, "token", h.Token)
		cancel()
		switch {
		case err != nil:
			return store.Item{}, fail("take", err)
		case mine:
			return item, nil
		} // another took it, or wrote another one: the next round tells
	}
}

// Delete removes the item under key; one that is not there is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return fail("delete", err)
	}
	defer cancel()
	if key == "" {
		return nil
	}
	if _, err := s.drop(ctx, client, key, "any", ""); err != nil {
		return fail("delete", err)
	}
	return nil
}

// Touch implements store.Toucher. The tags' entries get their longer life
// first, so that at no time a living item is in no index.
func (s *Store) Touch(ctx context.Context, key string, expires time.Time) error {
	for {
		h, item, err := s.get(ctx, "touch", key)
		if err != nil || expires.UnixMilli() <= item.Expires.UnixMilli() {
			return err
		}
		done, err := s.touch(ctx, key, h, expires)
		if err != nil {
			return fail("touch", err)
		}
		if done {
			return nil
		}
	}
}

// touch moves the expiry of the record that h is the head of, unless another
// stands there by now.
func (s *Store) touch(ctx context.Context, key string, h record.Head, expires time.Time) (bool, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return false, err
	}
	defer cancel()
	old := stamp(h.Expires)
	h.Expires = expires.UnixMilli()
	if err := s.enlist(ctx, client, key, h); err != nil {
		return false, err
	}
	call := call{s.name(key), []string{h.Token, old, stamp(h.Expires), strconv.FormatInt(h.Expires, 10)}}
	n, err := s.scripts.touch.run(ctx, client, call)[0].AsInt64()
	if err == nil && n < 0 { // it has gone, and its entries before ours
		s.delist(ctx, client, key, h)
	}
	return n == 1, err
}
