package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/redis"
	"github.com/akprox/akprox/outpost/store/redis/dial"
)

// calls are one of each.
func calls(s *redis.Store) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get":     func(ctx context.Context) error { _, err := s.Get(ctx, "session:k"); return err },
		"put":     func(ctx context.Context) error { return s.Put(ctx, "session:k", item(time.Hour, "v", "tag")) },
		"take":    func(ctx context.Context) error { _, err := s.Take(ctx, "session:k"); return err },
		"delete":  func(ctx context.Context) error { return s.Delete(ctx, "session:k") },
		"tagged":  func(ctx context.Context) error { _, err := s.DeleteTagged(ctx, "tag"); return err },
		"touch":   func(ctx context.Context) error { return s.Touch(ctx, "session:k", time.Now().Add(2*time.Hour)) },
		"replace": func(ctx context.Context) error { return s.Replace(ctx, "session:k", item(time.Hour, "v", "tag")) },
		"claim":   func(ctx context.Context) error { _, err := s.Claim(ctx, "session:k", item(time.Hour, "v")); return err },
		"count":   func(ctx context.Context) error { _, err := s.Count(ctx, "session:"); return err },
		"list": func(ctx context.Context) error {
			return s.List(ctx, "session:", func(string, store.Item) error { return nil })
		},
	}
}

// unavailable fails unless every call says so, soon.
func unavailable(t *testing.T, s *redis.Store, within time.Duration) {
	t.Helper()
	for name, call := range calls(s) {
		began := time.Now()
		err := call(t.Context())
		if !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		if took := time.Since(began); took > within {
			t.Errorf("%s took %v", name, took)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s tells the password: %v", name, err)
		}
	}
}

// deletesTagged fails unless DeleteTagged deletes keys in the end, and counts
// them. A try may fail where a call is as short as these tests have it.
func deletesTagged(t *testing.T, s *redis.Store, tag string, keys ...string) {
	t.Helper()
	deleted, failed := 0, false
	eventually(t, func() error {
		n, err := s.DeleteTagged(t.Context(), tag)
		deleted, failed = deleted+n, failed || err != nil
		return err
	})
	if deleted > len(keys) || deleted < len(keys) && !failed { // who failed may have deleted and not been heard
		t.Errorf("DeleteTagged = %d, want %d", deleted, len(keys))
	}
	for _, k := range keys {
		eventually(t, func() error {
			if _, err := s.Get(t.Context(), k); !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("%s after DeleteTagged: %w", k, err)
			}
			return nil
		})
	}
}

// counter counts what a watcher is told.
type counter struct{ all, key atomic.Int64 }

func (c *counter) changed(key string) {
	if key == "" {
		c.all.Add(1)
	} else {
		c.key.Add(1)
	}
}

func TestAStoppedServerIsUnavailableInTimeAndComesBack(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	s := start(t, redis.Options{URL: "redis://" + r.Addr(), Timeout: 300 * time.Millisecond})
	var told counter
	s.Watch(told.changed)
	ready(t, s)
	kept := item(time.Hour, "kept")
	eventually(t, func() error { return s.Put(t.Context(), "session:kept", kept) })
	before := told.all.Load()
	r.Pause()
	unavailable(t, s, 5*time.Second)
	eventually(t, func() error {
		if told.all.Load() == before {
			return errors.New("the watcher is not told of a dead connection")
		}
		return nil
	})
	r.Resume()
	eventually(t, func() error { _, err := s.Get(t.Context(), "session:kept"); return err })
}

func TestAKilledServerComesBackWithWhatItKept(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{Keep: true, Password: "hunter2"})
	s := open(t, redis.Options{URL: "redis://" + r.Addr(), Password: password("hunter2"), Timeout: time.Second})
	want := item(time.Hour, "kept", "tag")
	eventually(t, func() error { return s.Put(t.Context(), "session:kept", want) })
	r.Kill()
	unavailable(t, s, 10*time.Second)
	r.Restart()
	eventually(t, func() error { _, err := s.Get(t.Context(), "session:kept"); return err })
	deletesTagged(t, s, "tag", "session:kept")
}

func TestAServerThatIsNotThereAtTheStartIsFoundLater(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{})
	r.Stop()
	s := start(t, redis.Options{URL: "redis://" + r.Addr()})
	unavailable(t, s, 10*time.Second)
	r.Restart()
	ready(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	unavailable(t, s, time.Second)
}

