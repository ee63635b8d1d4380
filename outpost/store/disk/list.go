package disk

import (
	"bytes"
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/akprox/akprox/outpost/store"
)

// found is an item with its key, both the caller's own.
type found struct {
	key  string
	item store.Item
}

// List implements store.Lister. It reads in bounded steps: a reader that stays
// long keeps the file from growing, and a write of each would wait for it.
func (s *Store) List(ctx context.Context, prefix string, each func(key string, item store.Item) error) error {
	for from := []byte(prefix); from != nil; {
		if err := ctx.Err(); err != nil {
			return unavailable("list", err)
		}
		var some []found
		var next []byte
		err := s.view(func(tx *bolt.Tx) (err error) {
			some, next, err = s.page(tx, []byte(prefix), from)
			return err
		})
		if err != nil {
			return unavailable("list", err)
		}
		for _, f := range some {
			if err := each(f.key, f.item); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

// page answers the unexpired ones of at most chunk items at and behind from,
// and where to go on; nil at the end.
func (s *Store) page(tx *bolt.Tx, prefix, from []byte) (some []found, next []byte, err error) {
	now, c := s.now(), tx.Bucket([]byte(itemsBucket)).Cursor()
	k, v := c.Seek(from)
	for n := 0; k != nil && bytes.HasPrefix(k, prefix); n++ {
		if n == chunk {
			return some, bytes.Clone(k), nil
		}
		r, err := parse(bytes.Clone(v))
		if err != nil {
			return nil, nil, err
		}
		if !r.expired(now) {
			some = append(some, found{string(k), r.item()})
		}
		k, v = c.Next()
	}
	return some, nil, nil
}
