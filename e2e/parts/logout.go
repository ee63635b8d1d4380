package parts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// SigningKey is the private key that an oidc-provider signs with, so that a
// test can sign what the issuer itself would not.
func (i *Issuer) SigningKey(t testing.TB) jose.JSONWebKey {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.cmd.Dir, keysFile))
	if err != nil {
		t.Fatal(err)
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(text, &keys); err != nil || len(keys.Keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys.Keys), err)
	}
	// It announces the thumbprint as the key's id.
	return keys.Keys[0]
}
