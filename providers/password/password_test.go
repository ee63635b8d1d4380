package password_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/password"
)

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

// cheap answers a hash that costs next to nothing.
func cheap(pass string) string {
	const memory, passes, lanes = 8, 1, 1
	salt := []byte("salt of " + pass + "........")[:16]
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, lanes,
		encode(salt), encode(argon2.IDKey([]byte(pass), salt, passes, memory, lanes, 32)))
}

func people(t testing.TB) []password.User {
	t.Helper()
	crypted, err := bcrypt.GenerateFromPassword([]byte("password2"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return []password.User{
		{Username: "John", Name: "John Smith", Email: "john@example.com", Groups: []string{"admin"}, Password: cheap("password1")},
		{Username: "mary", Name: "Mary Jones", Email: "Mary@Example.com", Groups: []string{"user"}, Password: string(crypted)},
		{Username: "Service Account", Groups: []string{"service-account"}},
		{Username: "gone", Password: cheap("password3"), Disabled: true},
		{Username: "ключ", Password: cheap("пароль")},
	}
}

func open(t testing.TB, o password.Options) *password.Users {
	t.Helper()
	o.Name = "people"
	if o.Users == nil {
		o.Users = people(t)
	}
	u, err := password.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var here = netip.MustParseAddr("192.0.2.1") //nolint:gochecknoglobals // a constant in all but name

func basic(login, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(login+":"+pass))
}

func request(lines ...string) *outpost.Request {
	return &outpost.Request{Header: http.Header{"Authorization": lines}, Client: here}
}

const (
	notMine     = "not mine"
	bad         = "bad"
	refused     = "refused"
	throttled   = "throttled"
	unavailable = "unavailable"
)

func answer(id *outpost.Identity, err error) string {
	var t *password.ThrottledError
	switch {
	case (id == nil) == (err == nil):
		return "an identity and an error, or neither"
	case id != nil:
		return id.Username
	case errors.Is(err, outpost.ErrNoCredential):
		return notMine
	case errors.Is(err, password.ErrRefused):
		return refused
	case errors.As(err, &t):
		return throttled
	case errors.Is(err, outpost.ErrUnavailable):
		return unavailable
	}
	return bad
}

func TestIdentify(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"a user and the right password", []string{basic("John", "password1")}, "John"},
		{"a user with a bcrypt hash", []string{basic("mary", "password2")}, "mary"},
		{"a user name in another case", []string{basic("JOHN", "password1")}, "John"},
		{"E8 an e-mail address", []string{basic("john@example.com", "password1")}, "John"},
		{"an e-mail address in another case", []string{basic("MARY@example.COM", "password2")}, "mary"},
		{"a user name with blanks around it", []string{basic(" john ", "password1")}, "John"},
		{"the scheme in another case", []string{"bAsIc " + basic("john", "password1")[6:]}, "John"},
		{"two spaces after the scheme", []string{"Basic  " + basic("john", "password1")[6:]}, "John"},
		{"UTF-8", []string{basic("Ключ", "пароль")}, "ключ"},

		{"no header", nil, notMine},
		{"E19 a scheme alone", []string{"x"}, notMine},
		{"an empty header", []string{""}, notMine},
		{"another scheme", []string{"Bearer " + basic("john", "password1")[6:]}, notMine},
		{"a scheme that begins like Basic", []string{"Basically " + basic("john", "password1")[6:]}, notMine},

		{"E10 a wrong password", []string{basic("john", "password2")}, refused},
		{"E10 an unknown user", []string{basic("nobody", "password1")}, refused},
		{"a password in another case", []string{basic("john", "Password1")}, refused},
		{"a password with a blank behind it", []string{basic("john", "password1 ")}, refused},
		{"an empty password", []string{basic("john", "")}, refused},
		{"E17 an empty user name", []string{basic("", "password1")}, refused},
		{"E17 neither user name nor password", []string{basic("", "")}, refused},
		{"E17 a user without a password", []string{basic("Service Account", "password1")}, refused},
		{"E17 a user without a password, and none given", []string{basic("Service Account", "")}, refused},
		{"a disabled user", []string{basic("gone", "password3")}, refused},
		{"the hash as password", []string{basic("john", cheap("password1"))}, refused},
		{"a password of 1025 bytes", []string{basic("john", strings.Repeat("x", 1025))}, refused},
		{"a user name of 257 bytes", []string{basic(strings.Repeat("x", 257), "password1")}, refused},

		{"two Authorization lines", []string{basic("john", "password1"), basic("john", "password1")}, bad},
		{"the scheme and nothing", []string{"Basic"}, bad},
		{"the scheme and a blank", []string{"Basic "}, bad},
		{"no base64", []string{"Basic abcTOKEN!"}, bad},
		{"G1 a token instead of base64", []string{"Basic abcdefgTOKEN"}, bad},
		{"base64 that lacks its padding", []string{"Basic am9objpwYXNzd29yZDE"}, bad},
		{"base64 of URLs", []string{"Basic am9objo_Pz8_"}, bad},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("john"))}, bad},
		{"not UTF-8", []string{basic("j\xffhn", "password1")}, bad},
		{"a password that is not UTF-8", []string{basic("john", "\xff\xfe")}, bad},
		{"a line break", []string{basic("john\r\nX-User: admin", "password1")}, bad},
		{"NUL", []string{basic("john\x00", "password1")}, bad},
		{"a MiB", []string{basic("john", strings.Repeat("x", 1<<20))}, bad},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := open(t, password.Options{})
			id, err := u.Identify(context.Background(), request(c.lines...))
			if got := answer(id, err); got != c.want {
				t.Fatalf("got %s (%v), want %s", got, err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "password1") || strings.Contains(err.Error(), "john")) {
				t.Fatalf("the error tells what was presented: %s", err)
			}
		})
	}
}

