package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys    = 100  // of one set; those beyond are not looked at
	minRSABits = 2048 // RFC 7518, section 3.3; go-jose refuses more than 4096
)

// Set is an issuer's public signing keys. It is immutable.
type Set struct {
	keys   []key
	digest [sha256.Size]byte // of the keys as they were written
}

type key struct {
	id         string
	algorithms []string // the allowed ones that this key may verify
	public     crypto.PublicKey
}

// parse reads a JWK Set. Keys that cannot verify one of the algorithms are
// left out, as RFC 7517, section 5, says, and so is one that gives its private
// part away. A set of which nothing is left is an error.
func parse(body []byte, algorithms []string) (*Set, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, errors.New("its key set is no JSON, so another server than the issuer seems to answer there")
	}
	set, all := &Set{}, sha256.New()
	for _, raw := range document.Keys[:min(len(document.Keys), maxKeys)] {
		if k, ok := parseKey(raw, algorithms); ok {
			set.keys = append(set.keys, k)
			all.Write(raw)
		}
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("its key set has no key for %s", strings.Join(algorithms, ", "))
	}
	all.Sum(set.digest[:0])
	return set, nil
}

func parseKey(raw []byte, algorithms []string) (key, bool) {
	var jwk jose.JSONWebKey
	var more struct {
		Operations []string `json:"key_ops"`
	}
	if json.Unmarshal(raw, &jwk) != nil || json.Unmarshal(raw, &more) != nil || !jwk.Valid() || !jwk.IsPublic() {
		return key{}, false
	}
	if jwk.Use != "" && jwk.Use != "sig" || more.Operations != nil && !slices.Contains(more.Operations, "verify") {
		return key{}, false
	}
	k := key{id: jwk.KeyID, public: jwk.Key}
	for _, algorithm := range algorithms {
		if (jwk.Algorithm == "" || jwk.Algorithm == algorithm) && verifies(jwk.Key, algorithm) {
			k.algorithms = append(k.algorithms, algorithm)
		}
	}
	return k, len(k.algorithms) > 0
}

// verifies reports whether a key is of the type that an algorithm needs (RFC
// 8725, section 3.2), and strong enough.
func verifies(public any, algorithm string) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits && (strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS"))
	case *ecdsa.PublicKey:
		return map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[algorithm] == k.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// Find answers the keys that may have signed a token with this algorithm and
// key id: more than one only where an issuer gives several the same id.
// Without an id the set must have one key alone, or nobody could tell which.
func (s *Set) Find(algorithm, id string) []crypto.PublicKey {
	if id == "" && len(s.keys) > 1 {
		return nil
	}
	var found []crypto.PublicKey
	for _, k := range s.keys {
		if (id == "" || id == k.id) && slices.Contains(k.algorithms, algorithm) {
			found = append(found, k.public)
		}
	}
	return found
}

// Knows reports whether a key of that id is there, for whatever algorithm.
func (s *Set) Knows(id string) bool {
	return slices.ContainsFunc(s.keys, func(k key) bool { return k.id == id })
}
