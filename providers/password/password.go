package password

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/providers/password/hash"
	"github.com/akprox/akprox/providers/password/users"
)

const (
	maxCounts = 10_000
	maxTries  = 1000

	// verifiedFor is how long a password that was right is right without the
	// work of checking it again.
	verifiedFor = 5 * time.Minute
)

// ErrRefused is the one answer to an unknown user, a user who cannot sign in
// and a wrong password.
var ErrRefused = errors.New("the user name or the password is not right")

var (
	errTwo       = errors.New("two Authorization headers in one request")
	errMalformed = errors.New("the Basic authorization is malformed")
)

// ThrottledError refuses an attempt, also one with the right password, because
// too many have failed for this user or from this address.
type ThrottledError = limit.ThrottledError

// Throttle says how many failures are too many.
type Throttle struct {
	Tries  int           `yaml:"tries" default:"5" positive:"true" doc:"How many failures, for one user or from one address, are too many."`
	Window time.Duration `yaml:"window" default:"2m" positive:"true" doc:"The time in which they are counted."`
	Ban    time.Duration `yaml:"ban" default:"5m" positive:"true" doc:"How long that user, or address, is refused then."`
}

// User is a user as the document or a users file has it.
type User = users.User

// CheckUsers reports what is wrong with the users of a document, by path
// ("users[2].password"). It never reports a password or a hash.
func CheckUsers(list []User, report func(key, problem string)) { users.Check(list, report) }

// Options are the settings of New.
type Options struct {
	Name         string // of the provider; identities carry it
	Users        []User
	UsersFile    string // "" for none
	HtpasswdFile string // "" for none
	Throttle     Throttle
	Shared       limit.Tallier    // counts failures for all processes that share it; nil: they are counted here alone
	Parallel     int              // how many passwords are checked at once; half of the processors when 0
	Now          func() time.Time // time.Now when nil
	Warn         func(error)      // told why changed files were not taken; may be nil
}

// Users are the users of one provider, an outpost.Credential.
type Users struct {
	now       atomic.Pointer[moment]
	watch     *users.Watch
	warn      func(error)
	clock     func() time.Time
	pool      *hash.Pool
	known     limit.Failures // by user name
	unknown   limit.Failures // by what was presented; apart, so that made-up names push no user's count out
	addresses limit.Failures
	shared    bool              // whether asking one of these takes time
	key       [sha256.Size]byte // of digests, this process's own
	seed      maphash.Seed
}

// moment is the users between two reloads, and who of them is being checked.
type moment struct {
	*users.Set
	flights singleflight.Group
}

// New reads the users from the settings and the files. Its error names
// everything that is wrong, in files with lines. A zero field of Throttle is
// its default.
func New(o Options) (*Users, error) {
	t := Throttle{or(o.Throttle.Tries, 5), or(o.Throttle.Window, 2*time.Minute), or(o.Throttle.Ban, 5*time.Minute)}
	if t.Tries < 1 || t.Tries > maxTries || t.Window < 0 || t.Ban < 0 {
		return nil, fmt.Errorf("throttle: tries is from 1 to %d, window and ban are above 0", maxTries)
	}
	u := &Users{warn: o.Warn, clock: o.Now, seed: maphash.MakeSeed()}
	if u.clock == nil {
		u.clock = time.Now
	}
	for what, counts := range map[string]*limit.Failures{"known": &u.known, "unknown": &u.unknown, "addresses": &u.addresses} {
		if o.Shared == nil {
			*counts = limit.NewGuesses(t.Tries, t.Window, t.Ban, maxCounts, u.clock)
		} else {
			*counts = limit.NewSharedGuesses(o.Shared, "password "+o.Name+" "+what, t.Tries, t.Window, t.Ban, maxCounts, u.clock)
			u.shared = true
		}
	}
	u.pool = hash.NewPool(or(o.Parallel, runtime.GOMAXPROCS(0)/2))
	if _, err := rand.Read(u.key[:]); err != nil {
		return nil, fmt.Errorf("random bytes for a key: %w", err)
	}
	source := &users.Source{Provider: o.Name, Users: o.Users, UsersFile: o.UsersFile, HtpasswdFile: o.HtpasswdFile}
	u.watch = source.Watch()
	set, err := source.Load()
	if err != nil {
		return nil, err
	}
	u.now.Store(&moment{Set: set})
	return u, nil
}

