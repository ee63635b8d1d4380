package memory

import (
	"context"
	"strings"

	"github.com/akprox/akprox/outpost/store"
)

// List implements store.Lister. It looks at every key, a shard at a time.
func (s *Store) List(ctx context.Context, prefix string, each func(key string, item store.Item) error) error {
	for i := range s.shards {
		if err := gone(ctx); err != nil {
			return err
		}
		for _, e := range s.shards[i].under(prefix) {
			item, err := e.item(s.now())
			if err != nil { // expired
				continue
			}
			if err := each(e.key, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// under answers the entries whose keys begin with prefix. An entry never
// changes, so it is read without the lock.
func (h *shard) under(prefix string) (some []*entry) {
	h.RLock()
	defer h.RUnlock()
	for key, e := range h.entries {
		if strings.HasPrefix(key, prefix) {
			some = append(some, e)
		}
	}
	return some
}
