package users

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/password/hash"
)

// MaxLogin is how long a user name or an e-mail address may be, in bytes.
const MaxLogin = 256

// PasswordClaim is the claim that changes with a user's password, so that
// sessions made with the old one can be told.
const PasswordClaim = "akprox_password"

// User is a user as the document or a users file has it.
type User struct {
	Username string   `yaml:"username" required:"true" doc:"The user name, unique without regard to case."`
	Name     string   `yaml:"name" doc:"The full name."`
	Email    string   `yaml:"email" doc:"The e-mail address; it may be used to sign in too."`
	Groups   []string `yaml:"groups" doc:"The groups that the user belongs to."`
	Password string   `yaml:"password" doc:"The password's hash as akprox hash password prints it (argon2id), or bcrypt. Nobody can sign in as a user without one."`
	Disabled bool     `yaml:"disabled" doc:"Whether the user cannot sign in for now."`
}

// Set is all users at one time. It does not change, but for what its users
// remember; a reload makes another.
type Set struct {
	byLogin map[string]*Known
	decoys  []*hash.Hash // at least one
}

// Find answers the user with a canonical user name or e-mail address, or nil.
func (s *Set) Find(login string) *Known { return s.byLogin[login] }

// Decoy answers what to check a password against that can match nobody's; one
// for each number. They cost what the users' own hashes cost, in the same
// mixture.
func (s *Set) Decoy(number uint64) *hash.Hash { return s.decoys[number%uint64(len(s.decoys))] }

// Canonical answers the one spelling of a user name or an e-mail address under
// which a user is found: in lower case, without blanks around it.
func Canonical(login string) string { return strings.ToLower(strings.TrimSpace(login)) }

// Check reports what is wrong with the users of a document, by path
// ("users[2].password"). It never reports a password or a hash.
func Check(users []User, report func(key, problem string)) {
	newBuilder("").add(users, list{
		func(i int) string { return fmt.Sprintf("users[%d]", i) },
		func(i int, key, problem string) { report(fmt.Sprintf("users[%d].%s", i, key), problem) },
	})
}

// list says how to speak of the users of one origin.
type list struct {
	where  func(i int) string // what others call a user
	report func(i int, key, problem string)
}

// builder makes a Set.
type builder struct {
	provider string
	set      *Set
	where    map[string]string // each login, and where it was written
}

func newBuilder(provider string) *builder {
	return &builder{provider, &Set{byLogin: map[string]*Known{}}, map[string]string{}}
}

// add takes users in and reports all that is wrong with them.
func (b *builder) add(users []User, l list) {
	for i, u := range users {
		report := func(key, problem string) { l.report(i, key, problem) }
		check(u, report)
		k := &Known{Login: Canonical(u.Username), Identity: &outpost.Identity{
			Subject: u.Username, Username: u.Username, Email: u.Email, Name: u.Name, Groups: u.Groups, Provider: b.provider,
		}}
		b.claim("username", k.Login, k, l.where(i), report)
		if email := Canonical(u.Email); email != k.Login {
			b.claim("email", email, k, l.where(i), report)
		}
		b.password(u, k, report)
	}
}

// claim lets k be found by a login, unless another is.
func (b *builder) claim(key, login string, k *Known, where string, report func(key, problem string)) {
	if login == "" {
		return
	}
	if other, ok := b.where[login]; ok {
		report(key, "is the user name or e-mail address of "+other+" too")
		return
	}
	b.where[login], b.set.byLogin[login] = where, k
}

func (b *builder) password(u User, k *Known, report func(key, problem string)) {
	if u.Password == "" {
		return
	}
	h, err := hash.Parse(u.Password)
	if err != nil {
		report("password", err.Error())
		return
	}
	k.decoy = h.Decoy()
	b.set.decoys = append(b.set.decoys, k.decoy)
	if u.Disabled {
		return
	}
	k.hash = h
	mark := h.Fingerprint()
	k.Identity.Claims = map[string]any{PasswordClaim: hex.EncodeToString(mark[:])}
}

// finish answers the set.
func (b *builder) finish() *Set {
	if len(b.set.decoys) == 0 {
		b.set.decoys = []*hash.Hash{hash.Standard()}
	}
	return b.set
}

// check reports what is wrong with a user, the password aside.
func check(u User, report func(key, problem string)) {
	if problem := BadLogin(u.Username); problem != "" {
		report("username", problem)
	}
	if problem := BadLogin(u.Email); u.Email != "" && problem != "" {
		report("email", problem)
	}
	if !outpost.CleanText(u.Name) {
		report("name", "must not hold control characters, nor blanks at its ends")
	}
	for i, g := range u.Groups {
		if g == "" || !outpost.CleanText(g) {
			report(fmt.Sprintf("groups[%d]", i), "has to be a text without control characters and without blanks at its ends")
		}
	}
}

// BadLogin answers what is wrong with a user name or an e-mail address; "" is
// nothing. A colon would end it in a Basic header (RFC 7617, section 2).
func BadLogin(s string) string {
	switch {
	case strings.TrimSpace(s) == "":
		return "is missing"
	case len(s) > MaxLogin:
		return fmt.Sprintf("is longer than %d bytes", MaxLogin)
	case !outpost.CleanText(s):
		return "must not hold control characters, nor blanks at its ends"
	case strings.Contains(s, ":"):
		return "must not hold a colon"
	}
	return ""
}
