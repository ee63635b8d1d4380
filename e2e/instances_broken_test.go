package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/e2e/parts"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/store"
)

// answers asks every instance with a cookie, all at once, and counts what came.
func (f *fleet) answers(cookie string) map[string]int {
	var came [len(f.akproxs)]string
	var wg sync.WaitGroup
	for i := range came {
		wg.Go(func() { came[i], _ = f.at(i, cookie) })
	}
	wg.Wait()
	got := map[string]int{}
	for _, status := range came {
		got[status]++
	}
	return got
}

// always asks every instance until all answer so, and holds that nothing but
// what may be is answered meanwhile.
func (f *fleet) always(t *testing.T, what, cookie, until string, may ...string) {
	t.Helper()
	eventuallyWithin(t, 60*time.Second, fmt.Sprintf("%s: not all answer %s", what, until), func() bool {
		began := time.Now()
		got := f.answers(cookie)
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: three answers took %v", what, took)
		}
		for status := range got {
			if status != until && !slices.Contains(may, status) {
				t.Fatalf("%s: answered %v", what, got)
			}
		}
		return got[until] == len(f.akproxs)
	})
}

// underLoad asks pages with the cookies while do goes on, and holds that each
// is answered.
func (f *fleet) underLoad(t *testing.T, cookies []string, do func()) {
	t.Helper()
	stop := make(chan struct{})
	var mu sync.Mutex
	got := map[string]int{}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				status, _, err := f.ask("/", cookies[i%len(cookies)])
				mu.Lock()
				got[fmt.Sprint(status, err)]++
				mu.Unlock()
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	do()
	time.Sleep(500 * time.Millisecond)
	close(stop)
	wg.Wait()
	if good := fmt.Sprint(http.StatusOK, error(nil)); len(got) != 1 || got[good] == 0 {
		t.Errorf("answers %v", got)
	}
	t.Log(got)
}

// posting posts forms while do goes on, which nginx sends once and never again,
// and holds that each is answered.
func (f *fleet) posting(t *testing.T, do func()) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if status, err := f.signOut(f.app, "", false); err != nil || status >= 500 {
					t.Errorf("form %d: %d %v", n, status, err)
				}
			}
		})
	}
	do()
	close(stop)
	wg.Wait()
}

// TestWhatBreaks does to three instances what the table of
// docs/many-instances.md says.
func TestWhatBreaks(t *testing.T) {
	t.Parallel()
	m := newMeasuring(t)
	alice := m.entered(t, "alice")
	unseen := m.make(t, 20)
	m.always(t, "before", alice, "200")
	for _, c := range []struct {
		name string
		do   func(t *testing.T)
	}{
		{"store killed", func(t *testing.T) {
			m.redis.Kill()
			m.gone(t, alice, unseen[0])
			m.redis.Restart() // it has kept nothing
			m.always(t, "back, and empty", alice, "401", "503")
			alice = m.entered(t, "alice")
			unseen = m.make(t, 20)
			m.always(t, "signed in again", alice, "200")
		}},
		{"store stopped where it is", func(t *testing.T) {
			m.redis.Pause()
			m.gone(t, alice, unseen[1])
			m.redis.Resume()
			m.always(t, "back", alice, "200", "503")
			m.always(t, "back", unseen[1], "200", "503")
		}},
		{"store takes no writes", func(t *testing.T) {
			m.redis.Do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
			m.always(t, "seen", alice, "200")
			m.always(t, "not seen", unseen[2], "200")
			if _, err := m.enter(m.browser(), "carol"); err == nil {
				t.Error("somebody signed in")
			}
			if status, err := m.signOut(m.app, alice, false); err != nil || status != http.StatusServiceUnavailable {
				t.Errorf("sign-out: %d %v", status, err)
			}
			m.redis.Do(t, "CONFIG", "SET", "min-replicas-to-write", "0")
			m.entered(t, "carol")
			m.always(t, "not signed out", alice, "200")
		}},
		{"issuer gone", func(t *testing.T) { m.withoutIssuer(t, alice) }},
		{"garbage", func(t *testing.T) { m.garbage(t, alice) }},
		{"a record of an earlier version", m.earlier},
		{"documents reloaded", func(t *testing.T) {
			m.underLoad(t, append(unseen[:5:5], alice), func() {
				for n := range 30 {
					i := n % len(m.akproxs)
					text := strings.NewReplacer(m.akproxs[0].Addr(), m.akproxs[i].Addr(), m.metrics[0], m.metrics[i]).Replace(m.text)
					putDocument(t, m.files[i], strings.TrimRight(text, "\n")+fmt.Sprintf("\n      - { paths: [/variant/%d/**], allow: nobody }\n", n))
					time.Sleep(200 * time.Millisecond)
				}
			})
			if out := m.akproxs[0].Output(); strings.Count(out, "document loaded") < 5 {
				t.Error("it was not reloaded")
			}
		}},
		{"one killed", func(t *testing.T) {
			m.underLoad(t, append(unseen[5:10:10], alice), func() {
				m.akproxs[1].Kill()
				time.Sleep(3 * time.Second)
				m.akproxs[1].Restart()
				m.awaitReady(t, 1, true)
			})
		}},
		{"all restarted, one after the other", func(t *testing.T) {
			m.underLoad(t, append(unseen[10:15:15], alice), func() {
				m.posting(t, func() {
					for i, a := range m.akproxs {
						a.Stop()
						a.Restart()
						m.awaitReady(t, i, true)
						time.Sleep(1500 * time.Millisecond) // nginx leaves it out for a second
					}
				})
			})
		}},
	} {
		if !t.Run(c.name, c.do) {
			return
		}
	}
}

