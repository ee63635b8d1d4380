package disk

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

func FuzzParseReadsWhatItWroteAndRefusesTheRest(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 1, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 9, 't'})
	f.Add(encode(store.Item{Value: []byte("v"), Expires: time.UnixMilli(5), Tags: []string{"", "sub:a"}}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parse(raw)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("parse: %v, want ErrDamaged", err)
			}
			return
		}
		if again := encode(r.item()); !bytes.Equal(again, raw) {
			t.Errorf("parse and encode made %x of %x", again, raw)
		}
	})
}
