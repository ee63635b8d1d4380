package users

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/akprox/akprox/outpost/config/strict"
)

const (
	argon  = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
	bcrypt = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	plain  = "hunter2-Secret"
)

func TestCheck(t *testing.T) {
	john := User{Username: "john", Name: "John Smith", Email: "john@example.com", Groups: []string{"admin"}, Password: argon}
	for _, c := range []struct {
		name  string
		users []User
		want  string // "" for nothing
	}{
		{"E9 two users with groups", []User{john, {Username: "mary", Email: "mary@example.com", Groups: []string{"user"}, Password: bcrypt}}, ""},
		{"E17 a user without password and e-mail", []User{{Username: "Service Account", Groups: []string{"service-account"}}}, ""},
		{"a user whose name is the e-mail address", []User{{Username: "john@example.com", Email: "John@example.com"}}, ""},
		{"nobody at all", nil, ""},
		{"a user name twice", []User{john, {Username: "john"}}, "users[1].username: is the user name or e-mail address of users[0] too"},
		{"a user name twice but for its case", []User{john, {Username: "JOHN"}}, "users[1].username: is the user name or e-mail address of users[0] too"},
		{"an e-mail address twice", []User{john, {Username: "j", Email: "JOHN@EXAMPLE.COM"}}, "users[1].email: is the user name"},
		{"a user name that is somebody's e-mail address", []User{john, {Username: "John@example.com"}}, "users[1].username: is the user name"},
		{"no user name", []User{{Password: argon}}, "users[0].username: is missing"},
		{"a user name of 257 bytes", []User{{Username: strings.Repeat("x", 257)}}, "users[0].username: is longer than 256 bytes"},
		{"a user name with a colon", []User{{Username: "a:b"}}, "users[0].username: must not hold a colon"},
		{"a user name with a blank before it", []User{{Username: " a"}}, "users[0].username: must not hold control"},
		{"a user name with a line break", []User{{Username: "a\r\nX-User: b"}}, "users[0].username: must not hold control"},
		{"a user name that is not UTF-8", []User{{Username: "\xff"}}, "users[0].username: must not hold control"},
		{"an e-mail address with NUL", []User{{Username: "a", Email: "a\x00@b"}}, "users[0].email: must not hold control"},
		{"a name with a line break", []User{{Username: "a", Name: "A\nB"}}, "users[0].name: must not hold control"},
		{"an empty group", []User{{Username: "a", Groups: []string{"x", ""}}}, "users[0].groups[1]: has to be a text"},
		{"a password in the open", []User{{Username: "a", Password: plain}}, "users[0].password: is not a hash that is known here"},
		{"a bad hash of a disabled user", []User{{Username: "a", Password: plain, Disabled: true}}, "users[0].password: is not a hash"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			Check(c.users, func(key, problem string) { got = append(got, key+": "+problem) })
			_, err := (&Source{Provider: "people", Users: c.users}).Load()
			if c.want == "" {
				if len(got) > 0 || err != nil {
					t.Fatal(got, err)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], c.want) || err == nil || err.Error() != got[0] {
				t.Fatalf("got %q, %v", got, err)
			}
			if strings.Contains(got[0], plain) {
				t.Fatalf("it tells the password: %s", got[0])
			}
		})
	}
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, text)
	return path
}

func rewrite(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestACorruptUsersFileNamesItsLine(t *testing.T) {
	good := "users:\n  - username: john\n    password: \"" + argon + "\"\n"
	for _, c := range []struct{ name, text, want string }{
		{"good", good, ""},
		{"with all keys", good + "    name: John\n    email: john@example.com\n    groups: [a, b]\n    disabled: true\n", ""},
		{"no users", "users: []\n", ""},
		{"empty", "", ":1: the document is empty"},
		{"no key users", "people: []\n", ":1: people: unknown key"},
		{"a list at its top", "- username: john\n", ":1: expected a mapping"},
		{"an unknown key", good + "    pasword: x\n", `:4: users[0].pasword: unknown key "pasword"; did you mean "password"?`},
		{"a key twice", good + "    username: x\n", ":4: users[0].username: stands here a second time"},
		{"no user name", "users:\n  - name: john\n", ":2: users[0].username: is missing"},
		{"a number as password", "users:\n  - username: john\n    password: 12345678\n", ":3: users[0].password: expected a string, got a number"},
		{"a password in the open", good + "  - username: mary\n    password: " + plain + "\n", ":5: users[1].password: is not a hash"},
		{"a user twice", good + "  - username: John\n", ":4: users[1].username: is the user name or e-mail address of line 2 of "},
		{"a group that is no text", good + "    groups:\n      - admin\n      - [x]\n", ":6: users[0].groups[1]: expected a string"},
		{"no YAML", good + "   - x: [\n", ": this is not YAML"},
		{"a byte that is not UTF-8", good + "    name: \"\xff\"\n", ":4: this line is not UTF-8"},
		{"two documents", good + "---\n" + good, ":4: only one document"},
		{"an alias", "users:\n  - &a {username: john}\n  - *a\n", ":3: users[1]: expected a value, got a reference"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "users.yaml", c.text)
			_, err := (&Source{UsersFile: path}).Load()
			compare(t, path, err, c.want)
		})
	}
}

