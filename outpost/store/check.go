package store

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoKey says that Put was called with an empty key, which names nothing.
var ErrNoKey = errors.New("store: empty key")

// Check answers an error wrapping ErrNoKey or ErrTooLarge when the item may not
// be stored under key. It stands here so that every store has the same bounds;
// each calls it first in Put.
func Check(key string, item Item) error {
	switch {
	case key == "":
		return ErrNoKey
	case len(key) > MaxKey:
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrTooLarge, len(key), MaxKey)
	case len(item.Value) > MaxValue:
		return fmt.Errorf("%w: value of %d bytes, at most %d", ErrTooLarge, len(item.Value), MaxValue)
	case len(item.Tags) > MaxTags:
		return fmt.Errorf("%w: %d tags, at most %d", ErrTooLarge, len(item.Tags), MaxTags)
	}
	for _, tag := range item.Tags {
		if len(tag) > MaxKey {
			return fmt.Errorf("%w: tag of %d bytes, at most %d", ErrTooLarge, len(tag), MaxKey)
		}
	}
	return nil
}

// Class answers the beginning of a key up to and including its first colon,
// such as "session:", or "" without one. A Counter answers quickly for a class,
// so the classes in use should be few.
func Class(key string) string { return key[:strings.IndexByte(key, ':')+1] }
