package redis

import (
	"testing"

	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
)

var (
	_ store.Counter  = (*Store)(nil)
	_ store.Lister   = (*Store)(nil)
	_ store.Toucher  = (*Store)(nil)
	_ store.Replacer = (*Store)(nil)
	_ store.Claimer  = (*Store)(nil)
	_ store.Watcher  = (*Store)(nil)
	_ limit.Tallier  = (*Store)(nil)
)

func TestNamesAndKeysAreOneToOne(t *testing.T) {
	s := &Store{options: Options{Prefix: "akprox:"}}
	for _, key := range []string{"a", "session:a", "~", "~tag:x", "~~", "~~~a", "akprox:a", "{a}"} {
		name := s.name(key)
		if got, ok := s.keyOf(name); !ok || got != key {
			t.Errorf("%q became %q, %t by way of %q", key, got, ok, name)
		}
	}
	for _, name := range []string{"akprox:", "other:a", s.own("tag", "x"), s.own("count", "x"), "akprox:~pulse"} {
		if got, ok := s.keyOf(name); ok {
			t.Errorf("%q is the item %q", name, got)
		}
	}
}