// Follow reads the files again when they have changed, until ctx ends. Files
// that are wrong leave the users as they were, and Options.Warn is told why.
func (u *Users) Follow(ctx context.Context) { u.watch.Follow(ctx, u.take) }

// take takes the users of a reload.
func (u *Users) take(set *users.Set, err error) {
	if err == nil {
		u.now.Store(&moment{Set: set})
	} else if u.warn != nil {
		u.warn(fmt.Errorf("the users stay as they were: %w", err))
	}
}

func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// Hash answers the stored form of a password: argon2id with 19 MiB, 2 passes
// and 1 lane. An empty password, or one beyond 1 KiB, is refused.
func Hash(password string) (string, error) { return hash.New(password) }

// Identify implements outpost.Credential for the Basic scheme (RFC 7617, in
// UTF-8). Its errors are those of Check; what is not well-formed is bad.
func (u *Users) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	lines := r.Header["Authorization"]
	if len(lines) == 0 {
		return nil, outpost.ErrNoCredential
	}
	if len(lines) > 1 {
		return nil, errTwo
	}
	username, password, err := basic(lines[0])
	if err != nil {
		return nil, err
	}
	return u.Check(ctx, username, password, r.Client)
}

// maxBasic is how long the base64 of the longest user name and password is.
const maxBasic = (users.MaxLogin + 1 + hash.MaxPassword + 2) / 3 * 4

// basic takes an Authorization header apart. The scheme is written in any case.
func basic(header string) (username, password string, err error) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", outpost.ErrNoCredential
	}
	encoded = strings.Trim(encoded, " ")
	if len(encoded) > maxBasic {
		return "", "", errMalformed
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(encoded)
	text := string(plain)
	username, password, colon := strings.Cut(text, ":")
	if err != nil || !colon || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", "", errMalformed
	}
	return username, password, nil
}

// Check answers who signs in with a user name, or an e-mail address, and a
// password from a client's address. The errors are ErrRefused,
// a *ThrottledError, and one that wraps outpost.ErrUnavailable when too many
// passwords are being checked, ctx ends first, or the store that counts
// failures does not answer: nobody is told then what was right.
//
// Failures count for the user, however the name was written, and for the
// client's address (IPv6 by /64) unless that is not known. A success takes
// back what the user had failed before, from the address too, so that typing
// errors do not add up and an account of one's own is no way to guess on.
func (u *Users) Check(ctx context.Context, username, password string, client netip.Addr) (*outpost.Identity, error) {
	login := users.Canonical(username)
	if users.BadLogin(login) != "" || password == "" || len(password) > hash.MaxPassword {
		return nil, ErrRefused
	}
	a := u.attempt(login, password, client)
	if err := a.throttled(ctx); err != nil {
		return nil, err
	}
	if a.user != nil && a.user.Remembers(&a.digest, u.clock()) {
		return a.user.Identity, nil
	}
	return a.verify(ctx)
}

// Current answers the user behind an identity that Check answered before, this
// session or process or an earlier one, as the user is now; nil when there is
// no such user any more, or one who cannot sign in, or who got another password since.
func (u *Users) Current(id *outpost.Identity) *outpost.Identity {
	now := u.now.Load().Find(users.Canonical(id.Username))
	if now == nil || !now.Enabled() || now.Identity.Subject != id.Subject ||
		now.Identity.Claims[users.PasswordClaim] != id.Claims[users.PasswordClaim] {
		return nil
	}
	return now.Identity
}