func TestAChangedPasswordIsReadAnew(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{Password: "root", Users: [][]string{{"akprox", "on", ">hunter2-old", "~akprox:*", "+@read", "+@write", "+@connection", "+@scripting", "+time", "+role", "+cluster"}}})
	file := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hunter2-old")
	s := open(t, redis.Options{
		URL: "redis://" + r.Addr(), Username: "akprox", Timeout: time.Second,
		Password: func() ([]byte, error) { return os.ReadFile(file) },
	})
	for name, call := range calls(s) {
		eventually(t, func() error {
			if err := call(t.Context()); err != nil && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("%s, as a user with few rights: %w", name, err)
			}
			return nil
		})
	}
	r.Do(t, "ACL", "SETUSER", "akprox", "resetpass", ">hunter2-new")
	r.Do(t, "CLIENT", "KILL", "USER", "akprox")
	eventually(t, func() error {
		if _, err := s.Get(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
			return fmt.Errorf("with the old password: %w", err)
		}
		return nil
	})
	unavailable(t, s, 10*time.Second)
	write("hunter2-new")
	ready(t, s)
}

// Over TLS each server asks for a client's certificate, sentinels too.
func TestTLSWithAClientsCertificate(t *testing.T) {
	files := parts.NewRedisTLS(t)
	server := parts.RedisOptions{TLS: files, Password: "hunter2"}
	for name, open := range map[string]func(t *testing.T) redis.Options{
		"alone": func(t *testing.T) redis.Options {
			return redis.Options{URL: "rediss://" + parts.RedisWith(t, server).Addr()}
		},
		"Sentinel": func(t *testing.T) redis.Options {
			s := parts.Sentinel(t, server, 1, "w")
			return redis.Options{Addresses: s.Addrs(), Sentinel: &redis.Sentinel{Master: s.Master, Password: password("w")}}
		},
		"Cluster": func(t *testing.T) redis.Options {
			return redis.Options{Addresses: parts.Addrs(parts.RedisCluster(t, server, 0)[:1])}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t)
			o.Password, o.Timeout = password("hunter2"), 5*time.Second
			o.TLS = &dial.TLS{CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey}
			speaksTLS(t, o, files)
		})
	}
}

func speaksTLS(t *testing.T, good redis.Options, files *parts.RedisTLS) {
	t.Helper()
	s, other := open(t, good), open(t, good)
	var told counter
	other.Watch(told.changed)
	var keys []string
	for i := range 20 { // on each node of a Cluster
		k := fmt.Sprint("session:", i)
		keys = append(keys, k)
		eventually(t, func() error { return s.Put(t.Context(), k, item(time.Hour, "v", "app:a")) })
		if got, err := other.Get(t.Context(), k); err != nil || string(got.Value) != "v" {
			t.Errorf("%s: %q, %v", k, got.Value, err)
		}
	}
	deletesTagged(t, s, "app:a", keys...)
	eventually(t, func() error {
		if told.key.Load() == 0 {
			return errors.New("nobody is told what changes")
		}
		return nil
	})
	for name, bad := range map[string]dial.TLS{
		"no certificate": {CAFile: files.CA},
		"another CA":     {CertFile: files.ClientCert, KeyFile: files.ClientKey},
		"another name":   {CAFile: files.CA, CertFile: files.ClientCert, KeyFile: files.ClientKey, ServerName: "redis.example.com"},
	} {
		o := good
		o.TLS = &bad
		if err := start(t, o).Delete(t.Context(), "k"); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASocketAndADatabase(t *testing.T) {
	r := parts.RedisWith(t, parts.RedisOptions{Socket: true})
	s := open(t, redis.Options{URL: "unix://" + r.Socket + "?db=5"})
	if err := s.Put(t.Context(), "k", item(time.Hour, "v")); err != nil {
		t.Fatal(err)
	}
	if got := r.Do(t, "-n", "5", "DBSIZE"); !strings.HasSuffix(got, "1") {
		t.Errorf("database 5 holds %s", got)
	}
}

func TestSettingsThatCanNeverWork(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]redis.Options{
		"no address":              {},
		"a URL of another scheme": {URL: "http://redis"},
		"a URL with a password":   {URL: "redis://a:hunter2@redis"},
		"a broken URL":            {URL: "redis://a:hunter2@[redis"},
		"a database that is none": {URL: "redis://redis/x"},
		"a socket without a path": {URL: "unix://"},
		"a CA that is not there":  {URL: "rediss://redis", TLS: &dial.TLS{CAFile: filepath.Join(dir, "none")}},
		"a CA that is none":       {URL: "rediss://redis", TLS: &dial.TLS{CAFile: junk}},
		"a certificate of junk":   {URL: "rediss://redis", TLS: &dial.TLS{CertFile: junk, KeyFile: junk}},
		"a password that is not":  {URL: "redis://redis", Password: func() ([]byte, error) { return nil, errors.New("no file") }},
		"a sentinel's likewise":   {Addresses: []string{"a:1"}, Sentinel: &redis.Sentinel{Password: func() ([]byte, error) { return nil, errors.New("no file") }}},
		"no key":                  {URL: "redis://redis", Keys: [][]byte{}},
	} {
		if o.Keys == nil {
			o.Keys = [][]byte{key('k')}
		}
		s, err := redis.New(o)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
