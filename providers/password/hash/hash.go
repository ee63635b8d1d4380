// Package hash makes and checks the stored forms of passwords: argon2id as a
// PHC string (RFC 9106), which it also makes, and bcrypt. It does not know
// users, and neither keeps nor reports a password or a hash.
package hash

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// MaxPassword is how long a password may be, in bytes.
const MaxPassword = 1 << 10

// The parameters of new hashes: 19 MiB, 2 passes, 1 lane (the least that the
// OWASP Password Storage Cheat Sheet asks of argon2id).
const (
	newMemory, newTime, newThreads = 19456, 2, 1
	newSalt, newSum                = 16, 32
)

// The bounds of hashes that others made: what one check may cost, and what is
// a hash at all. Memory is in KiB.
const (
	maxMemory, maxTime, maxThreads = 1 << 20, 10, 16
	minCost, maxCost               = 4, 15 // of bcrypt
	minSalt, maxSalt               = 8, 64
	minSum, maxSum                 = 16, 64
)

// Hash is a password's stored form. It is immutable.
type Hash struct {
	memory, time uint32
	threads      uint8
	salt, sum    []byte // of argon2id
	bcrypt       []byte // nil for argon2id
}

// New answers the PHC string of a password with fresh salt. A password that is
// empty, or longer than MaxPassword, is refused.
func New(password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	if len(password) > MaxPassword {
		return "", fmt.Errorf("the password is longer than %d bytes", MaxPassword)
	}
	salt := make([]byte, newSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", fmt.Errorf("random bytes for a salt: %w", err)
	}
	h := Hash{memory: newMemory, time: newTime, threads: newThreads, salt: salt, sum: make([]byte, newSum)}
	h.sum = h.of([]byte(password))
	return h.phc(), nil
}

func (h *Hash) phc() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.time, h.threads, encode(h.salt), encode(h.sum))
}

// Parse reads a stored form: $argon2id$v=19$ with at most 1 GiB, 10 passes and
// 16 lanes, or $2a$, $2b$ or $2y$ with a cost from 4 to 15. The error says how
// to mend it and does not repeat it.
func Parse(s string) (*Hash, error) {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon2id(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	}
	return nil, errors.New("is " + schemeOf(s) + "; only argon2id and bcrypt are taken: make it anew with akprox hash password, or htpasswd -B")
}

// schemeOf names what was written in place of a hash.
func schemeOf(s string) string {
	for _, known := range [][2]string{
		{"$argon2", "argon2i or argon2d"},
		{"$apr1$", "a hash of the old apr1 (MD5) scheme"},
		{"$1$", "a hash of the old crypt MD5 scheme"},
		{"$5$", "a hash of crypt SHA-256"},
		{"$6$", "a hash of crypt SHA-512"},
		{"$2", "an unknown kind of bcrypt"},
		{"{SHA}", "a hash of the unsalted SHA-1 scheme"},
		{"{SSHA", "a hash of an LDAP SHA scheme"},
	} {
		if strings.HasPrefix(s, known[0]) {
			return known[1]
		}
	}
	return "not a hash that is known here"
}

func parseArgon2id(s string) (*Hash, error) {
	wrong := errors.New("is not a whole argon2id hash ($argon2id$v=19$m=…,t=…,p=…$salt$hash); make it anew with akprox hash password")
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return nil, wrong
	}
	if parts[2] != "v=19" {
		return nil, errors.New("is argon2id of another version than 19; make it anew with akprox hash password")
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return nil, wrong
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(costs[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return nil, wrong
		}
		n[i] = v
	}
	if n[0] < 8*n[2] || n[0] > maxMemory || n[1] < 1 || n[1] > maxTime || n[2] < 1 || n[2] > maxThreads {
		return nil, fmt.Errorf("is argon2id with parameters out of bounds; m is at most %d (KiB) and at least 8 times p, t from 1 to %d, p from 1 to %d", maxMemory, maxTime, maxThreads)
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < minSalt || len(salt) > maxSalt || len(sum) < minSum || len(sum) > maxSum {
		return nil, wrong
	}
	return &Hash{memory: uint32(n[0]), time: uint32(n[1]), threads: uint8(n[2]), salt: salt, sum: sum}, nil
}

// bcryptLength is that of a whole bcrypt hash: 7 bytes of version and cost, 22
// of salt, 31 of sum.
const bcryptLength, bcryptHead, bcryptSalt = 60, 7, 29

func parseBcrypt(s string) (*Hash, error) {
	whole := len(s) == bcryptLength && s[bcryptHead-1] == '$'
	for i := bcryptHead; whole && i < len(s); i++ {
		whole = isBcryptDigit(s[i])
	}
	if !whole {
		return nil, errors.New("is not a whole bcrypt hash; make it anew with akprox hash password, or htpasswd -B")
	}
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || cost < minCost || cost > maxCost {
		return nil, fmt.Errorf("is bcrypt with a cost out of bounds; it is from %d to %d", minCost, maxCost)
	}
	return &Hash{bcrypt: []byte(s)}, nil
}

func isBcryptDigit(c byte) bool {
	return c == '.' || c == '/' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// Matches reports whether it is the password's. The sums are compared in
// constant time.
func (h *Hash) Matches(password []byte) bool {
	if h.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(h.bcrypt, password) == nil
	}
	return subtle.ConstantTimeCompare(h.of(password), h.sum) == 1
}

// of answers a password's argon2id sum.
func (h *Hash) of(password []byte) []byte {
	return argon2.IDKey(password, h.salt, h.time, h.memory, h.threads, uint32(len(h.sum)))
}

// Decoy answers a hash that costs exactly as much to check and that nobody
// knows a password of.
func (h *Hash) Decoy() *Hash {
	d := *h
	if h.bcrypt != nil {
		d.bcrypt = bytes.Clone(h.bcrypt)
		scramble(d.bcrypt[bcryptSalt:])
		return &d
	}
	d.sum = make([]byte, len(h.sum))
	_, _ = rand.Read(d.sum) // it never fails: crypto/rand ends the process instead
	return &d
}

// scramble fills digits with random ones.
func scramble(digits []byte) {
	random := rand.Text() + rand.Text()
	copy(digits, random)
}

// Standard answers a decoy with the parameters of New.
func Standard() *Hash {
	h := &Hash{memory: newMemory, time: newTime, threads: newThreads, salt: make([]byte, newSalt), sum: make([]byte, newSum)}
	return h.Decoy()
}

// Fingerprint tells a stored form from the one that replaces it. It says
// nothing about the password to whom does not have the salt.
func (h *Hash) Fingerprint() [8]byte {
	sum := sha256.Sum256([]byte(string(h.bcrypt) + "$" + string(h.salt) + "$" + string(h.sum)))
	return [8]byte(sum[:8])
}
