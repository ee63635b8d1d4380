package apikey_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config/strict"
	"github.com/akprox/akprox/providers/apikey"
)

const good, other, expired = "api-good", "api-other", "api-expired"

func now() time.Time { return time.Date(2027, 6, 1, 12, 0, 0, 0, time.UTC) }

func keys(t testing.TB) *apikey.Keys {
	t.Helper()
	sum := sha256.Sum256([]byte(other))
	k, err := apikey.New(apikey.Options{Name: "services", Now: now, Keys: []apikey.Key{
		{Name: "Service Account", Hash: apikey.Hash(good), Groups: []string{"service-account"}, Scopes: []string{"orders:read"}},
		{Name: "other", Hash: "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])},
		{Name: "old", Hash: apikey.Hash(expired), Expires: apikey.Expiry{Time: now()}},
		{Name: "ends soon", Hash: apikey.Hash("api-soon"), Expires: apikey.Expiry{Time: now().Add(1)}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func request(lines ...string) *outpost.Request {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return &outpost.Request{Header: h}
}

// The three answers beside an identity.
const (
	notMine  = "not mine"                         // nothing of this kind is there
	unknown  = "unknown here"                     // ask the others; bad if nobody knows it
	bad      = "bad"                              // whatever the others would say
	longText = "0123456789abcdefghijklmnopqrstuv" // 32 bytes
)

func TestIdentify(t *testing.T) {
	k := keys(t)
	for _, c := range []struct {
		name   string
		header []string
		want   string // a user name, or an answer
		says   string // part of the error
	}{
		{"E13 a good key as bearer token", []string{"Authorization: Bearer " + good}, "Service Account", ""},
		{"a good key in X-Api-Key", []string{"X-Api-Key: " + good}, "Service Account", ""},
		{"a key whose hash is written in base64url", []string{"X-Api-Key: " + other}, "other", ""},
		{"the scheme in another case", []string{"Authorization: bEARER " + good}, "Service Account", ""},
		{"more than one space after the scheme", []string{"Authorization: Bearer   " + good}, "Service Account", ""},
		{"the same key in both places", []string{"Authorization: Bearer " + good, "X-Api-Key: " + good}, "Service Account", ""},
		{"a key just before its end", []string{"X-Api-Key: api-soon"}, "ends soon", ""},

		{"no header", nil, notMine, ""},
		{"a cookie that holds a key", []string{"Cookie: Auth=" + good}, notMine, ""},
		{"E19 a scheme without anything", []string{"Authorization: x"}, notMine, ""},
		{"an empty Authorization", []string{"Authorization: "}, notMine, ""},
		{"another scheme", []string{"Authorization: Basic " + good}, notMine, ""},
		{"G1 any seven characters before the key", []string{"Authorization: abcdef " + good}, notMine, ""},
		{"a key without a scheme", []string{"Authorization: " + good}, notMine, ""},
		{"a scheme that only begins like Bearer", []string{"Authorization: Bearerer " + good}, notMine, ""},

		{"E14 a bad key as bearer token", []string{"Authorization: Bearer api-zzz"}, unknown, "not one of this provider's"},
		{"a token of three parts", []string{"Authorization: Bearer a.b.c"}, unknown, ""},
		{"an unknown X-Api-Key", []string{"X-Api-Key: api-zzz"}, unknown, ""},
		{"a session id as bearer token", []string{"Authorization: Bearer session-abc"}, unknown, ""},
		{"a good key and one character", []string{"X-Api-Key: " + good + "x"}, unknown, ""},
		{"a good key less one character", []string{"X-Api-Key: " + good[:len(good)-1]}, unknown, ""},
		{"a good key in capitals", []string{"X-Api-Key: " + strings.ToUpper(good)}, unknown, ""},
		{"the hash itself", []string{"X-Api-Key: " + apikey.Hash(good)}, unknown, ""},
		{"512 bytes", []string{"X-Api-Key: " + strings.Repeat(longText, 16)}, unknown, ""},
		{"one byte more", []string{"X-Api-Key: " + strings.Repeat(longText, 16) + "x"}, unknown, ""},
		{"a MiB", []string{"Authorization: Bearer " + strings.Repeat(longText, 1<<15)}, unknown, ""},

		{"an expired key", []string{"Authorization: Bearer " + expired}, bad, `the API key "old" has expired`},
		{"two Authorization lines", []string{"Authorization: Bearer " + good, "Authorization: Bearer " + good}, bad, "two"},
		{"two Authorization lines of other schemes", []string{"Authorization: Basic x", "Authorization: x"}, bad, "two"},
		{"two X-Api-Key lines", []string{"X-Api-Key: " + good, "X-Api-Key: " + other}, bad, "two"},
		{"two good keys that disagree", []string{"Authorization: Bearer " + good, "X-Api-Key: " + other}, bad, "two"},
		{"a good key beside another token", []string{"Authorization: Bearer a.b.c", "X-Api-Key: " + good}, bad, "two"},
		{"a good key beside a user's password", []string{"Authorization: Basic am9objp4", "X-Api-Key: " + good}, bad, "two"},
		{"a bearer token of nothing", []string{"Authorization: Bearer"}, bad, "cannot be one"},
		{"a bearer token of blanks", []string{"Authorization: Bearer   "}, bad, "cannot be one"},
		{"an empty X-Api-Key", []string{"X-Api-Key: "}, bad, "cannot be one"},
		{"two words", []string{"Authorization: Bearer " + good + " " + good}, bad, "cannot be one"},
		{"two keys with a comma and a blank", []string{"X-Api-Key: " + good + ", " + good}, bad, "cannot be one"},
		{"a key that is not ASCII", []string{"X-Api-Key: clé-été"}, bad, "cannot be one"},
		{"a key that is not UTF-8", []string{"X-Api-Key: \xff\xfe"}, bad, "cannot be one"},
		{"a bearer token that is not ASCII", []string{"Authorization: Bearer ключ"}, bad, "cannot be one"},
		{"a tab in it", []string{"Authorization: Bearer \t" + good}, bad, "cannot be one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := k.Identify(context.Background(), request(c.header...))
			if got := answer(id, err); got != c.want {
				t.Fatalf("got %s (%v), want %s", got, err, c.want)
			}
			if err == nil {
				return
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%q does not say %q", err, c.says)
			}
			for _, secret := range []string{good, other, expired, "zzz"} {
				if strings.Contains(err.Error(), secret) {
					t.Fatalf("the error tells a key: %s", err)
				}
			}
		})
	}
}

func answer(id *outpost.Identity, err error) string {
	switch {
	case err == nil && id != nil:
		return id.Username
	case id != nil || err == nil:
		return "an identity and an error, or neither"
	case errors.Is(err, outpost.ErrUnclaimed):
		return unknown
	case errors.Is(err, outpost.ErrNoCredential):
		return notMine
	case errors.Is(err, outpost.ErrUnavailable):
		return "unavailable"
	}
	return bad
}

func TestE13AKeyIsAlwaysTheSameIdentity(t *testing.T) {
	k := keys(t)
	first, err := k.Identify(context.Background(), request("Authorization: Bearer "+good))
	if err != nil {
		t.Fatal(err)
	}
	again, err := k.Identify(context.Background(), request("X-Api-Key: "+good))
	if err != nil || first != again {
		t.Fatalf("got %p and %p, %v", first, again, err)
	}
	if got := fmt.Sprintf("%s|%s|%s|%s|%s", first.Subject, first.Username, first.Groups, first.Scopes, first.Provider); got != "Service Account|Service Account|[service-account]|[orders:read]|services" {
		t.Fatal(got)
	}
}

func TestNewRefuses(t *testing.T) {
	hash := apikey.Hash(good)
	one := apikey.Key{Name: "ci", Hash: hash}
	for _, c := range []struct {
		name string
		keys []apikey.Key
		want string
	}{
		{"a name twice", []apikey.Key{one, {Name: "ci", Hash: apikey.Hash(other)}}, "keys[1].name: is the name of keys[0] too"},
		{"a hash twice", []apikey.Key{one, {Name: "b", Hash: hash}}, "keys[1].hash: is the hash of keys[0] too"},
		{"a hash twice in two forms", []apikey.Key{one, {Name: "b", Hash: strings.ToUpper(hash[7:])}, {Name: "c", Hash: "sha256:" + strings.ToUpper(hash[7:])}}, "keys[2].hash: is the hash of keys[0] too"},
		{"no name", []apikey.Key{{Hash: hash}}, "keys[0].name: has to be a text"},
		{"a name with a line break", []apikey.Key{{Name: "a\nb", Hash: hash}}, "keys[0].name: has to be a text"},
		{"a name with a blank at its end", []apikey.Key{{Name: "a ", Hash: hash}}, "keys[0].name: has to be a text"},
		{"no hash", []apikey.Key{{Name: "a"}}, `keys[0].hash: has to begin with "sha256:"`},
		{"the key itself instead of its hash", []apikey.Key{{Name: "a", Hash: good}}, `keys[0].hash: has to begin with "sha256:"`},
		{"a hash of another kind", []apikey.Key{{Name: "a", Hash: "sha512:" + hash[7:]}}, `keys[0].hash: has to begin with "sha256:"`},
		{"a hash that is too short", []apikey.Key{{Name: "a", Hash: hash[:len(hash)-2]}}, "64 hexadecimal digits"},
		{"a hash that is too long", []apikey.Key{{Name: "a", Hash: hash + "00"}}, "64 hexadecimal digits"},
		{"a hash that is no digits", []apikey.Key{{Name: "a", Hash: "sha256:" + strings.Repeat("!", 64)}}, "64 hexadecimal digits"},
		{"an empty group", []apikey.Key{{Name: "a", Hash: hash, Groups: []string{"x", ""}}}, "keys[0].groups[1]: has to be a word"},
		{"a scope of two words", []apikey.Key{{Name: "a", Hash: hash, Scopes: []string{"a b"}}}, "keys[0].scopes[0]: has to be a word"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := apikey.New(apikey.Options{Name: "services", Keys: c.keys})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), good) || strings.Contains(err.Error(), hash[10:20]) {
				t.Fatalf("the error tells a key or its hash: %s", err)
			}
		})
	}
	k, err := apikey.New(apikey.Options{Name: "none"})
	if err != nil {
		t.Fatalf("no keys at all: %v", err)
	}
	if _, err := k.Identify(context.Background(), request("X-Api-Key: "+good)); answer(nil, err) != unknown {
		t.Fatal(err)
	}
}

func TestGenerate(t *testing.T) {
	form := regexp.MustCompile(`^api-[a-z2-7]{32}$`)
	seen := map[string]bool{}
	for range 1000 {
		key, hash, err := apikey.Generate()
		if err != nil || !form.MatchString(key) || hash != apikey.Hash(key) || seen[key] {
			t.Fatalf("%q, %q, %v", key, hash, err)
		}
		seen[key] = true
	}
	if got := apikey.Hash("abc"); got != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Fatal(got)
	}
}

func TestKeysAreReadFromADocument(t *testing.T) {
	read := func(expires string) (apikey.Key, error) {
		var doc struct {
			Keys []apikey.Key `yaml:"keys"`
		}
		r := strict.Reader{File: "akprox.yaml"}
		r.Read([]byte("keys:\n  - name: ci\n    hash: sha256:abc\n    groups: [a]\n    expires: "+expires+"\n"), &doc)
		if err := r.Problems().Err(); err != nil {
			return apikey.Key{}, err
		}
		return doc.Keys[0], nil
	}
	for _, c := range []struct{ name, written, want string }{
		{"a date means the end of that day", "2027-12-31", "2028-01-01T00:00:00Z"},
		{"a date in quotes does too", `"2027-12-31"`, "2028-01-01T00:00:00Z"},
		{"a moment is that moment", "2027-12-31T00:00:00Z", "2027-12-31T00:00:00Z"},
		{"a moment elsewhere", "2027-12-31T00:00:00+02:00", "2027-12-30T22:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := read(c.written)
			if err != nil || k.Expires.UTC().Format(time.RFC3339) != c.want {
				t.Fatalf("got %s, %v", k.Expires, err)
			}
		})
	}
	for _, written := range []string{"soon", "31", "true", "2027-02-30", "[2027-12-31]", `""`, "2027-12-31 08:00"} {
		t.Run("refuses "+written, func(t *testing.T) {
			if k, err := read(written); err == nil || !strings.Contains(err.Error(), "akprox.yaml:5: keys[0].expires") {
				t.Fatalf("got %s, %v", k.Expires, err)
			}
		})
	}
	if _, err := yaml.Marshal((*apikey.Expiry)(nil).JSONSchema()); err != nil {
		t.Fatal(err)
	}
}

