package redis_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store/redis"
)

func benchStore(b *testing.B) (*redis.Store, *parts.RedisServer) {
	b.Helper()
	r := parts.RedisWith(b, parts.RedisOptions{})
	return open(b, redis.Options{URL: "redis://" + r.Addr()}), r
}

func BenchmarkGet(b *testing.B) {
	for _, size := range []int{300, 1500} {
		for _, parallel := range []bool{false, true} {
			b.Run(fmt.Sprint(size, " bytes, parallel ", parallel), func(b *testing.B) {
				s, _ := benchStore(b)
				if err := s.Put(b.Context(), "session:k", item(time.Hour, strings.Repeat("v", size), "sub:a", "sid:b", "app:c")); err != nil {
					b.Fatal(err)
				}
				get := func() {
					if _, err := s.Get(b.Context(), "session:k"); err != nil {
						b.Error(err)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				if parallel {
					b.SetParallelism(16)
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							get()
						}
					})
					return
				}
				for range b.N {
					get()
				}
			})
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s, _ := benchStore(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := fmt.Sprintf("session:%043d", i)
		if err := s.Put(b.Context(), k, item(time.Hour, strings.Repeat("v", 300), "sub:"+k, "sid:"+k, "app:c")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory reports what a session takes in Redis.
func BenchmarkMemory(b *testing.B) {
	for _, size := range []int{300, 1500} {
		b.Run(fmt.Sprint(size, " bytes"), func(b *testing.B) {
			s, r := benchStore(b)
			used := func() int {
				_, rest, _ := strings.Cut(r.Do(b, "INFO", "memory"), "used_memory:")
				n, err := strconv.Atoi(strings.Fields(rest)[0])
				if err != nil {
					b.Fatal(err)
				}
				return n
			}
			const many = 50_000
			before := used()
			work := make(chan int)
			done := make(chan error, 16)
			for range 16 {
				go func() {
					var err error
					for i := range work {
						k := fmt.Sprintf("session:%043d", i)
						if e := s.Put(b.Context(), k, item(time.Hour, strings.Repeat("v", size), fmt.Sprint("sub:company:user", i/2), "sid:company:"+k, "app:wiki")); e != nil {
							err = e
						}
					}
					done <- err
				}()
			}
			for i := range many {
				work <- i
			}
			close(work)
			for range 16 {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used()-before)/many, "B/session")
			for i := range many {
				if _, err := s.Get(b.Context(), fmt.Sprintf("session:%043d", i)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used()-before)/many, "B/tracked-session")
			began := time.Now()
			n, err := s.Count(b.Context(), "session:")
			for err != nil || n != many {
				n, err = s.Count(b.Context(), "session:")
			}
			b.ReportMetric(float64(time.Since(began).Microseconds()), "µs/count")
			began = time.Now()
			if n, err := s.DeleteTagged(b.Context(), "app:wiki"); n != many || err != nil {
				b.Fatal(n, err)
			}
			b.ReportMetric(float64(time.Since(began).Microseconds())/many, "µs/deleted")
		})
	}
}

// BenchmarkWatch reports how long after a deletion by another process a watcher
// knows of it.
func BenchmarkWatch(b *testing.B) {
	r := parts.RedisWith(b, parts.RedisOptions{})
	o := redis.Options{URL: "redis://" + r.Addr()}
	one, other := start(b, o), open(b, o)
	told := make(chan string, 1024)
	one.Watch(func(key string) { told <- key })
	ready(b, one)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		k := fmt.Sprint("session:", i)
		if err := other.Put(b.Context(), k, item(time.Hour, "v")); err != nil {
			b.Fatal(err)
		}
		if _, err := one.Get(b.Context(), k); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := other.Delete(b.Context(), k); err != nil {
			b.Fatal(err)
		}
		for key := range told {
			if key == k {
				break
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/p99")
}