func TestE9TheIdentityIsTheUsers(t *testing.T) {
	u := open(t, password.Options{})
	id, err := u.Check(context.Background(), "john@example.com", "password1", here)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%s|%s|%s|%s|%s|%s", id.Subject, id.Username, id.Name, id.Email, id.Groups, id.Provider); got != "John|John|John Smith|john@example.com|[admin]|people" {
		t.Fatal(got)
	}
	again, err := u.Identify(context.Background(), request(basic("john", "password1")))
	if err != nil || again != id {
		t.Fatalf("another pointer the second time: %p %p %v", id, again, err)
	}
}

func TestThrottle(t *testing.T) {
	const m = time.Minute
	there := netip.MustParseAddr("198.51.100.7")
	type step struct {
		after       time.Duration
		login, pass string
		from        netip.Addr
		want        string
	}
	v6 := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"three failures ban the user, from anywhere, with the right password too", []step{
			{0, "john", "x", here, refused},
			{0, "john", "y", here, refused},
			{0, "john", "z", here, refused},
			{0, "john", "password1", here, throttled},
			{0, "john", "password1", there, throttled},
			{4*m + 59*time.Second, "john", "password1", there, throttled},
			{time.Second, "john", "password1", there, "John"},
		}},
		{"three failures ban the address, for everybody there and nobody elsewhere", []step{
			{0, "john", "x", here, refused},
			{0, "mary", "x", here, refused},
			{0, "nobody", "x", here, refused},
			{0, "mary", "password2", here, throttled},
			{0, "mary", "password2", there, "mary"},
			{0, "john", "password1", there, "John"},
			{5 * m, "john", "password1", here, "John"},
		}},
		{"a user name and an e-mail address in any case are one user", []step{
			{0, "john", "x", here, refused},
			{0, "JOHN@example.com", "x", there, refused},
			{0, " John ", "x", v6("2001:db8::1"), refused},
			{0, "john", "password1", v6("2001:db8:1::1"), throttled},
		}},
		{"an unknown user is banned like a known one", []step{
			{0, "nobody", "x", here, refused},
			{0, "NOBODY", "x", there, refused},
			{0, "nobody", "x", v6("2001:db8::1"), refused},
			{0, "nobody", "x", v6("2001:db8:1::1"), throttled},
			{0, "john", "password1", v6("2001:db8:1::1"), "John"},
		}},
		{"E17 a user without a password is banned like another", []step{
			{0, "service account", "x", here, refused},
			{0, "service account", "x", there, refused},
			{0, "service account", "x", v6("2001:db8::1"), refused},
			{0, "service account", "x", v6("2001:db8:1::1"), throttled},
		}},
		{"a /64 is one address", []step{
			{0, "a", "x", v6("2001:db8::1"), refused},
			{0, "b", "x", v6("2001:db8::2"), refused},
			{0, "c", "x", v6("2001:db8::ffff:0:0:3"), refused},
			{0, "john", "password1", v6("2001:db8::4"), throttled},
			{0, "john", "password1", v6("2001:db8:0:1::4"), "John"},
		}},
		{"IPv4 inside of IPv6 is that IPv4", []step{
			{0, "a", "x", here, refused},
			{0, "b", "x", v6("::ffff:192.0.2.1"), refused},
			{0, "c", "x", here, refused},
			{0, "john", "password1", v6("::ffff:192.0.2.1"), throttled},
		}},
		{"an address that is not known bans nobody", []step{
			{0, "a", "x", netip.Addr{}, refused},
			{0, "b", "x", netip.Addr{}, refused},
			{0, "c", "x", netip.Addr{}, refused},
			{0, "john", "password1", netip.Addr{}, "John"},
		}},
		{"failures leave the window", []step{
			{0, "john", "x", here, refused},
			{m, "john", "x", here, refused},
			{m, "john", "x", here, refused},
			{0, "john", "password1", here, "John"},
		}},
		{"failures just inside of the window do not", []step{
			{0, "john", "x", here, refused},
			{m, "john", "x", here, refused},
			{m - time.Nanosecond, "john", "x", here, refused},
			{0, "john", "password1", here, throttled},
		}},
		{"typing errors before a success do not add up, also for the address", []step{
			{0, "john", "x", here, refused},
			{0, "john", "y", here, refused},
			{0, "john", "password1", here, "John"},
			{0, "mary", "x", here, refused},
			{0, "mary", "y", here, refused},
			{0, "mary", "password2", here, "mary"},
			{0, "ключ", "x", here, refused},
			{0, "ключ", "y", here, refused},
			{0, "ключ", "пароль", here, "ключ"},
		}},
		{"an account of one's own is no way to guess on", []step{
			{0, "john", "x", here, refused},
			{0, "mary", "password2", here, "mary"},
			{0, "john", "y", here, refused},
			{0, "mary", "password2", here, "mary"},
			{0, "john", "z", here, refused},
			{0, "mary", "password2", here, throttled},
		}},
		{"nor is failing with it on purpose", []step{
			{0, "john", "x", here, refused},
			{0, "mary", "x", here, refused},
			{0, "mary", "password2", here, "mary"},
			{0, "john", "y", here, refused},
			{0, "nobody", "z", here, refused},
			{0, "mary", "password2", here, throttled},
		}},
		{"the user's own success elsewhere does not forgive an attacker's address", []step{
			{0, "john", "x", here, refused},
			{0, "john", "y", here, refused},
			{0, "john", "password1", there, "John"},
			{0, "john", "z", here, refused},
			{0, "mary", "password2", here, throttled},
			{0, "john", "password1", there, "John"},
		}},
		{"what was verified before is throttled too", []step{
			{0, "john", "password1", here, "John"},
			{0, "john", "x", there, refused},
			{0, "john", "y", there, refused},
			{0, "john", "z", v6("2001:db8::1"), refused},
			{0, "john", "password1", here, throttled},
		}},
		{"empty passwords are no guesses", []step{
			{0, "john", "", here, refused},
			{0, "john", "", here, refused},
			{0, "john", "", here, refused},
			{0, "john", "", here, refused},
			{0, "john", "password1", here, "John"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now clock
			u := open(t, password.Options{Now: now.now, Throttle: password.Throttle{Tries: 3, Window: 2 * m, Ban: 5 * m}})
			for i, s := range c.steps {
				now.forward(s.after)
				id, err := u.Check(context.Background(), s.login, s.pass, s.from)
				if got := answer(id, err); got != s.want {
					t.Fatalf("step %d: %s: got %s (%v), want %s", i, s.login, got, err, s.want)
				}
				var limited *password.ThrottledError
				if errors.As(err, &limited) && (limited.RetryAfter <= 0 || limited.RetryAfter > 5*m) {
					t.Fatalf("step %d: retry after %s", i, limited.RetryAfter)
				}
			}
		})
	}
}

