package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/akprox/akprox/outpost"
)

// Prefix begins every key that Generate makes, so that people and secret
// scanners recognise one.
const Prefix = "api-"

// hashPrefix begins the written form of a key's hash.
const hashPrefix = "sha256:"

// Key is a key as the document has it.
type Key struct {
	Name    string   `yaml:"name" required:"true" doc:"Who the key belongs to: the user name that the application sees."`
	Hash    string   `yaml:"hash" required:"true" doc:"The key's SHA-256 as akprox generate key and akprox hash key print it: sha256: and hex or base64url."`
	Groups  []string `yaml:"groups" doc:"The groups that the key belongs to."`
	Scopes  []string `yaml:"scopes" doc:"The scopes that the key has."`
	Expires Expiry   `yaml:"expires" doc:"The last day on which the key is good, in UTC, or the moment when it ends; without it the key stays good."`
}

// Expiry is when a key ends; zero is never. It is written as a moment of RFC
// 3339, or as a date, which includes the whole of that day in UTC.
type Expiry struct{ time.Time }

// UnmarshalYAML reads a date or a moment.
func (e *Expiry) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if day, err := time.Parse(time.DateOnly, n.Value); err == nil {
			e.Time = day.AddDate(0, 0, 1)
			return nil
		}
		if at, err := time.Parse(time.RFC3339, n.Value); err == nil {
			e.Time = at
			return nil
		}
	}
	return errors.New("expected a date such as 2027-12-31 or 2027-12-31T08:00:00Z")
}

// JSONSchema answers how an expiry is written.
func (*Expiry) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": `^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?$`}
}

// CheckKeys reports what is wrong with keys, by path ("keys[2].hash"). It
// never reports a hash.
func CheckKeys(keys []Key, report func(key, problem string)) {
	names, hashes := map[string]int{}, map[[sha256.Size]byte]int{}
	for i, k := range keys {
		at := fmt.Sprintf("keys[%d]", i)
		if first, ok := names[k.Name]; ok {
			report(at+".name", fmt.Sprintf("is the name of keys[%d] too", first))
		} else if names[k.Name] = i; k.Name == "" || !outpost.CleanText(k.Name) {
			report(at+".name", "has to be a text without control characters and without blanks at its ends")
		}
		hash, err := parseHash(k.Hash)
		if first, ok := hashes[hash]; err != nil {
			report(at+".hash", err.Error())
		} else if ok {
			report(at+".hash", fmt.Sprintf("is the hash of keys[%d] too", first))
		} else {
			hashes[hash] = i
		}
		checkWords(at+".groups", k.Groups, "", report)
		checkWords(at+".scopes", k.Scopes, " ", report)
	}
}

// checkWords reports words that could not stand in a header as they are.
func checkWords(at string, words []string, without string, report func(key, problem string)) {
	for i, w := range words {
		if w == "" || !outpost.CleanText(w) || without != "" && strings.Contains(w, without) {
			report(fmt.Sprintf("%s[%d]", at, i), "has to be a word without blanks at its ends and without control characters")
		}
	}
}

// parseHash reads "sha256:" and 64 hexadecimal digits or 43 of base64url
// (RFC 4648, section 5; padding may be there).
func parseHash(s string) (hash [sha256.Size]byte, err error) {
	digits, ok := strings.CutPrefix(s, hashPrefix)
	if !ok {
		return hash, errors.New(`has to begin with "sha256:"; make it with akprox hash key`)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil {
		raw, err = base64.RawURLEncoding.Strict().DecodeString(strings.TrimSuffix(digits, "="))
	}
	if err != nil || len(raw) != sha256.Size {
		return hash, errors.New(`has to be "sha256:" and 64 hexadecimal digits, or the same 32 bytes in base64url; make it with akprox hash key`)
	}
	return [sha256.Size]byte(raw), nil
}

// Hash answers the written form of a key's SHA-256, in hexadecimal digits. A
// plain hash is enough for what Generate makes, since nobody guesses 160 bits;
// it is not for passwords.
func Hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hashPrefix + hex.EncodeToString(sum[:])
}

// Generate answers a new key of 160 random bits and its hash.
func Generate() (key, hash string, err error) {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return "", "", fmt.Errorf("random bytes for a key: %w", err)
	}
	key = Prefix + strings.ToLower(base32.StdEncoding.EncodeToString(random[:]))
	return key, Hash(key), nil
}
