package redis_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
	"github.com/akprox/akprox/outpost/store/redis/record"
)

func TestWhatIsNoRecordIsNeverAnItemAndNotLost(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{Args: []string{"--enable-debug-command", "local"}})
	o := redis.Options{URL: "redis://" + r.Addr()}
	s := open(t, o)
	o.Keys = [][]byte{key('x')}
	other := open(t, o)
	good := item(time.Hour, "v", "tag")
	for _, k := range []string{"session:damaged", "session:moved"} {
		if err := s.Put(t.Context(), k, good); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Put(t.Context(), "session:other-secret", good); err != nil {
		t.Fatal(err)
	}
	r.Do(t, "SETRANGE", "akprox:session:damaged", "60", "XX")
	r.Do(t, "RENAME", "akprox:session:moved", "akprox:session:from-elsewhere")
	r.Do(t, "SET", "akprox:session:text", "garbage")
	r.Do(t, "SET", "akprox:session:json", `{"identity":{"username":"admin","groups":["admin"]},"expires":"2099-01-01T00:00:00Z"}`)
	r.Do(t, "SET", "akprox:session:old-version", "\x01"+strings.Repeat("a", 200))
	r.Do(t, "SET", "akprox:session:new-version", "\x03"+strings.Repeat("a", 200))
	r.Do(t, "SET", "akprox:session:cut", "\x02"+strings.Repeat("a", 28)+"\x08")
	r.Do(t, "SET", "akprox:session:short", "\x02"+strings.Repeat("a", 20))
	r.Do(t, "RPUSH", "akprox:session:list", "a")
	r.Do(t, "HSET", "akprox:session:hash", "a", "b")
	for _, name := range strings.Fields("damaged from-elsewhere text json old-version new-version cut short list hash other-secret") {
		k := "session:" + name
		before := r.Do(t, "DEBUG", "DIGEST-VALUE", "akprox:"+k)
		_, getError := s.Get(t.Context(), k)
		_, takeError := s.Take(t.Context(), k)
		for what, err := range map[string]error{
			"get": getError, "take": takeError, "touch": s.Touch(t.Context(), k, time.Now().Add(5*time.Hour)),
		} {
			if !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, record.ErrUnreadable) || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %s: %v, want ErrUnreadable and ErrUnavailable", name, what, err)
			}
		}
		if ok, err := s.Claim(t.Context(), k, good); ok {
			t.Errorf("%s: claimed, %v", name, err)
		}
		if !strings.Contains("damaged from-elsewhere cut other-secret", name) { // those have a head as ours
			if err := s.Replace(t.Context(), k, good); !errors.Is(err, record.ErrUnreadable) {
				t.Errorf("%s: replaced, %v", name, err)
			}
		}
		if after := r.Do(t, "DEBUG", "DIGEST-VALUE", "akprox:"+k); after != before {
			t.Errorf("%s has changed", name)
		}
	}
	told := 0
	if err := s.Put(t.Context(), "session:good", good); err != nil {
		t.Fatal(err)
	}
	err := s.List(t.Context(), "session:", func(k string, _ store.Item) error {
		if told++; k != "session:good" {
			t.Errorf("told of %q", k)
		}
		return nil
	})
	if told != 1 || !errors.Is(err, record.ErrUnreadable) {
		t.Errorf("List: %d told, %v", told, err)
	}
}

func TestASecretIsReplacedWithoutARestart(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	o := redis.Options{URL: "redis://" + r.Addr(), Keys: [][]byte{key('1')}}
	first, second := open(t, o), open(t, o)
	put := func(s *redis.Store, k string) {
		t.Helper()
		if err := s.Put(t.Context(), k, item(time.Hour, "v", "sub:a")); err != nil {
			t.Fatal(err)
		}
	}
	reads := func(s *redis.Store, keys ...string) {
		t.Helper()
		for _, k := range keys {
			if _, err := s.Get(t.Context(), k); err != nil {
				t.Errorf("%s: %v", k, err)
			}
		}
	}
	rekey := func(s *redis.Store, keys ...byte) {
		t.Helper()
		var all [][]byte
		for _, b := range keys {
			all = append(all, key(b))
		}
		if err := s.Rekey(all); err != nil {
			t.Fatal(err)
		}
	}
	put(first, "1")
	rekey(first, '1', '2')
	rekey(second, '1', '2')
	rekey(first, '2', '1') // while the second has the old order
	put(first, "2")
	put(second, "3")
	reads(first, "1", "2", "3")
	reads(second, "1", "2", "3")
	if n, err := second.DeleteTagged(t.Context(), "sub:a"); n != 3 || err != nil {
		t.Errorf("DeleteTagged over both secrets: %d, %v", n, err)
	}
	put(second, "4")
	rekey(first, '2')
	if _, err := first.Get(t.Context(), "4"); !errors.Is(err, record.ErrUnreadable) {
		t.Errorf("of a secret that has gone: %v", err)
	}
}