// gone holds what happens without the store: a session, seen before or not, is
// neither refused nor let in; what needs no session goes on.
func (m *measuring) gone(t *testing.T, seen, unseen string) {
	t.Helper()
	m.always(t, "seen", seen, "503", "200")
	m.always(t, "not seen", unseen, "503")
	m.always(t, "nobody", "", "401")
	req, err := http.NewRequest(http.MethodGet, m.app+"/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = with(navigation, "Cookie", seen)
	resp, err := m.plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || len(resp.Cookies()) != 0 {
		t.Errorf("behind nginx: %s %v", resp.Status, resp.Header)
	}
	if status, _, err := m.ask("/public/x", seen); err != nil || status != http.StatusOK {
		t.Errorf("public: %d %v", status, err)
	}
	if status, err := m.signOut(m.app, seen, false); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("sign-out: %d %v", status, err)
	}
}

// withoutIssuer: who is signed in goes on, who is not is told to wait.
func (m *measuring) withoutIssuer(t *testing.T, cookie string) {
	m.issuer.Stop()
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if got := m.answers(cookie); got["200"] != 3 {
			t.Fatalf("answers %v", got)
		}
	}
	if _, err := m.enter(m.browser(), "dora"); err == nil {
		t.Error("somebody signed in")
	}
	m.issuer.Restart()
	eventuallyWithin(t, 2*time.Minute, "nobody can sign in", func() bool {
		_, err := m.enter(m.browser(), "dora")
		return err == nil
	})
	for i := range m.akproxs { // each tries again for itself
		m.awaitReady(t, i, true)
	}
	m.always(t, "afterwards", cookie, "200")
}

