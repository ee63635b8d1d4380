package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/akprox/akprox/outpost/store"
)

// The file's buckets. Everything but items follows from it and is changed in
// the same transaction, so that opening needs no scan.
const (
	metaBucket   = "meta"   // "version" → one byte
	itemsBucket  = "items"  // key → record
	expiryBucket = "expiry" // 8 bytes of expiry + key → nothing
	tagsBucket   = "tags"   // tagHash bytes of the tag's hash + key → nothing
	countsBucket = "counts" // "c" + store.Class of the key → how many, 8 bytes
)

func buckets() []string {
	return []string{metaBucket, itemsBucket, expiryBucket, tagsBucket, countsBucket}
}

const (
	// tagHash is enough of a SHA-256 that no two tags share it. A hash keeps
	// the index small and needs no separator between tag and key.
	tagHash = 16
	// chunk bounds the items that one step of a sweep or of DeleteTagged
	// removes: a waiting sign-in is held up for some 40 ms in a file of a
	// million items, less in a small one.
	chunk = 256
)

// tables is the file within one write transaction.
type tables struct {
	items, expiry, tags, counts *bolt.Bucket

	delta map[string]int // change of the counts, by class
	dirty bool           // something was written
}

func openTables(tx *bolt.Tx) *tables {
	t := &tables{
		items:  tx.Bucket([]byte(itemsBucket)),
		expiry: tx.Bucket([]byte(expiryBucket)),
		tags:   tx.Bucket([]byte(tagsBucket)),
		counts: tx.Bucket([]byte(countsBucket)),
		delta:  map[string]int{},
	}
	t.expiry.FillPercent = 0.9 // grows at its end
	return t
}

func (t *tables) put(key, raw []byte) error {
	if _, err := t.remove(key); err != nil {
		return err
	}
	r, err := parse(raw)
	if err != nil {
		return err
	}
	t.dirty = true
	t.delta[store.Class(string(key))]++
	for _, tag := range r.tags {
		if err := t.tags.Put(tagKey(tag, key), nil); err != nil {
			return err
		}
	}
	if err := t.expiry.Put(expiryKey(r.expires, key), nil); err != nil {
		return err
	}
	return t.items.Put(key, raw)
}

// remove deletes the item under key and everything that points to it. It
// answers the item's record, valid within the transaction, or nil.
func (t *tables) remove(key []byte) ([]byte, error) {
	raw := t.items.Get(key)
	if raw == nil {
		return nil, nil
	}
	r, err := parse(raw)
	if err != nil {
		return nil, err
	}
	t.dirty = true
	t.delta[store.Class(string(key))]--
	for _, tag := range r.tags {
		if err := t.tags.Delete(tagKey(tag, key)); err != nil {
			return nil, err
		}
	}
	if err := t.expiry.Delete(expiryKey(r.expires, key)); err != nil {
		return nil, err
	}
	return raw, t.items.Delete(key)
}

// removeTagged removes at most chunk items that carry tag, beginning at the
// index key from. It answers how many had not expired, and the index key to go
// on from, nil at the end.
func (t *tables) removeTagged(tag string, from []byte, now time.Time) (live int, next []byte, err error) {
	prefix := tagKey(tag, nil)
	var found [][]byte
	c := t.tags.Cursor()
	k, _ := c.Seek(from)
	for ; bytes.HasPrefix(k, prefix) && len(found) < chunk; k, _ = c.Next() {
		found = append(found, k)
	}
	if bytes.HasPrefix(k, prefix) {
		next = bytes.Clone(k)
	}
	for _, k := range found {
		raw, err := t.remove(k[tagHash:])
		if err != nil {
			return live, nil, err
		}
		if r, err := parse(raw); err == nil && !r.expired(now) {
			live++
		}
	}
	return live, next, nil
}

// sweep removes at most chunk expired items and says how many it removed.
func (t *tables) sweep(now time.Time) (int, error) {
	due := dueKeys(t.expiry.Cursor(), now)
	for _, k := range due {
		if _, err := t.remove(k[8:]); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

func dueKeys(c *bolt.Cursor, now time.Time) (due [][]byte) {
	limit := uint64(now.UnixMilli())
	k, _ := c.First()
	for ; k != nil && binary.BigEndian.Uint64(k) <= limit && len(due) < chunk; k, _ = c.Next() {
		due = append(due, k)
	}
	return due
}

// flush writes the counts that the transaction has changed.
func (t *tables) flush() error {
	for class, d := range t.delta {
		k := []byte("c" + class)
		n := uint64(int64(number(t.counts.Get(k))) + int64(d))
		var err error
		if n == 0 {
			err = t.counts.Delete(k)
		} else {
			err = t.counts.Put(k, binary.BigEndian.AppendUint64(nil, n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func count(tx *bolt.Tx, prefix string, now time.Time) (int, error) {
	counts := tx.Bucket([]byte(countsBucket))
	if prefix != "" && store.Class(prefix) == prefix {
		return number(counts.Get([]byte("c" + prefix))), nil
	}
	n := 0
	if prefix == "" {
		err := counts.ForEach(func(_, v []byte) error { n += number(v); return nil })
		return n, err
	}
	c := tx.Bucket([]byte(itemsBucket)).Cursor()
	for k, v := c.Seek([]byte(prefix)); bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		r, err := parse(v)
		if err != nil {
			return 0, err
		}
		if !r.expired(now) {
			n++
		}
	}
	return n, nil
}

func number(v []byte) int {
	if len(v) != 8 {
		return 0
	}
	return int(binary.BigEndian.Uint64(v))
}

func expiryKey(ms int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 8+len(key)), uint64(ms)), key...)
}

func tagKey(tag string, key []byte) []byte {
	sum := sha256.Sum256([]byte(tag))
	return append(append(make([]byte, 0, tagHash+len(key)), sum[:tagHash]...), key...)
}
