package token_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

// TestG9ManyBadTokens shows 100,000 distinct bad tokens (10,000 under the race
// detector) to each kind: memory stays bounded, and good tokens are neither
// forgotten nor slow.
func TestG9ManyBadTokens(t *testing.T) {
	many := manyBad
	if testing.Short() {
		many = 5_000
	}
	i := newIssuer(t)
	i.says("/introspect", func(w http.ResponseWriter, r *http.Request) { // one that keeps nothing
		reply(w, object{"active": r.FormValue("token") == "good", "sub": "alice"})
	})
	valid := i.mint(t, object{"exp": time.Now().Add(time.Hour).Unix()})
	head, signature, _ := cutLast(valid)
	jwt := i.jwt(t, nil)
	opaque := i.introspection(t, func(o *token.IntrospectionOptions) { o.Timeout, o.MaxEntries = 20*time.Second, 1000 })
	for _, test := range []struct {
		name, good string
		kind       outpost.Credential
		bad        func(n int) string
	}{
		{"jwt: forged", valid, jwt, func(n int) string {
			if n%4 == 0 { // the key id is known, and the signature is looked at
				return head + "." + strings.Repeat("A", len(signature)-8) + fmt.Sprintf("%07d", n) + "A"
			}
			header := fmt.Sprintf(`{"alg":"ES256","kid":"%d"}`, n)
			return base64.RawURLEncoding.EncodeToString([]byte(header)) + head[strings.IndexByte(head, '.'):] + "." + signature
		}},
		{"introspection: made up", "good", opaque, func(n int) string { return fmt.Sprint("bad", n) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			first, err := present(test.kind, test.good)
			if err != nil {
				t.Fatal(err)
			}
			before := memory()
			eachOf(many, func(n int) {
				if id, err := present(test.kind, test.bad(n)); verdict(t, id, err) != invalidToken {
					t.Errorf("%d: %v", n, err)
				}
				if n%100 == 0 {
					if id, err := present(test.kind, test.good); err != nil || id != first {
						t.Errorf("the good one after %d: %v", n, err)
					}
				}
			})
			if grown := memory() - before; grown > 8<<20 {
				t.Errorf("%d KiB more memory", grown>>10)
			}
			began := time.Now()
			for range 1000 {
				if id, _ := present(test.kind, test.good); id != first {
					t.Fatal("another identity")
				}
			}
			if each := time.Since(began) / 1000; each > 500*time.Microsecond { // it is about 1 µs without the race detector
				t.Errorf("a good token takes %s", each)
			}
		})
	}
	if n := i.count("/keys"); n > 2 {
		t.Errorf("the keys were asked for %d times", n)
	}
	if s := opaque.Stats(); s.Negative > 1100 || s.Evicted == 0 || s.Entries != 1 {
		t.Errorf("stats: %+v", s)
	}
}

// Accepted tokens are bounded, too: by number, and by what they hold.
func TestG9ManyGoodTokens(t *testing.T) {
	i := newIssuer(t)
	j := i.jwt(t, func(o *token.JWTOptions) { o.MaxEntries = 100 })
	before := memory()
	eachOf(500, func(n int) { // about 30 MiB, were they all kept
		if _, err := present(j, i.mint(t, object{"sub": fmt.Sprint(n), "x": strings.Split(strings.Repeat("x", 2000), "")})); err != nil {
			t.Error(err)
		}
	})
	if grown := memory() - before; grown > 8<<20 {
		t.Errorf("%d KiB more memory", grown>>10)
	}
	if s := j.Stats(); s.Entries > 112 || s.Evicted == 0 {
		t.Errorf("stats: %+v", s)
	}
}

// eachOf calls f with 0 to n-1, a few at once.
func eachOf(n int, f func(int)) {
	var all sync.WaitGroup
	const workers = 16
	for w := range workers {
		all.Go(func() {
			for k := w; k < n; k += workers {
				f(k)
			}
		})
	}
	all.Wait()
}

func memory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkSeen(b *testing.B) {
	i := newIssuer(b)
	i.knows("opaque-token-of-a-usual-length-0123456789", object{"sub": "alice"})
	for name, test := range map[string]struct {
		kind   outpost.Credential
		bearer string
	}{
		"jwt":           {i.jwt(b, nil), sign(b, object{"alg": "RS256", "kid": "rsa"}, i.claims(nil), keys().rsa)},
		"introspection": {i.introspection(b, nil), "opaque-token-of-a-usual-length-0123456789"},
	} {
		b.Run(name, func(b *testing.B) {
			r := request("Bearer " + test.bearer)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := test.kind.Identify(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewJWT(b *testing.B) {
	i := newIssuer(b)
	j := i.jwt(b, nil)
	for name, bearer := range map[string]string{
		"RS256": sign(b, object{"alg": "RS256", "kid": "rsa"}, i.claims(object{"exp": time.Now().Unix() - 5}), keys().rsa), // in the leeway: never kept
		"ES256": i.mint(b, object{"exp": time.Now().Unix() - 5}),
	} {
		b.Run(name, func(b *testing.B) {
			r := request("Bearer " + bearer)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Identify(b.Context(), r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