// While a secret is replaced, instances write with either: what moves from one
// secret to the other, while its tag is ended, is ended.
func TestWhatMovesToAnotherSecretIsEnded(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	var stores []*redis.Store
	for _, keys := range [][][]byte{{key('1'), key('2')}, {key('2'), key('1')}} {
		stores = append(stores, open(t, redis.Options{URL: "redis://" + r.Addr(), Keys: keys, Timeout: 5 * time.Second}))
	}
	const many = 100
	for round := range 40 {
		from, to, ender := stores[round%2], stores[1-round%2], stores[round/2%2]
		tag := fmt.Sprint("sub:", round)
		each(many, func(i int) error { return from.Put(t.Context(), fmt.Sprint("session:", i), item(time.Hour, "v", tag)) }, t.Error)
		var wg sync.WaitGroup
		begun := make(chan struct{})
		wg.Go(func() {
			for i := range many {
				if i == many/4 {
					close(begun)
				}
				err := to.Replace(t.Context(), fmt.Sprint("session:", i), item(time.Hour, "w", tag))
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
			}
		})
		<-begun
		if _, err := ender.DeleteTagged(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		each(many, func(i int) error {
			_, err := ender.Get(t.Context(), fmt.Sprint("session:", i))
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return errors.Join(fmt.Errorf("round %d: session:%d is left", round, i), err)
		}, t.Error)
	}
}

// each does it for 0 to n-1 at once, and tells what went wrong.
func each(n int, do func(int) error, tell func(...any)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(i); err != nil {
				tell(err)
			}
		})
	}
	wg.Wait()
}

func TestRedisSeesNoNamesAndNoValues(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{Keep: true})
	s := open(t, redis.Options{URL: "redis://" + r.Addr()})
	if err := s.Put(t.Context(), "session:k", item(time.Hour, "hunter2", "sub:company:john@example.com")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tally(t.Context(), limit.Tally{Key: "john@example.com", Most: 5, Window: time.Minute, Add: 1}); err != nil {
		t.Fatal(err)
	}
	all := r.Do(t, "KEYS", "*") + r.Do(t, "GET", "akprox:session:k")
	for name := range strings.FieldsSeq(r.Do(t, "KEYS", "*tag*")) {
		all += r.Do(t, "ZRANGE", strings.Trim(name, `"`), "0", "-1")
	}
	if !strings.Contains(all, "session:k") || strings.Contains(all, "hunter2") || strings.Contains(all, "john") || strings.Contains(all, "example") {
		t.Errorf("Redis sees %s", all)
	}
}

// What is left in the indexes is what is left of items, and nothing without an
// end.
func TestIndexesHoldNothingDead(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	s := open(t, redis.Options{URL: "redis://" + r.Addr()})
	for i := range 50 {
		k := fmt.Sprint("session:", i%5)
		if err := s.Put(t.Context(), k, item(time.Hour, "v", "app:a", "sub:"+k)); err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			_ = s.Replace(t.Context(), k, item(time.Hour, "v", "app:a"))
		case 1:
			_ = s.Touch(t.Context(), k, time.Now().Add(2*time.Hour))
		}
		_ = s.Replace(t.Context(), "not there", item(time.Hour, "v", "app:a"))
		_, _ = s.Claim(t.Context(), k, item(time.Hour, "v", "app:a"))
	}
	for i := range 5 {
		switch k := fmt.Sprint("session:", i); i {
		case 0:
			_ = s.Delete(t.Context(), k)
		case 1:
			_, _ = s.Take(t.Context(), k)
		default:
			_, _ = s.DeleteTagged(t.Context(), "app:a")
		}
	}
	if left := r.Do(t, "KEYS", "*"); left != "" {
		t.Errorf("left: %s", left)
	}
	if err := s.Put(t.Context(), "session:a", item(30*time.Second, "v", "app:a")); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(r.Do(t, "KEYS", "*")) {
		if ttl, err := strconv.Atoi(regexp.MustCompile(`-?\d+`).FindString(r.Do(t, "PTTL", strings.Trim(name, `"`)))); err != nil || ttl <= 0 || ttl > 90_000 {
			t.Errorf("%s ends in %d ms, %v", name, ttl, err)
		}
	}
}

