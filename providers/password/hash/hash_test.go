package hash_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akprox/akprox/providers/password/hash"
)

// Vectors of the reference implementations.
const (
	argonPassword = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQ$Bo1ismRVk2qm6+YAYLCmWHDb+j3fjUH3" // "password"
	bcryptUU      = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"             // "U*U"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"argon2id of the right password", argonPassword, "password", true},
		{"argon2id of a wrong password", argonPassword, "Password", false},
		{"argon2id of nothing", argonPassword, "", false},
		{"bcrypt of the right password", bcryptUU, "U*U", true},
		{"bcrypt of a wrong password", bcryptUU, "U*V", false},
		{"bcrypt of nothing", bcryptUU, "", false},
		{"bcrypt as htpasswd writes it", strings.Replace(bcryptUU, "$2a$", "$2y$", 1), "U*U", true},
		{"bcrypt as others write it", strings.Replace(bcryptUU, "$2a$", "$2b$", 1), "U*U", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := hash.Parse(c.hash)
			if err != nil {
				t.Fatal(err)
			}
			if got := h.Matches([]byte(c.password)); got != c.want {
				t.Fatalf("got %t", got)
			}
			if h.Decoy().Matches([]byte(c.password)) {
				t.Fatal("the decoy matches")
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	argon := func(parameters string) string {
		return "$argon2id$v=19$" + parameters + "$c29tZXNhbHQ$Bo1ismRVk2qm6+YAYLCmWHDb+j3fjUH3"
	}
	for _, c := range []struct{ name, hash, want string }{
		{"nothing", "", "not a hash that is known"},
		{"a password", "hunter2hunter2", "not a hash that is known"},
		{"crypt", "rqXexS6ZhobKA", "not a hash that is known"},
		{"apr1", "$apr1$x$y", "apr1 (MD5)"},
		{"MD5", "$1$x$y", "crypt MD5"},
		{"SHA-256", "$5$x$y", "crypt SHA-256"},
		{"SHA-512", "$6$x$y", "crypt SHA-512"},
		{"SHA-1", "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "SHA-1"},
		{"LDAP", "{SSHA}x", "LDAP"},
		{"argon2i", "$argon2i$v=19$m=256,t=2,p=1$c29tc2FsdA$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8", "argon2i or argon2d"},
		{"bcrypt of the broken version", strings.Replace(bcryptUU, "$2a$", "$2x$", 1), "unknown kind of bcrypt"},
		{"argon2id of an old version", strings.Replace(argonPassword, "v=19", "v=16", 1), "another version"},
		{"argon2id without a version", "$argon2id$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR", "not a whole argon2id"},
		{"argon2id cut short", argonPassword[:40], "not a whole argon2id"},
		{"argon2id with a fourth parameter", argon("m=256,t=2,p=1,keyid=x"), "not a whole argon2id"},
		{"argon2id in another order", argon("t=2,m=256,p=1"), "not a whole argon2id"},
		{"argon2id with a negative parameter", argon("m=-256,t=2,p=1"), "not a whole argon2id"},
		{"argon2id with a huge parameter", argon("m=99999999999999999999,t=2,p=1"), "not a whole argon2id"},
		{"argon2id with more than a GiB", argon("m=1048577,t=2,p=1"), "out of bounds"},
		{"argon2id with no memory", argon("m=0,t=2,p=1"), "out of bounds"},
		{"argon2id with less memory than lanes need", argon("m=15,t=2,p=2"), "out of bounds"},
		{"argon2id with no pass", argon("m=256,t=0,p=1"), "out of bounds"},
		{"argon2id with 11 passes", argon("m=256,t=11,p=1"), "out of bounds"},
		{"argon2id with no lane", argon("m=256,t=2,p=0"), "out of bounds"},
		{"argon2id with 17 lanes", argon("m=256,t=2,p=17"), "out of bounds"},
		{"argon2id with padding", argonPassword + "=", "not a whole argon2id"},
		{"argon2id with a short salt", strings.Replace(argonPassword, "c29tZXNhbHQ", "c29tZXNh", 1), "not a whole argon2id"},
		{"argon2id with a short sum", argonPassword[:strings.LastIndex(argonPassword, "$")+5], "not a whole argon2id"},
		{"argon2id with a long sum", argonPassword + strings.Repeat("A", 80), "not a whole argon2id"},
		{"bcrypt cut short", bcryptUU[:59], "not a whole bcrypt"},
		{"bcrypt with something behind it", bcryptUU + "x", "not a whole bcrypt"},
		{"bcrypt with a character that is no digit", bcryptUU[:59] + "!", "not a whole bcrypt"},
		{"bcrypt with a cost of 16", strings.Replace(bcryptUU, "$05$", "$16$", 1), "cost out of bounds"},
		{"bcrypt with a cost of 3", strings.Replace(bcryptUU, "$05$", "$03$", 1), "cost out of bounds"},
		{"bcrypt with a cost that is no number", strings.Replace(bcryptUU, "$05$", "$ab$", 1), "cost out of bounds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := hash.Parse(c.hash)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if len(c.hash) > 20 && strings.Contains(err.Error(), c.hash[8:]) {
				t.Fatalf("the error repeats it: %s", err)
			}
		})
	}
}

func TestNew(t *testing.T) {
	a, err := hash.New("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hash.New("correct horse")
	if err != nil || a == b {
		t.Fatalf("two hashes of one password are the same, %v", err)
	}
	if !strings.HasPrefix(a, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(a)
	}
	h, err := hash.Parse(a)
	if err != nil || !h.Matches([]byte("correct horse")) || h.Matches([]byte("correct horsf")) {
		t.Fatalf("does not match itself alone, %v", err)
	}
	if hash.Standard().Matches(nil) {
		t.Fatal("the standard decoy matches")
	}
	for _, bad := range []string{"", strings.Repeat("x", hash.MaxPassword+1)} {
		if _, err := hash.New(bad); err == nil {
			t.Fatalf("%d bytes are taken", len(bad))
		}
	}
	if _, err := hash.New(strings.Repeat("x", hash.MaxPassword)); err != nil {
		t.Fatal(err)
	}
}

func TestFingerprintsTellHashesApart(t *testing.T) {
	seen := map[[8]byte]string{}
	for _, s := range []string{argonPassword, bcryptUU, strings.Replace(argonPassword, "c29tZXNhbHQ", "c29tZXNhbHU", 1)} {
		h, err := hash.Parse(s)
		if err != nil {
			continue
		}
		if other, ok := seen[h.Fingerprint()]; ok {
			t.Fatalf("%s and %s", s, other)
		}
		seen[h.Fingerprint()] = s
		if again, _ := hash.Parse(s); again.Fingerprint() != h.Fingerprint() {
			t.Fatal("a hash has two fingerprints")
		}
	}
}

func TestPoolBoundsWhatIsCheckedAtOnce(t *testing.T) {
	p := hash.NewPool(2)
	h, err := hash.Parse(argonPassword)
	if err != nil {
		t.Fatal(err)
	}
	var now, most atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := p.Enter(context.Background()); err != nil {
				t.Error(err)
				return
			}
			defer p.Leave()
			n := now.Add(1)
			defer now.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			p.Matches(h, []byte("password"))
		})
	}
	all.Wait()
	if most.Load() > 2 || p.Checked() != 50 {
		t.Fatalf("%d at once, %d in all", most.Load(), p.Checked())
	}
}

func TestPoolTurnsAwayWhoCannotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := hash.NewPool(1)
		if err := p.Enter(context.Background()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		waits := make(chan error, 200)
		for range 128 {
			go func() { waits <- p.Enter(ctx) }()
		}
		synctest.Wait()
		if err := p.Enter(context.Background()); !errors.Is(err, hash.ErrBusy) {
			t.Fatalf("a full queue: %v", err)
		}
		cancel()
		for range 128 {
			if err := <-waits; !errors.Is(err, hash.ErrBusy) || !errors.Is(err, context.Canceled) {
				t.Fatalf("who left: %v", err)
			}
		}
		began := time.Now()
		if err := p.Enter(context.Background()); !errors.Is(err, hash.ErrBusy) || time.Since(began) != 10*time.Second {
			t.Fatalf("too long a wait: %v after %s", err, time.Since(began))
		}
		p.Leave()
		if err := p.Enter(context.Background()); err != nil {
			t.Fatalf("a free turn: %v", err)
		}
		p.Leave()
	})
}