func TestACorruptHtpasswdFileNamesItsLine(t *testing.T) {
	good := "# made by htpasswd -B\n\njohn:" + bcrypt + "\n"
	for _, c := range []struct{ name, text, want string }{
		{"good", good, ""},
		{"argon2id, a comment and Windows line ends", "john:" + argon + ":the boss\r\nmary:" + bcrypt + "\r\n", ""},
		{"empty", "", ""},
		{"without a line end", "john:" + bcrypt, ""},
		{"no colon", good + "mary\n", ":4: expected a line of the form name:hash"},
		{"no hash", good + "mary:\n", ":4: expected a line of the form name:hash"},
		{"no name", good + ":" + bcrypt + "\n", ":4: username: is missing"},
		{"apr1", good + "mary:$apr1$Zx8oBWYx$WwQ0sC8d5d1VZkM0d3jxB1\n", ":4: password: is a hash of the old apr1 (MD5) scheme"},
		{"SHA-1", good + "mary:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n", ":4: password: is a hash of the unsalted SHA-1 scheme"},
		{"a password in the open", good + "mary:" + plain + "\n", ":4: password: is not a hash"},
		{"a bcrypt hash cut short", good + "mary:" + bcrypt[:50] + "\n", ":4: password: is not a whole bcrypt hash"},
		{"a user twice", good + "JOHN:" + bcrypt + "\n", ":4: username: is the user name or e-mail address of line 3 of "},
		{"a blank before the colon", "john :" + bcrypt + "\n", ":1: username: must not hold control characters, nor blanks"},
		{"not UTF-8", "j\xffhn:" + bcrypt + "\n", ":1: username: must not hold control characters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, "htpasswd", c.text)
			_, err := (&Source{HtpasswdFile: path}).Load()
			compare(t, path, err, c.want)
			if err != nil && !strings.Contains(err.Error(), "line of the form") && strings.Contains(c.want, "is a hash") && !strings.Contains(err.Error(), "htpasswd -B") {
				t.Fatalf("it does not say how to mend it: %s", err)
			}
		})
	}
}

func compare(t *testing.T, path string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %v, want %s%s", err, path, want)
	}
	for _, secret := range []string{plain, argon[8:], bcrypt[8:40], "12345678"} {
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("it tells %s: %s", secret, err)
		}
	}
}

func TestEveryProblemOfAFileIsTold(t *testing.T) {
	path := write(t, "htpasswd", strings.Repeat("x\n", 50)+"a:b\n")
	_, err := (&Source{HtpasswdFile: path}).Load()
	var problems strict.Problems
	if !errors.As(err, &problems) || len(problems) != 51 || problems[50].Line != 51 {
		t.Fatal(err)
	}
	rewrite(t, path, strings.Repeat("x\n", 100_000))
	if _, err = (&Source{HtpasswdFile: path}).Load(); !errors.As(err, &problems) || len(problems) != maxProblems {
		t.Fatalf("%d problems", len(problems))
	}
}