func TestHowManyCommandsACallMakes(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	s := open(t, redis.Options{URL: "redis://" + r.Addr()})
	tags := []string{"sub:a", "sid:b", "app:c"}
	k := "session:k"
	warm := func() {
		_ = s.Put(t.Context(), k, item(time.Hour, "v", tags...))
		_ = s.Touch(t.Context(), k, time.Now().Add(2*time.Hour))
	}
	warm()
	for _, c := range []struct {
		name string
		do   func() error
		want int // calls, without what scripts call themselves
	}{
		{"get", func() error { _, err := s.Get(t.Context(), k); return err }, 1},
		{"put over one with three tags", func() error { return s.Put(t.Context(), k, item(time.Hour, "v", tags...)) }, 7},
		{"replace", func() error { return s.Replace(t.Context(), k, item(time.Hour, "v", tags...)) }, 7},
		{"touch", func() error { return s.Touch(t.Context(), k, time.Now().Add(3*time.Hour)) }, 5},
		{"delete tagged of one", func() error { _, err := s.DeleteTagged(t.Context(), "sub:a"); return err }, 5},
		{"delete tagged of none", func() error { _, err := s.DeleteTagged(t.Context(), "sub:a"); return err }, 1},
		{"put without tags", func() error { return s.Put(t.Context(), k, item(time.Hour, "v")) }, 1},
		{"take", func() error { _, err := s.Take(t.Context(), k); return err }, 2},
		{"delete", func() error { return s.Delete(t.Context(), k) }, 1},
		{"claim", func() error { _, err := s.Claim(t.Context(), k, item(time.Hour, "v")); return err }, 1},
	} {
		r.Do(t, "CONFIG", "RESETSTAT")
		if err := c.do(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		n := 0
		for _, calls := range commands(t, r) {
			n += calls
		}
		if n != c.want {
			t.Errorf("%s: %d commands, want %d", c.name, n, c.want)
		}
	}
}

// commands answers how many of each Redis has counted.
func commands(t *testing.T, r *parts.RedisServer) map[string]int {
	t.Helper()
	counted := map[string]int{}
	for _, m := range regexp.MustCompile(`cmdstat_(get|evalsha|eval|zscan|zrange|zrem):calls=(\d+)`).FindAllStringSubmatch(r.Do(t, "INFO", "commandstats"), -1) {
		counted[m[1]], _ = strconv.Atoi(m[2])
	}
	return counted
}

// A group of many pages is read once more, whole, when it is all but empty;
// one of a page is not.
func TestHowManyCommandsAGroupMakes(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	s := open(t, redis.Options{URL: "redis://" + r.Addr(), Timeout: 5 * time.Second})
	for many, whole := range map[int]int{100: 0, 1000: 1} {
		each(many, func(i int) error { return s.Put(t.Context(), fmt.Sprint("session:", i), item(time.Hour, "v", "sub:a")) }, t.Error)
		r.Do(t, "CONFIG", "RESETSTAT")
		if n, err := s.DeleteTagged(t.Context(), "sub:a"); n != many || err != nil {
			t.Errorf("%d deleted, %v, want %d", n, err, many)
		}
		c := commands(t, r)
		if c["evalsha"] != many || c["zrange"] != whole || (c["zscan"] > 1) != (whole > 0) || c["zrem"] > c["zscan"] {
			t.Errorf("%d: %v", many, c)
		}
	}
}
