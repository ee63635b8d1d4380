package main

import (
	"bufio"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
)

// peopleDocument serves the sessions that are generated.
var peopleDocument = edit(smallDocument, "OPTION", "    session: { idle: 8000h, absolute: 8000h }\n")

// atIssuer stands for the issuer at which the generated people have signed in.
type atIssuer struct{ outpost.Issuer }

// IssuerURL answers who it is.
func (atIssuer) IssuerURL() string { return issuerURL }

// ClientID answers who we are there.
func (atIssuer) ClientID() string { return clientID }

// key derives a key from the document's secret, as akprox does.
func key(purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(secret), nil, "akprox "+purpose, 32)
}

// generate makes a disk store in dir with so many sessions, and a file
// "cookies" beside it with the Cookie header of each.
func generate(dir string, sessions int) error {
	if dir == "" {
		return errors.New("-dir is missing")
	}
	st, err := disk.Open(dir, disk.Options{})
	if err != nil {
		return err
	}
	cookies, err := os.Create(filepath.Join(dir, "cookies"))
	if err != nil {
		return errors.Join(err, st.Close())
	}
	out := bufio.NewWriterSize(cookies, 1<<20)
	err = signInMany(st, sessions, 8000*time.Hour, func(cookie string) error {
		_, err := fmt.Fprintln(out, cookie)
		return err
	})
	return errors.Join(err, out.Flush(), cookies.Close(), st.Close())
}

// signInMany makes sessions of many people in st, and tells the Cookie header
// of each.
func signInMany(st store.Store, sessions int, life time.Duration, tell func(cookie string) error) error {
	signing, err := key("session cookie")
	if err != nil {
		return err
	}
	name := sha256.Sum256([]byte("wiki"))
	app := &outpost.Application{
		Name: "wiki", Cookie: outpost.CookieReach{Name: "akprox_" + hex.EncodeToString(name[:4])},
		Session: outpost.Lifetimes{Idle: life, Absolute: life}, SignIn: &outpost.SignInWay{Provider: "company", Issuer: atIssuer{}},
	}
	all := session.New(st, [][]byte{signing}, session.Options{})
	var next atomic.Int64
	var mu sync.Mutex // guards tell and failed
	var failed error
	var wg sync.WaitGroup
	for range min(sessions, 1024) { // as many as share a commit
		wg.Go(func() {
			for n := int(next.Add(1)); n <= sessions; n = int(next.Add(1)) {
				w := httptest.NewRecorder()
				err := all.Create(context.Background(), w, &http.Request{Header: http.Header{}}, app, person(n))
				mu.Lock()
				if err == nil && failed == nil {
					value, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
					err = tell("Cookie: theme=dark; " + value)
				}
				failed = errors.Join(failed, err)
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// person is somebody with claims and an ID token of the usual size.
func person(n int) *outpost.Grant {
	name := fmt.Sprintf("person%07d", n)
	return &outpost.Grant{SID: "sid-" + name, Identity: &outpost.Identity{
		Subject: "5f3c0b52-6a10-4d7e-9c1a-" + name, Username: name, Email: name + "@example.com", Name: "Person Number " + name,
		Groups: []string{"staff", "writers", "team-" + name[len(name)-2:]}, Provider: "company",
		Claims: map[string]any{
			"department": "research", "locale": "en", "zoneinfo": "Europe/Berlin", "email_verified": true,
			"preferred_username": name, "auth_time": 1_790_000_000 + n, "acr": "1", "amr": []any{"pwd", "otp"},
		},
		IDToken: strings.Repeat("eyJhbGciOiJSUzI1NiJ9.", 30) + name,
	}}
}

// readCookies answers the Cookie headers of a generated store, every step-th.
func readCookies(dir string, step int) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cookies"))
	if err != nil {
		return nil, err
	}
	var all []string
	n := 0
	for line := range strings.Lines(string(text)) {
		if n%step == 0 {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
		n++
	}
	return all, nil
}

// largeStore answers the folder of a store with l.sessions sessions, which is
// made once and kept in the cache.
func (l *lab) largeStore() (string, error) {
	dir := filepath.Join(l.cache, fmt.Sprint("sessions-", l.sessions))
	done := filepath.Join(dir, "complete")
	if info, err := os.Stat(done); err == nil && time.Since(info.ModTime()) < 30*24*time.Hour {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	scratch := dir
	if made, err := os.MkdirTemp("/dev/shm", "akprox-bench-"); err == nil { // where a commit costs nothing
		scratch = made
		defer func() { _ = os.RemoveAll(made) }()
	}
	if err := generate(scratch, l.sessions); err != nil {
		return "", err
	}
	if err := copyStore(scratch, dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o600)
}

// copyStore copies a generated store into a folder that is made.
func copyStore(from, to string) error {
	if from == to {
		return nil
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, name := range []string{disk.FileName, "cookies"} {
		if out, err := exec.Command("cp", "--reflink=auto", filepath.Join(from, name), to).CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	return nil
}