func TestOriginsAreOneNamespace(t *testing.T) {
	s := Source{
		Provider: "people", Users: []User{{Username: "john", Password: argon}},
		UsersFile:    write(t, "users.yaml", "users: [{username: mary, email: m@example.com}]\n"),
		HtpasswdFile: write(t, "htpasswd", "eve:"+bcrypt+"\n"),
	}
	set, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	for login, name := range map[string]string{"john": "john", "m@example.com": "mary", "mary": "mary", "eve": "eve"} {
		if k := set.Find(login); k == nil || k.Identity.Username != name || k.Identity.Provider != "people" {
			t.Fatalf("%s is %+v", login, k)
		}
	}
	rewrite(t, s.HtpasswdFile, "M@Example.com:"+bcrypt+"\nJohn:"+bcrypt+"\n")
	_, err = s.Load()
	for _, want := range []string{"htpasswd:1: username: is the user name or e-mail address of line 1 of " + s.UsersFile, "htpasswd:2: username: is the user name or e-mail address of users[0] too"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %s", err, want)
		}
	}
	for _, missing := range []Source{{UsersFile: "/nonexistent/users.yaml"}, {HtpasswdFile: "/nonexistent/htpasswd"}, {UsersFile: t.TempDir()}} {
		if _, err := missing.Load(); err == nil {
			t.Fatalf("%+v is read", missing)
		}
	}
	huge := write(t, "huge", strings.Repeat("#", maxFile+1))
	if _, err := (&Source{HtpasswdFile: huge}).Load(); err == nil || !strings.Contains(err.Error(), "larger than 8 MiB") {
		t.Fatal(err)
	}
}

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "htpasswd")
	rewrite(t, path, "john:"+bcrypt+"\n")
	s := Source{HtpasswdFile: path, UsersFile: filepath.Join(dir, "users.yaml")}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var lock sync.Mutex
		var told []string
		w := s.Watch()
		go w.Follow(ctx, func(set *Set, err error) {
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				told = append(told, "wrong")
			} else {
				told = append(told, fmt.Sprint(set.Find("john") != nil, set.Find("mary") != nil))
			}
		})
		for _, step := range []struct {
			name string
			do   func()
			want string
		}{
			{"no change is not told, a missing file included", func() {}, ""},
			{"a file that appears is read", func() { rewrite(t, s.UsersFile, "users: [{username: mary}]\n") }, "true true"},
			{"a file that changes is read", func() { rewrite(t, path, "") }, "false true"},
			{"a file that is wrong is told once", func() { rewrite(t, s.UsersFile, "users: 5\n") }, "wrong"},
			{"a file that is replaced is read", func() {
				rewrite(t, s.UsersFile+".new", "users: []\n")
				if err := os.Rename(s.UsersFile+".new", s.UsersFile); err != nil {
					t.Error(err)
				}
			}, "false false"},
			{"a file that is gone is told once", func() { _ = os.Remove(s.UsersFile) }, "wrong"},
		} {
			lock.Lock()
			told = nil
			lock.Unlock()
			step.do()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			lock.Lock()
			if got := strings.Join(told, ", "); got != step.want {
				t.Errorf("%s: got %q", step.name, got)
			}
			lock.Unlock()
		}
	})
}

func TestAFileThatIsStillBeingWrittenIsLeftAlone(t *testing.T) {
	path := write(t, "htpasswd", "")
	w := (&Source{HtpasswdFile: path}).Watch()
	text := ""
	for range 5 {
		text += "#\n"
		rewrite(t, path, text)
		if w.changed() {
			t.Fatal("it is read at once")
		}
	}
	if !w.changed() || w.changed() {
		t.Fatal("it is not read once")
	}
}

func TestKnown(t *testing.T) {
	set, err := (&Source{Users: []User{
		{Username: "john", Password: bcrypt}, {Username: "off", Password: bcrypt, Disabled: true}, {Username: "none"},
	}}).Load()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct{ enabled, matches, hash bool }{
		"john": {true, true, true}, "off": {false, false, true}, "none": {false, false, false},
	} {
		k := set.Find(name)
		h, enabled := k.Hash()
		if enabled != want.enabled || k.Enabled() != want.enabled || (h != nil) != want.hash {
			t.Fatalf("%s: %t %v", name, enabled, h)
		}
		if h != nil && h.Matches([]byte("U*U")) != want.matches {
			t.Fatalf("%s matches: %t", name, !want.matches)
		}
	}
	john := set.Find("john")
	digest, other, now := [32]byte{1}, [32]byte{2}, time.Unix(1000, 0)
	if john.Remembers(&digest, now) {
		t.Fatal("remembers what it was never told")
	}
	john.Remember(digest, now.Add(time.Second))
	if !john.Remembers(&digest, now) || john.Remembers(&other, now) || john.Remembers(&digest, now.Add(time.Second)) {
		t.Fatal("remembers another password, or for too long")
	}
	for i := range uint64(10) {
		if set.Decoy(i).Matches([]byte("U*U")) {
			t.Fatal("a decoy matches")
		}
	}
	empty, err := (&Source{}).Load()
	if err != nil || empty.Decoy(7) == nil {
		t.Fatal("no decoy where nobody has a password")
	}
}

func FuzzUsersFile(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBuilder("people")
		sound(t, b, addYAML(b, "users.yaml", data))
	})
}

func FuzzHtpasswd(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBuilder("people")
		sound(t, b, addHtpasswd(b, "htpasswd", data))
	})
}

// sound fails when what was read without an error is not what may be served.
func sound(t *testing.T, b *builder, err error) {
	if err != nil {
		if !strings.Contains(err.Error(), ":") {
			t.Fatalf("an error without a line: %s", err)
		}
		return
	}
	for login, k := range b.finish().byLogin {
		if BadLogin(login) != "" || BadLogin(k.Identity.Username) != "" || Canonical(login) != login {
			t.Fatalf("login %q of %q", login, k.Identity.Username)
		}
	}
}
