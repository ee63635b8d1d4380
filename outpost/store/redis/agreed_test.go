package redis_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
)

// sentinelOf starts a sentinel that knows of no other, and watches primary.
func sentinelOf(t *testing.T, primary *parts.RedisServer) string {
	t.Helper()
	dir, port := t.TempDir(), parts.Port(t)
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %d 1\n", port, dir, primary.Port())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return parts.Start(t, parts.Cmd{Name: "sentinel", Path: parts.Path(t, "redis-server"), Args: []string{file, "--sentinel"}, Dir: dir, Port: port}).Addr()
}

// TestAPrimaryThatMostSentinelsDoNotName: a sentinel that has not heard of a
// failover names the old primary, which has been started again.
func TestAPrimaryThatMostSentinelsDoNotName(t *testing.T) {
	old, now := parts.RedisWith(t, parts.RedisOptions{}), parts.RedisWith(t, parts.RedisOptions{})
	late, first, second := sentinelOf(t, old), sentinelOf(t, now), sentinelOf(t, now)
	nowhere := fmt.Sprint("127.0.0.1:", parts.Port(t))
	for _, row := range []struct {
		name      string
		sentinels []string
		served    bool
	}{
		{"the late one is asked first", []string{late, first, second}, true},
		{"and last", []string{first, second, late}, true},
		{"one of three is down", []string{first, nowhere, second}, true},
		{"the late one is all there is", []string{late, nowhere, nowhere}, false},
		{"a half is not most", []string{first, late}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range 5 {
				s, err := redis.New(redis.Options{Addresses: row.sentinels, Sentinel: &redis.Sentinel{Master: "main"}, Keys: [][]byte{key('s')}})
				if err != nil {
					t.Fatal(err)
				}
				put := func() error { return s.Put(t.Context(), "session:a", item(time.Minute, "a")) }
				if row.served {
					eventually(t, put)
				} else if err := put(); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
				_ = s.Close()
			}
			if n := old.Do(t, "DBSIZE"); n != "0" {
				t.Errorf("the old primary holds %s items", n)
			}
		})
	}
}
