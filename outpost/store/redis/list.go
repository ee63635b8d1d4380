package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis/record"
)

// List implements store.Lister. It goes through all keys of the database, in
// bounded steps, and remembers the keys that it has told. What cannot be read
// is left out, and told at the end by an error.
func (s *Store) List(ctx context.Context, prefix string, each func(key string, item store.Item) error) error {
	var unreadable, stopped error
	told := map[string]bool{}
	err := s.scan(ctx, prefix, func(keys []string) error {
		var fresh []string
		for _, key := range keys {
			if !told[key] {
				told[key] = true
				fresh = append(fresh, key)
			}
		}
		found, err := s.readAll(ctx, fresh)
		for _, f := range found {
			if f.err != nil {
				unreadable = fmt.Errorf("%q: %w", f.key, f.err)
				continue
			}
			if stopped = each(f.key, f.item); stopped != nil {
				return stopped
			}
		}
		return err
	})
	switch {
	case stopped != nil:
		return stopped
	case err == nil:
		err = unreadable
	}
	if err != nil {
		return fail("list", err)
	}
	return nil
}

// found is an item with its key, or why it cannot be read.
type found struct {
	key  string
	item store.Item
	err  error
}

// readAll reads the items under keys; those that have gone are left out.
func (s *Store) readAll(ctx context.Context, keys []string) ([]found, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	defer cancel()
	batch := make([]rueidis.Completed, len(keys))
	for i, key := range keys {
		batch[i] = client.B().Get().Key(s.name(key)).Build()
	}
	var all []found
	ring, now := *s.ring.Load(), time.Now()
	for i, result := range client.DoMulti(ctx, batch...) {
		raw, err := result.AsBytes()
		_, refused := rueidis.IsRedisErr(err)
		switch {
		case rueidis.IsRedisNil(err):
			continue
		case refused && strings.HasPrefix(err.Error(), "WRONGTYPE"):
			all = append(all, found{key: keys[i], err: fmt.Errorf("%w: %w", record.ErrUnreadable, err)})
			continue
		case err != nil:
			return nil, err
		}
		_, item, err := ring.Decode(s.name(keys[i]), raw)
		if err != nil || now.Before(item.Expires) {
			all = append(all, found{keys[i], item, err})
		}
	}
	return all, nil
}

// scan tells visit of every key that begins with prefix, some at a time, a key
// perhaps more than once.
func (s *Store) scan(ctx context.Context, prefix string, visit func(keys []string) error) error {
	first, cancel, client, err := s.start(ctx)
	if err != nil {
		return err
	}
	nodes, err := primaries(first, client)
	cancel()
	if err != nil {
		return err
	}
	for _, node := range nodes {
		for cursor, more := uint64(0), true; more; more = cursor != 0 {
			step, cancel := context.WithTimeout(ctx, s.options.Timeout)
			got, err := node.Do(step, node.B().Scan().Cursor(cursor).Match(glob(s.name(prefix))+"*").Count(4*page).Build()).AsScanEntry()
			cancel()
			if err != nil {
				return err
			}
			var keys []string
			for _, name := range got.Elements {
				if key, ok := s.keyOf(name); ok && strings.HasPrefix(key, prefix) {
					keys = append(keys, key)
				}
			}
			if err := visit(keys); err != nil {
				return err
			}
			cursor = got.Cursor
		}
	}
	return nil
}

// glob writes a text as a pattern that only the text itself fits.
func glob(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(text)
}

// counts is what was counted last, by prefix.
type counts struct {
	mu   sync.Mutex
	last map[string]int
}

func (c *counts) get(prefix string) (int, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, ok := c.last[prefix]
	return n, ok
}

func (c *counts) set(prefix string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last[prefix] = n
}

const (
	countShare = 50 // counting may take a fiftieth of the time
	countLong  = time.Minute
	countWait  = 200 * time.Millisecond
)

// Count implements store.Counter. One process counts for all of them and leaves
// the number in Redis, for Options.CountEvery and at least fifty times as long
// as counting took. So of a small store the number is some seconds old; of a
// million items, where counting takes a second, up to a minute.
func (s *Store) Count(ctx context.Context, prefix string) (int, error) {
	last, known := s.counts.get(prefix)
	wait, cancel := context.WithTimeout(ctx, max(countWait, s.options.Timeout))
	defer cancel()
	for round := 0; ; round++ {
		n, ok, err := s.counted(ctx, prefix)
		if err != nil {
			return 0, fail("count", err)
		}
		if ok {
			s.counts.set(prefix, n)
			return n, nil
		}
		select {
		case <-time.After(countWait / 10):
		case <-wait.Done():
			return 0, fail("count", wait.Err())
		}
		if known && round >= 10 {
			return last, nil
		}
	}
}

// counted answers the number in Redis. When there is none, it sees to it that
// somebody counts.
func (s *Store) counted(ctx context.Context, prefix string) (int, bool, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return 0, false, err
	}
	defer cancel()
	id := (*s.ring.Load())[0].Digest("count " + prefix).String()
	n, err := client.Do(ctx, client.B().Get().Key(s.own("count", id)).Build()).AsInt64()
	if err == nil || !rueidis.IsRedisNil(err) {
		return int(n), err == nil, err
	}
	lock := s.own("counting", id)
	err = client.Do(ctx, client.B().Set().Key(lock).Value("1").Nx().PxMilliseconds(countLong.Milliseconds()).Build()).Error()
	if err == nil {
		go s.recount(prefix, id, lock) // #nosec G118 -- outlives who asked: all instances wait for it
	}
	if rueidis.IsRedisNil(err) { // another counts
		err = nil
	}
	return 0, false, err
}

// recount counts and leaves the number in Redis.
func (s *Store) recount(prefix, id, lock string) {
	ctx, cancel := context.WithTimeout(context.Background(), countLong)
	defer cancel()
	began, n := time.Now(), 0
	err := s.scan(ctx, prefix, func(keys []string) error { n += len(keys); return nil })
	last, done, client, fault := s.start(context.Background())
	if fault != nil {
		return
	}
	defer done()
	if err == nil {
		life := max(s.options.CountEvery, countShare*time.Since(began))
		client.Do(last, client.B().Set().Key(s.own("count", id)).Value(strconv.Itoa(n)).PxMilliseconds(life.Milliseconds()).Build())
	}
	client.Do(last, client.B().Del().Key(lock).Build())
}
