package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
)

// survives loses a primary and holds that the store comes back by itself, with
// what its replicas had, and watches on.
func survives(t *testing.T, s *redis.Store, told *counter, kill func(), replicated func()) {
	t.Helper()
	var keys []string
	for i := range 50 {
		k := fmt.Sprint("session:", i)
		eventually(t, func() error { return s.Put(t.Context(), k, item(time.Hour, "v", "app:a")) })
		keys = append(keys, k)
	}
	replicated()
	before := told.all.Load()
	kill()
	holds := func(k string) {
		t.Helper()
		eventually(t, func() error {
			_, err := s.Get(t.Context(), k)
			if errors.Is(err, store.ErrNotFound) {
				t.Fatalf("%s is lost", k)
			}
			return err
		})
	}
	for _, k := range keys {
		holds(k)
	}
	if told.all.Load() == before {
		t.Error("nobody was told of lost connections")
	}
	eventually(t, func() error { return s.Put(t.Context(), "session:new", item(time.Hour, "v", "app:a")) })
	holds("session:new")
	seen := told.key.Load()
	eventually(t, func() error { return s.Delete(t.Context(), "session:new") })
	eventually(t, func() error {
		if told.key.Load() == seen {
			return errors.New("the new primary does not tell what changes")
		}
		return nil
	})
	deletesTagged(t, s, "app:a", keys...)
}

func TestASentinelFailover(t *testing.T) {
	w := parts.Sentinel(t, parts.RedisOptions{Password: "p"}, 1, "w")
	for _, how := range []string{"killed", "stopped where it is"} {
		s := start(t, redis.Options{
			Addresses: w.Addrs(), Password: password("p"), Timeout: time.Second,
			Sentinel: &redis.Sentinel{Master: w.Master, Password: password("w")},
		})
		var told counter
		s.Watch(told.changed)
		ready(t, s)
		old := w.Primary(t)
		survives(t, s, &told, func() {
			if how == "killed" {
				old.Kill()
			} else {
				old.Pause()
			}
		}, func() { old.Do(t, "WAIT", "1", "10000") })
		_ = s.Close()
		if how == "killed" {
			old.Restart()
			eventually(t, func() error {
				if got := w.Primary(t).Do(t, "WAIT", "1", "100"); got != "1" && got != "(integer) 1" {
					return fmt.Errorf("the old primary is no replica yet: %s", got)
				}
				return nil
			})
			time.Sleep(6 * time.Second) // failover-timeout: the next one is not begun before
		} else {
			old.Resume()
		}
	}
}

func TestAClusterFailover(t *testing.T) {
	nodes := parts.RedisCluster(t, parts.RedisOptions{}, 1)
	s := start(t, redis.Options{Addresses: parts.Addrs(nodes[:3]), Timeout: time.Second})
	var told counter
	s.Watch(told.changed)
	ready(t, s)
	survives(t, s, &told, nodes[0].Kill, func() {
		for _, n := range nodes[:3] {
			n.Do(t, "WAIT", "1", "10000")
		}
	})
}

// A Cluster without its majority refuses everything; who watches is told.
func TestAClusterWithoutMajority(t *testing.T) {
	nodes := parts.RedisCluster(t, parts.RedisOptions{}, 0)
	s := start(t, redis.Options{Addresses: parts.Addrs(nodes), Timeout: time.Second})
	var told counter
	s.Watch(told.changed)
	ready(t, s)
	nodes[1].Pause()
	nodes[2].Pause()
	before := told.all.Load()
	eventually(t, func() error {
		if told.all.Load() == before {
			return errors.New("not told")
		}
		return nil
	})
	eventually(t, func() error {
		for i := range 8 {
			if _, err := s.Get(t.Context(), fmt.Sprint("session:", i)); !errors.Is(err, store.ErrUnavailable) {
				return fmt.Errorf("session:%d: %w", i, err)
			}
		}
		return nil
	})
	nodes[1].Resume()
	nodes[2].Resume()
	ready(t, s)
}

// A primary that dies before it replicated a deletion: the deletion is done
// again, also of an item whose replacement it had not replicated either.
func TestADeletionThatAFailoverLostIsDoneAgain(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	s := open(t, redis.Options{URL: "redis://" + r.Addr(), Timeout: 5 * time.Second})
	remove := func(k string) error { return s.Delete(t.Context(), k) }
	take := func(k string) error { _, err := s.Take(t.Context(), k); return err }
	tagged := func(k string) error { _, err := s.DeleteTagged(t.Context(), "tag "+k); return err }
	replace := func(k string) error { return s.Replace(t.Context(), k, item(time.Hour, "new", "tag "+k)) }
	lost := map[string][]func(key string) error{ // what the new primary has not heard of
		"session:deleted":           {remove},
		"session:taken":             {take},
		"session:tagged":            {tagged},
		"session:replaced, deleted": {replace, remove},
		"session:replaced, taken":   {replace, replace, take},
		"session:replaced, tagged":  {replace, tagged},
		"session:again":             {take},
	}
	for k, steps := range lost {
		if err := s.Put(t.Context(), k, item(time.Hour, "v", "tag "+k)); err != nil {
			t.Fatal(err)
		}
		r.Do(t, "COPY", "akprox:"+k, "copy of "+k)
		for _, do := range steps {
			if err := do(k); err != nil {
				t.Fatalf("%s: %v", k, err)
			}
		}
	}
	if err := s.Put(t.Context(), "session:again", item(time.Hour, "a new one")); err != nil {
		t.Fatal(err)
	}
	for k := range lost {
		if k != "session:again" {
			r.Do(t, "COPY", "copy of "+k, "akprox:"+k)
		}
	}
	r.Do(t, "CLIENT", "KILL", "TYPE", "normal")
	for k := range lost {
		if k == "session:again" {
			continue
		}
		eventually(t, func() error {
			if _, err := s.Get(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("%s is back: %w", k, err)
			}
			return nil
		})
	}
	if got, err := s.Get(t.Context(), "session:again"); err != nil || string(got.Value) != "a new one" {
		t.Errorf("what was written since: %v, %v", got, err)
	}
}
