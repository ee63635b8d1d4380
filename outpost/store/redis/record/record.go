// Package record makes what stands in Redis under an item's key: a head that
// Redis itself can look at, and value and tags, sealed. It knows nothing of
// Redis.
package record

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// A record is what stands in Redis under a key. Integers are big-endian.
//
//	 0  1  version, 2
//	 1  4  which key sealed it
//	 5  8  token, random for each write
//	13  8  expiry in milliseconds since 1970
//	21  8  id, random, and that of the record which this one replaces
//	29  1  number of tags
//	30  16 digest of each tag, under the key that sealed it
//	    …  sealed: one byte with the number of tags, each tag behind two bytes
//	       of length, the value to the end
//
// The seal is bound to the name under which the record stands and to its head,
// except the expiry, which Touch changes, and the id, which Redis puts in when
// it replaces a record.
const (
	version    = 2
	keySize    = 4
	digestSize = 16
	headSize   = 30
	maxHead    = headSize + store.MaxTags*digestSize
)

// TokenSize is the length of a token, and of an id.
const TokenSize = 8

// Digest stands for a tag, or another text, where it must not be read.
type Digest [digestSize]byte

// String answers the digest as it stands in the names of keys.
func (d Digest) String() string { return base64.RawURLEncoding.EncodeToString(d[:]) }

// ErrUnreadable says that what stands under a key is no record that can be
// read: of another program or version, sealed with a secret that is not given,
// or damaged. Errors that wrap it wrap store.ErrUnavailable too.
var ErrUnreadable = errors.New("no record of ours, or not by one of the secrets given")

// Head is the part of a record that Redis can see.
type Head struct {
	Token   string
	Expires int64 // milliseconds since 1970
	ID      string
	Tags    []Digest
	key     [keySize]byte
}

// ParseHead reads the beginning of a record, and says where its seal begins.
func ParseHead(raw []byte) (Head, int, error) {
	if len(raw) < headSize || raw[0] != version {
		return Head{}, 0, fmt.Errorf("%w: %d bytes of something else", ErrUnreadable, len(raw))
	}
	n := int(raw[headSize-1])
	end := headSize + n*digestSize
	if n > store.MaxTags || len(raw) < end {
		return Head{}, 0, fmt.Errorf("%w: a head with %d tags", ErrUnreadable, n)
	}
	h := Head{Token: string(raw[5:13]), Expires: int64(binary.BigEndian.Uint64(raw[13:21])), ID: string(raw[21:29])}
	copy(h.key[:], raw[1:5])
	for at := headSize; at < end; at += digestSize {
		h.Tags = append(h.Tags, Digest(raw[at:]))
	}
	return h, end, nil
}

func (h Head) append(raw []byte) []byte {
	raw = append(append(append(raw, version), h.key[:]...), h.Token...)
	raw = append(binary.BigEndian.AppendUint64(raw, uint64(h.Expires)), h.ID...)
	raw = append(raw, byte(len(h.Tags)))
	for _, d := range h.Tags {
		raw = append(raw, d[:]...)
	}
	return raw
}

// bound is what a seal is bound to beside the value: the name and the head
// without its expiry and id.
func bound(name string, rawHead []byte) []byte {
	b := append(make([]byte, 0, len(rawHead)+len(name)), rawHead...)
	clear(b[13:29])
	return append(b, name...)
}

// Secret is one key of the ring, made ready.
type Secret struct {
	id   [keySize]byte
	seal cipher.AEAD
	mac  []byte
}

// Ring is the secrets in use: the first writes, all read.
type Ring []Secret

// NewRing makes the ring of keys, of 32 bytes each; there has to be one.
func NewRing(keys [][]byte) (Ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("redis: no key to seal with")
	}
	r := make(Ring, 0, len(keys))
	for _, key := range keys {
		block, err := aes.NewCipher(part(key, "seal")) // 32 bytes: AES-256
		if err != nil {
			return nil, err
		}
		seal, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		r = append(r, Secret{[keySize]byte(part(key, "id")), seal, part(key, "tag")})
	}
	return r, nil
}

// part makes one of the keys that a secret's key stands for.
func part(key []byte, purpose string) []byte {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte("akprox redis " + purpose))
	return m.Sum(nil)
}

// Digest answers what stands for a text in Redis.
func (s Secret) Digest(text string) (d Digest) {
	m := hmac.New(sha256.New, s.mac)
	_, _ = m.Write([]byte(text))
	copy(d[:], m.Sum(nil))
	return d
}

// Encode seals an item into the record that stands under name.
func (r Ring) Encode(name string, item store.Item) (Head, []byte) {
	s := r[0]
	h := Head{key: s.id, Token: newToken(), Expires: item.Expires.UnixMilli(), ID: newToken()}
	plain := append(make([]byte, 0, len(item.Value)+64), byte(len(item.Tags)))
	for _, tag := range item.Tags {
		h.Tags = append(h.Tags, s.Digest(tag))
		plain = append(binary.BigEndian.AppendUint16(plain, uint16(len(tag))), tag...)
	}
	plain = append(plain, item.Value...)
	raw := h.append(make([]byte, 0, maxHead+len(plain)+s.seal.Overhead()))
	return h, s.seal.Seal(raw, nil, plain, bound(name, raw)) // #nosec G407 -- the cipher makes a random nonce itself
}

// Decode opens the record that stands under name.
func (r Ring) Decode(name string, raw []byte) (Head, store.Item, error) {
	h, end, err := ParseHead(raw)
	if err != nil {
		return Head{}, store.Item{}, err
	}
	for _, s := range r {
		if s.id != h.key {
			continue
		}
		plain, err := s.seal.Open(nil, nil, raw[end:], bound(name, raw[:end]))
		if err != nil {
			return Head{}, store.Item{}, fmt.Errorf("%w: damaged, or moved here from another key", ErrUnreadable)
		}
		item, err := unpack(plain)
		item.Expires = time.UnixMilli(h.Expires)
		return h, item, err
	}
	return Head{}, store.Item{}, fmt.Errorf("%w: sealed with a secret that is not given (id %x)", ErrUnreadable, h.key)
}

// unpack reads what was sealed; the item's value is a part of plain.
func unpack(plain []byte) (store.Item, error) {
	wrong := fmt.Errorf("%w: sealed by us, and not as we do", ErrUnreadable)
	if len(plain) == 0 || plain[0] > store.MaxTags {
		return store.Item{}, wrong
	}
	var item store.Item
	rest := plain[1:]
	for range int(plain[0]) {
		if len(rest) < 2 || len(rest)-2 < int(binary.BigEndian.Uint16(rest)) {
			return store.Item{}, wrong
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		item.Tags = append(item.Tags, string(rest[2:end]))
		rest = rest[end:]
	}
	item.Value = bytes.Clone(rest)
	return item, nil
}

func newToken() string {
	var b [TokenSize]byte
	_, _ = rand.Read(b[:]) // never fails
	return string(b[:])
}
