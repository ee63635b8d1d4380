package telemetry_test

import (
	"testing"
	"time"

	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
)

// shared is a store that watches.
type shared struct {
	*memory.Store
	told func(string)
}

func (s *shared) Watch(changed func(key string)) { s.told = changed }

func TestAMeasuredStoreHasThePowersOfItsOwn(t *testing.T) {
	st := memory.New(memory.Options{})
	t.Cleanup(func() { _ = st.Close() })
	m := telemetry.New("v", "c")
	alone := m.Store(st)
	if _, ok := alone.(store.Watcher); ok {
		t.Error("a store of one process watches")
	}
	item := store.Item{Value: []byte("v"), Expires: time.Now().Add(time.Hour)}
	if ok, err := alone.(store.Claimer).Claim(t.Context(), "k", item); !ok || err != nil {
		t.Errorf("Claim: %t, %v", ok, err)
	}
	if err := alone.(store.Replacer).Replace(t.Context(), "k", item); err != nil {
		t.Errorf("Replace: %v", err)
	}
	if n, err := alone.(store.Counter).Count(t.Context(), ""); n != 1 || err != nil {
		t.Errorf("Count: %d, %v", n, err)
	}

	inner, got := &shared{Store: st}, ""
	watched := m.Store(inner)
	watched.(store.Watcher).Watch(func(key string) { got = key })
	inner.told("k")
	if got != "k" {
		t.Errorf("told %q", got)
	}
	if _, err := watched.Get(t.Context(), "k"); err != nil {
		t.Errorf("Get: %v", err)
	}
	if err := watched.(store.Toucher).Touch(t.Context(), "k", time.Now().Add(2*time.Hour)); err != nil {
		t.Errorf("Touch: %v", err)
	}
}