func TestByDefaultTheSixthFailureIsThrottledForFiveMinutes(t *testing.T) {
	var now clock
	u := open(t, password.Options{Now: now.now})
	for i := range 5 {
		if _, err := u.Check(context.Background(), "john", "wrong", here); !errors.Is(err, password.ErrRefused) {
			t.Fatalf("failure %d: %v", i, err)
		}
	}
	_, err := u.Check(context.Background(), "john", "wrong", here)
	var limited *password.ThrottledError
	if !errors.As(err, &limited) || limited.RetryAfter != 5*time.Minute {
		t.Fatal(err)
	}
}

func Test256FailuresWithRandomNamesLockNobodyElseOut(t *testing.T) {
	u := open(t, password.Options{})
	for i := range 256 {
		_, _ = u.Check(context.Background(), fmt.Sprint("random", i), "x", here)
	}
	for i := range 256 { // nor from as many addresses
		_, _ = u.Check(context.Background(), fmt.Sprint("random", i), "x", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
	}
	for login, pass := range map[string]string{"john": "password1", "mary": "password2"} {
		if _, err := u.Check(context.Background(), login, pass, netip.MustParseAddr("198.51.100.7")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABanOutlives100000MadeUpNamesAndMemoryStaysBounded(t *testing.T) {
	t.Parallel()
	u := open(t, password.Options{Users: []password.User{{Username: "john", Password: cheap("password1")}}})
	for range 5 {
		_, _ = u.Check(context.Background(), "john", "x", netip.Addr{})
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 100_000 {
		from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if got := answer(u.Check(context.Background(), fmt.Sprint("user", i), "x", from)); got != refused {
			t.Fatal(got)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Fatalf("100,000 failures keep %d bytes", grown)
	}
	if got := answer(u.Check(context.Background(), "john", "password1", here)); got != throttled {
		t.Fatalf("the ban was pushed out: %s", got)
	}
}

func TestOfManyGuessesAtOnceOnlyTheTriesAreAnswered(t *testing.T) {
	u := open(t, password.Options{Parallel: 8})
	var counts sync.Map
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			from := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
			got := answer(u.Check(context.Background(), "john", fmt.Sprint("guess", i), from))
			n, _ := counts.LoadOrStore(got, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		})
	}
	all.Wait()
	told, _ := counts.Load(refused)
	if n := told.(*atomic.Int64).Load(); n != 5 {
		t.Fatalf("%d guesses were answered", n)
	}
}

func TestAFileThatIsCorruptLeavesTheOldUsersServing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "htpasswd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("john:" + cheap("one") + "\n")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		warnings := make(chan error, 10)
		u, err := password.New(password.Options{Name: "people", HtpasswdFile: path, Warn: func(err error) { warnings <- err }})
		if err != nil {
			t.Fatal(err)
		}
		go u.Follow(ctx)
		check := func(pass, want string) {
			t.Helper()
			if got := answer(u.Check(context.Background(), "john", pass, netip.Addr{})); got != want {
				t.Fatalf("%s: got %s, want %s", pass, got, want)
			}
		}
		first, err := u.Check(ctx, "john", "one", here)
		if err != nil || u.Current(first) != first {
			t.Fatal(err)
		}
		check("one", "john") // remembered

		write("john:" + cheap("two") + "\nmary;\n")
		time.Sleep(5 * time.Second)
		check("one", "john")
		select {
		case err := <-warnings:
			if !strings.Contains(err.Error(), path+":2: ") {
				t.Fatalf("the warning does not name the line: %s", err)
			}
		default:
			t.Fatal("no warning")
		}

		write("john:" + cheap("two") + "\n")
		time.Sleep(5 * time.Second)
		check("one", refused) // and not remembered any more
		check("two", "john")
		if len(warnings) > 0 {
			t.Fatal(<-warnings)
		}
		if u.Current(first) != nil {
			t.Fatal("a session of the old password is still the user's")
		}
	})
}

func TestCurrent(t *testing.T) {
	before := open(t, password.Options{})
	john, err := before.Check(context.Background(), "john", "password1", here)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(john) // as a session keeps it
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(stored), "argon2") {
		t.Fatalf("the identity tells the hash: %s", stored)
	}
	kept := new(outpost.Identity)
	if err := json.Unmarshal(stored, kept); err != nil {
		t.Fatal(err)
	}
	change := func(f func(u *password.User)) []password.User {
		users := people(t)
		f(&users[0])
		return users
	}
	for _, c := range []struct {
		name  string
		users []password.User
		want  string // groups, or ""
	}{
		{"the same user", people(t), "[admin]"},
		{"a user with other groups", change(func(u *password.User) { u.Groups = []string{"user"} }), "[user]"},
		{"a user with another password", change(func(u *password.User) { u.Password = cheap("other") }), ""},
		{"a user without a password", change(func(u *password.User) { u.Password = "" }), ""},
		{"a disabled user", change(func(u *password.User) { u.Disabled = true }), ""},
		{"a user who is gone", people(t)[1:], ""},
		{"another who has that e-mail address", change(func(u *password.User) { u.Username, u.Email = "eve", "john" }), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			if id := open(t, password.Options{Users: c.users}).Current(kept); id != nil {
				got = fmt.Sprint(id.Groups)
			}
			if got != c.want {
				t.Fatalf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		o    password.Options
		want string
	}{
		{"a bad user", password.Options{Users: []password.User{{Username: "a"}, {Username: "A"}}}, "users[1].username: "},
		{"a file that is not there", password.Options{UsersFile: "/nonexistent/users.yaml"}, "/nonexistent/users.yaml"},
		{"fewer tries than one", password.Options{Throttle: password.Throttle{Tries: -1}}, "throttle: tries"},
		{"more tries than are counted", password.Options{Throttle: password.Throttle{Tries: 1001}}, "throttle: tries"},
		{"a window below nothing", password.Options{Throttle: password.Throttle{Window: -1}}, "throttle: "},
		{"a ban below nothing", password.Options{Throttle: password.Throttle{Ban: -1}}, "throttle: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := password.New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
		})
	}
	var got []string
	password.CheckUsers([]password.User{{}}, func(key, problem string) { got = append(got, key+" "+problem) })
	if fmt.Sprint(got) != "[users[0].username is missing]" {
		t.Fatal(got)
	}
}

func TestHash(t *testing.T) {
	h, err := password.Hash("correct horse")
	if err != nil || !strings.HasPrefix(h, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatal(h, err)
	}
	u := open(t, password.Options{Users: []password.User{{Username: "a", Password: h}}})
	if _, err := u.Check(context.Background(), "a", "correct horse", here); err != nil {
		t.Fatal(err)
	}
	if _, err := password.Hash(""); err == nil {
		t.Fatal("an empty password is taken")
	}
}

func FuzzBasicHeader(f *testing.F) {
	u := open(f, password.Options{Users: []password.User{{Username: "john", Password: cheap("password1")}}})
	right := basic("john", "password1")
	f.Fuzz(func(t *testing.T, header string) {
		r := request(header)
		r.Client = netip.Addr{}
		switch got := answer(u.Identify(context.Background(), r)); got {
		case notMine, bad, refused, throttled:
		case "john":
			if plain, err := base64.StdEncoding.DecodeString(strings.Trim(header[6:], " ")); err != nil || !strings.HasSuffix(string(plain), ":password1") {
				t.Fatalf("%q is john, as %q is", header, right)
			}
		default:
			t.Fatalf("%q: %s", header, got)
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	u := open(b, password.Options{})
	b.Run("a user seen before", func(b *testing.B) {
		r := request(basic("john", "password1"))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := u.Identify(context.Background(), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