func TestBadKeysCostNothing(t *testing.T) {
	k := keys(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 100_000 {
		r := &outpost.Request{Header: http.Header{"X-Api-Key": {fmt.Sprint("api-", i)}}}
		if _, err := k.Identify(context.Background(), r); answer(nil, err) != unknown {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
		t.Fatalf("100,000 bad keys keep %d bytes", grown)
	}
	r := request("Authorization: Bearer " + good)
	if n := testing.AllocsPerRun(100, func() { _, _ = k.Identify(context.Background(), r) }); n > 0 {
		t.Fatalf("%v allocations for a good key", n)
	}
}

func FuzzIdentify(f *testing.F) {
	for _, s := range []string{"Bearer " + good, "Bearer", "bearer  x ", "Basic abc", "", "x", "Bearer \xff", "Bearer a, Bearer b"} {
		f.Add(s, "", true, false)
		f.Add("Bearer "+good, s, true, true)
	}
	k := keys(f)
	f.Fuzz(func(t *testing.T, authorization, key string, hasAuthorization, hasKey bool) {
		h := http.Header{}
		if hasAuthorization {
			h["Authorization"] = []string{authorization}
		}
		if hasKey {
			h["X-Api-Key"] = []string{key}
		}
		id, err := k.Identify(context.Background(), &outpost.Request{Header: h})
		if (id == nil) == (err == nil) {
			t.Fatalf("%v, %v", id, err)
		}
		if id != nil && !strings.Contains(authorization+"\n"+key, "api-") {
			t.Fatalf("%q, %q are %s", authorization, key, id.Username)
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	k := keys(b)
	for _, key := range []string{good, "api-zzz"} {
		b.Run(key, func(b *testing.B) {
			r := request("Authorization: Bearer " + key)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = k.Identify(context.Background(), r)
			}
		})
	}
}
