package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

func testRing(t testing.TB, bytesOfKeys string) Ring {
	t.Helper()
	var keys [][]byte
	for _, b := range []byte(bytesOfKeys) {
		keys = append(keys, bytes.Repeat([]byte{b}, 32))
	}
	r, err := NewRing(keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Whatever stands in Redis, only what was sealed under that very name opens.
func FuzzDecodeOpensWhatWasSealedAlone(f *testing.F) {
	r := testRing(f, "ab")
	item := store.Item{Value: []byte("value"), Expires: time.UnixMilli(1 << 41), Tags: []string{"sub:a", ""}}
	_, good := r.Encode("akprox:k", item)
	_, plain := r.Encode("akprox:k", store.Item{Expires: item.Expires})
	f.Add(good)
	f.Add(plain)
	f.Add(good[:headSize])
	f.Add([]byte{})
	f.Add([]byte(`{"version":1}`))
	f.Add(append([]byte{version}, strings.Repeat("\xff", 300)...))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, got, err := r.Decode("akprox:k", raw)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) || got.Value != nil {
				t.Errorf("%v, %v", got, err)
			}
			return
		}
		one, other := string(got.Value) == "value" && len(got.Tags) == 2, len(got.Value)+len(got.Tags) == 0
		if !one && !other {
			t.Errorf("opened %x: %v", raw, got)
		}
	})
}

func TestARecordOpensUnderItsNameAndSecretAlone(t *testing.T) {
	item := store.Item{Value: []byte("value"), Expires: time.UnixMilli(1 << 41), Tags: []string{"sub:a"}}
	_, raw := testRing(t, "a").Encode("akprox:k", item)
	for _, c := range []struct {
		keys, name string
		flip       int
		ok         bool
	}{
		{"a", "akprox:k", -1, true},
		{"ba", "akprox:k", -1, true},
		{"b", "akprox:k", -1, false},
		{"a", "akprox:l", -1, false},
		{"a", "other:k", -1, false},
		{"a", "akprox:k", 0, false},  // version
		{"a", "akprox:k", 2, false},  // key
		{"a", "akprox:k", 7, false},  // token
		{"a", "akprox:k", 15, true},  // expiry
		{"a", "akprox:k", 25, true},  // id
		{"a", "akprox:k", 29, false}, // number of tags
		{"a", "akprox:k", 38, false}, // digest of a tag
		{"a", "akprox:k", len(raw) - 1, false},
	} {
		spoilt := bytes.Clone(raw)
		if c.flip >= 0 {
			spoilt[c.flip] ^= 1
		}
		_, got, err := testRing(t, c.keys).Decode(c.name, spoilt)
		if (err == nil) != c.ok || c.ok && string(got.Value) != "value" {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}
