package main

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
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/memory"
)

// closing is a store that has to be closed.
type closing interface {
	store.Store
	Close() error
}

// stores is the whole list of store kinds.
func stores() map[string]func(config.Store) (closing, error) {
	return map[string]func(config.Store) (closing, error){
		"disk":   func(c config.Store) (closing, error) { return disk.Open(c.Path, disk.Options{}) },
		"memory": func(config.Store) (closing, error) { return memory.New(memory.Options{}), nil },
	}
}

func storeKinds() []string {
	var kinds []string
	for name := range stores() {
		kinds = append(kinds, name)
	}
	return kinds
}

// minSecret is the least length of the secret in bytes.
const minSecret = 32

// readSecret answers the document's secret, or the one that is made once and
// kept in the store's folder. A memory store forgets everything, and so its
// secret too.
func readSecret(doc *config.Document) ([]byte, error) {
	if doc.Secret == nil {
		if doc.Store.Kind != "disk" {
			return randomSecret()
		}
		return keptSecret(filepath.Join(doc.Store.Path, "secret"))
	}
	value, err := doc.Secret.Read()
	if err == nil && len(value) < minSecret {
		err = fmt.Errorf("the secret has %d bytes; it needs %d or more (openssl rand -base64 48 makes one)", len(value), minSecret)
	}
	return value, err
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
	if err == nil && len(value) < minSecret {
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

// derive makes the key for one purpose (RFC 5869), so that no two purposes
// share one.
func derive(secret []byte, purpose string) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "akprox "+purpose, 32)
}
