package memory

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// shard is a part of the keys behind one lock.
type shard struct {
	sync.RWMutex
	entries map[string]*entry
	tags    map[string]*link // the first entry of each tag
	counts  map[string]int   // how many entries of each store.Class
}

// entry is one item. Only its links change once it was added.
type entry struct {
	key     string
	value   []byte
	expires int64 // milliseconds since 1970
	tags    []string
	links   []link
}

// link makes the entries of one tag a list, which any of them can leave at
// once: a tag may have one entry or all of them.
type link struct {
	entry      *entry
	tag        string
	prev, next *link
}

// newEntry copies the item. A tag that stands there twice is linked twice,
// which costs a few bytes and does no harm.
func newEntry(key string, item store.Item) *entry {
	e := &entry{
		key: key, value: bytes.Clone(item.Value),
		expires: item.Expires.UnixMilli(), tags: slices.Clone(item.Tags),
	}
	e.links = make([]link, len(e.tags))
	for i, tag := range e.tags {
		e.links[i] = link{entry: e, tag: tag}
	}
	return e
}

func (e *entry) expired(now time.Time) bool { return now.UnixMilli() >= e.expires }

func (h *shard) add(e *entry) {
	h.entries[e.key] = e
	h.counts[store.Class(e.key)]++
	for i := range e.links {
		l := &e.links[i]
		if l.next = h.tags[l.tag]; l.next != nil {
			l.next.prev = l
		}
		h.tags[l.tag] = l
	}
}

func (h *shard) remove(e *entry) {
	if e == nil {
		return
	}
	delete(h.entries, e.key)
	class := store.Class(e.key)
	if h.counts[class]--; h.counts[class] == 0 {
		delete(h.counts, class)
	}
	for i := range e.links {
		h.unlink(&e.links[i])
	}
}

func (h *shard) unlink(l *link) {
	switch {
	case l.prev != nil:
		l.prev.next = l.next
	case l.next != nil:
		h.tags[l.tag] = l.next
	default:
		delete(h.tags, l.tag)
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
}

func (h *shard) removeTagged(tag string, now time.Time) (live int) {
	h.Lock()
	defer h.Unlock()
	for l := h.tags[tag]; l != nil; l = h.tags[tag] {
		if !l.entry.expired(now) {
			live++
		}
		h.remove(l.entry)
	}
	return live
}

func (h *shard) count(prefix string) (n int) {
	h.RLock()
	defer h.RUnlock()
	switch {
	case prefix == "":
		return len(h.entries)
	case prefix == store.Class(prefix):
		return h.counts[prefix]
	}
	for key := range h.entries {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

func (h *shard) sweep(now time.Time) {
	h.Lock()
	defer h.Unlock()
	for _, e := range h.entries {
		if e.expired(now) {
			h.remove(e)
		}
	}
}
