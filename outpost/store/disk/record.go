package disk

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// A record is what stands in the file under a key: 8 bytes of expiry in
// milliseconds since 1970, one byte with the number of tags, each tag behind
// two bytes of length, and the value to the end. Integers are big-endian.
type record struct {
	expires int64
	tags    []string
	value   []byte
}

const recordHead = 9

func encode(item store.Item) []byte {
	size := recordHead + len(item.Value)
	for _, tag := range item.Tags {
		size += 2 + len(tag)
	}
	raw := make([]byte, 0, size)
	raw = binary.BigEndian.AppendUint64(raw, uint64(item.Expires.UnixMilli()))
	raw = append(raw, byte(len(item.Tags)))
	for _, tag := range item.Tags {
		raw = binary.BigEndian.AppendUint16(raw, uint16(len(tag)))
		raw = append(raw, tag...)
	}
	return append(raw, item.Value...)
}

// parse reads a record; its value is a part of raw.
func parse(raw []byte) (record, error) {
	if len(raw) < recordHead {
		return record{}, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, len(raw))
	}
	r := record{expires: int64(binary.BigEndian.Uint64(raw))}
	rest := raw[recordHead:]
	if n := int(raw[recordHead-1]); n > 0 {
		r.tags = make([]string, 0, n)
	}
	for range int(raw[recordHead-1]) {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return record{}, fmt.Errorf("%w: a record with a cut tag", ErrDamaged)
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		r.tags = append(r.tags, string(rest[2:end]))
		rest = rest[end:]
	}
	r.value = rest[:len(rest):len(rest)]
	return r, nil
}

func (r record) expired(now time.Time) bool { return now.UnixMilli() >= r.expires }

func (r record) item() store.Item {
	return store.Item{Value: r.value, Expires: time.UnixMilli(r.expires), Tags: r.tags}
}
