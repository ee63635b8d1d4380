package stores

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/akprox/akprox/outpost/config"
)

// MinSecret is the least length of the secret in bytes.
const MinSecret = 32

// Secrets answers the document's secrets, or the one that is made once and
// kept in the store's folder. A memory store forgets everything, and so its
// secret too.
func Secrets(doc *config.Document) ([][]byte, error) {
	if doc.Secret == nil {
		value, err := randomSecret()
		if doc.Store.Kind == "disk" {
			value, err = keptSecret(filepath.Join(doc.Store.Path, "secret"))
		}
		return [][]byte{value}, err
	}
	var all [][]byte
	for _, s := range doc.Secret {
		value, err := s.Read()
		if err == nil && len(value) < MinSecret {
			err = fmt.Errorf("the secret has %d bytes; it needs %d or more (openssl rand -base64 48 makes one)", len(value), MinSecret)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

// SecretFiles answers the files that hold the document's own secrets.
func SecretFiles(doc *config.Document) []string {
	var files []string
	for _, s := range doc.Secret {
		if s.File != "" {
			files = append(files, s.File)
		}
	}
	return files
}

func randomSecret() ([]byte, error) {
	value := make([]byte, 48)
	_, err := rand.Read(value)
	return value, err
}

// keptSecret reads the secret at path, or makes it: whole or not at all, and
// readable by its owner alone.
func keptSecret(path string) ([]byte, error) {
	value, err := os.ReadFile(path)
	if err == nil && len(value) < MinSecret {
		return nil, fmt.Errorf("%s is no secret of ours; remove it, and everybody signs in again", path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return value, err
	}
	if value, err = randomSecret(); err != nil {
		return nil, err
	}
	scratch, err := os.CreateTemp(filepath.Dir(path), "secret-") // mode 0600
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(scratch.Name()) }()
	if _, err = scratch.Write(value); err == nil {
		err = scratch.Sync()
	}
	if err = errors.Join(err, scratch.Close()); err != nil {
		return nil, err
	}
	return value, os.Rename(scratch.Name(), path)
}

// deriveOne makes the key for one purpose (RFC 5869), so that no two purposes
// share one.
func deriveOne(secret []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "akprox "+purpose, 32)
}

// Derive makes the key for one purpose of each secret.
func Derive(secrets [][]byte, purpose string) ([][]byte, error) {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		var err error
		if keys[i], err = deriveOne(secret, purpose); err != nil {
			return nil, err
		}
	}
	return keys, nil
}
