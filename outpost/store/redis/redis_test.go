package redis_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
	"github.com/akprox/akprox/outpost/store/storetest"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// open makes a store and waits until it is connected.
func open(t testing.TB, o redis.Options) *redis.Store {
	t.Helper()
	s := start(t, o)
	ready(t, s)
	return s
}

func start(t testing.TB, o redis.Options) *redis.Store {
	t.Helper()
	if o.Keys == nil {
		o.Keys = [][]byte{key('k')}
	}
	s, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ready waits until the store answers.
func ready(t testing.TB, s *redis.Store) {
	t.Helper()
	eventually(t, func() error { return s.Delete(t.Context(), "nothing") })
}

// eventually waits until do answers nil.
func eventually(t testing.TB, do func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = do(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func item(life time.Duration, value string, tags ...string) store.Item {
	return store.Item{Value: []byte(value), Expires: time.Now().Add(life), Tags: tags}
}

// suite runs storetest over servers, each store under a prefix and a user of
// its own, so that one test's connections can be cut.
func suite(t *testing.T, o redis.Options, servers ...*parts.RedisServer) {
	t.Helper()
	var n atomic.Int64
	var known sync.Map // store → its options
	o.CountEvery = 20 * time.Millisecond
	o.Timeout = 5 * time.Second // all at once, under the race detector
	storetest.Run(t, storetest.Options{
		WallTime: true,
		Open: func(t *testing.T, _ func() time.Time) store.Store {
			mine := o
			mine.Username = fmt.Sprint("user", n.Add(1))
			mine.Prefix, mine.Password = "akprox["+mine.Username+"]*:", password("a password")
			for _, r := range servers {
				r.Do(t, "ACL", "SETUSER", mine.Username, "on", ">a password", "+@all", "~*", "&*")
			}
			s := open(t, mine)
			known.Store(s, mine)
			return s
		},
		Another: func(t *testing.T, st store.Store) store.Store {
			mine, _ := known.Load(st)
			return open(t, mine.(redis.Options))
		},
		Cut: func(t *testing.T, st store.Store) {
			mine, _ := known.Load(st)
			for _, r := range servers {
				r.Do(t, "CLIENT", "KILL", "USER", mine.(redis.Options).Username)
			}
		},
	})
}

func TestSingle(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	suite(t, redis.Options{URL: "redis://" + r.Addr() + "/3"}, r)
}

func TestCluster(t *testing.T) {
	nodes := parts.RedisCluster(t, parts.RedisOptions{}, 0)
	suite(t, redis.Options{Addresses: parts.Addrs(nodes[:2])}, nodes...)
}

func TestSentinel(t *testing.T) {
	s := parts.Sentinel(t, parts.RedisOptions{Password: "main-password"}, 1, "sentinel-password")
	suite(t, redis.Options{
		Addresses: s.Addrs(), Password: password("main-password"),
		Sentinel: &redis.Sentinel{Master: s.Master, Password: password("sentinel-password")},
	}, s.Servers...)
}

func password(text string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(text), nil }
}