// garbage: what cannot be read is no session, and no reason to sign in again.
func (m *measuring) garbage(t *testing.T, alice string) {
	before := strings.Fields(m.redis.Do(t, "KEYS", "akprox:session:*"))
	victim := m.make(t, 1)[0]
	name := ""
	for _, key := range strings.Fields(m.redis.Do(t, "KEYS", "akprox:session:*")) {
		if !slices.Contains(before, key) {
			name = key
		}
	}
	m.always(t, "whole", victim, "200")
	for what, command := range map[string][]string{
		"a text":            {"SET", name, "garbage"},
		"nothing":           {"SET", name, ""},
		"JSON":              {"SET", name, `{"identity":{"sub":"alice","username":"alice","provider":"company"},"cookie":"akprox"}`},
		"bytes changed":     {"SETRANGE", name, "600", "changed"},
		"an older version":  {"SETRANGE", name, "0", "\x01"},
		"a newer version":   {"SETRANGE", name, "0", "\x03"},
		"cut off":           {"EVAL", `return redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, 90))`, "1", name},
		"much":              {"SETRANGE", name, "1000000", "x"},
		"another's session": {"COPY", before[0], name, "REPLACE"},
		"a list":            {"RPUSH", name, "x"},
	} {
		m.redis.Do(t, "COPY", name, "kept", "REPLACE")
		if what == "a list" {
			m.redis.Do(t, "DEL", name)
		}
		m.redis.Do(t, command...)
		m.always(t, what, victim, "503", "200", "401") // until it is told
		for status := range m.answers(victim) {
			if status != "503" {
				t.Errorf("%s: %s", what, status)
			}
		}
		m.always(t, what+", of somebody else", alice, "200")
		m.redis.Do(t, "COPY", "kept", name, "REPLACE")
		m.always(t, what+", mended", victim, "200", "503")
	}
	m.redis.Do(t, "DEL", name)
	m.always(t, "deleted", victim, "401", "200")
}

// earlier: a record that names neither its issuer nor when it was renewed.
func (m *measuring) earlier(t *testing.T) {
	cookie := m.make(t, 1)[0]
	var key string
	var item store.Item
	err := m.store.List(t.Context(), "session:", func(k string, i store.Item) error {
		var rec struct{ Identity *outpost.Identity }
		if json.Unmarshal(i.Value, &rec) == nil && rec.Identity.Subject == "person-0" {
			key, item = k, i
			var fields map[string]any
			if err := json.Unmarshal(i.Value, &fields); err != nil {
				return err
			}
			maps.DeleteFunc(fields, func(name string, _ any) bool {
				return name != "identity" && name != "cookie" && name != "sid" && name != "created"
			})
			value, err := json.Marshal(fields)
			if err != nil {
				return err
			}
			item.Value = value
			return m.store.Put(t.Context(), key, item) // every person-0, the newest among them
		}
		return nil
	})
	if err != nil || key == "" {
		t.Fatalf("%q %v", key, err)
	}
	m.always(t, "an earlier record", cookie, "200")
}

// TestGrace: while the store is away, what was seen goes on for a while.
func TestGrace(t *testing.T) {
	t.Parallel()
	const grace = 8 * time.Second
	redis := parts.RedisWith(t, parts.RedisOptions{Keep: true})
	f := newFleet(t, fleetWants{
		store:   fmt.Sprintf("url: %q, timeout: 2s, grace: %v", "redis://"+redis.Addr(), grace),
		session: "idle: 8h, absolute: 24h, refresh: 4h",
		issuer:  parts.IssuerConfig{TokenTTL: 8 * time.Hour},
	})
	alice, bob := f.entered(t, "alice"), f.entered(t, "bob")
	f.always(t, "before", alice, "200")
	ended := f.entered(t, "carol")
	f.always(t, "before", ended, "200")
	if status, err := f.signOut(f.app, ended, false); err != nil || status/100 != 3 {
		t.Fatalf("sign-out: %d %v", status, err)
	}
	f.always(t, "ended", ended, "401", "200")
	for _, away := range []struct {
		name     string
		do, back func()
	}{
		{"killed", redis.Kill, func() { redis.Restart() }},
		{"stopped where it is", redis.Pause, redis.Resume},
	} {
		began := time.Now()
		away.do()
		for time.Since(began) < grace-3*time.Second {
			if got := f.answers(alice); got["200"] != 3 && time.Since(began) < grace-time.Second {
				t.Errorf("%s: %v after %v", away.name, got, time.Since(began))
			}
			for status := range f.answers(ended) {
				if status == "200" {
					t.Errorf("%s: ended, and goes on", away.name)
				}
			}
		}
		f.always(t, away.name+", not seen by all", bob, "503", "200")
		f.always(t, away.name+", after the grace", alice, "503", "200")
		if took := time.Since(began); took < grace-time.Second {
			t.Errorf("%s: it went on for %v alone", away.name, took)
		}
		away.back()
		f.always(t, "back", alice, "200", "503")
		f.always(t, "back", bob, "200", "503")
		f.always(t, "back, and ended", ended, "401", "503")
	}
}
