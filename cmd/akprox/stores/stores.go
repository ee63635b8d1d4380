// Package stores is the list of store kinds: how a document's store is opened,
// and the secret that it and the cookies are made safe with. It alone knows
// all kinds.
package stores

import (
	"fmt"

	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/outpost/store/memory"
	"github.com/akprox/akprox/outpost/store/redis"
	"github.com/akprox/akprox/outpost/store/redis/dial"
)

// Store is a store that has to be closed.
type Store interface {
	store.Store
	Close() error
}

// Sealed is an optional power of a store: it keeps its items sealed.
type Sealed interface {
	// Rekey seals with the first of keys from now on, and opens with each.
	Rekey(keys [][]byte) error
}

// kinds is the whole list of store kinds.
func kinds() map[string]func(*config.Document) (Store, error) {
	return map[string]func(*config.Document) (Store, error){
		"disk":   func(doc *config.Document) (Store, error) { return disk.Open(doc.Store.Path, disk.Options{}) },
		"memory": func(*config.Document) (Store, error) { return memory.New(memory.Options{}), nil },
		"redis":  openRedis,
	}
}

// Open opens the store of doc.
func Open(doc *config.Document) (Store, error) {
	st, err := kinds()[doc.Store.Kind](doc)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return st, nil
}

// openRedis answers a store that connects by itself, now and later: Redis need
// not be there.
func openRedis(doc *config.Document) (Store, error) {
	secrets, err := Secrets(doc)
	if err != nil {
		return nil, err
	}
	o := redisOptions(doc.Store)
	if o.Keys, err = Derive(secrets, "store"); err != nil {
		return nil, err
	}
	return redis.New(o)
}

func redisOptions(c config.Store) redis.Options {
	o := redis.Options{
		URL: c.URL, Addresses: c.Addresses, Username: c.Username, Password: optional(c.Password),
		Prefix: c.Prefix, Timeout: c.Timeout,
	}
	if s := c.Sentinel; s != nil {
		o.Sentinel = &redis.Sentinel{Master: s.Master, Username: s.Username, Password: optional(s.Password)}
	}
	if t := c.TLS; t != nil {
		o.TLS = &dial.TLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}
	}
	return o
}

// optional answers what reads a secret, nil for one that was not written.
func optional(s config.Secret) func() ([]byte, error) {
	if s == (config.Secret{}) {
		return nil
	}
	return s.Read
}

// Check answers what makes opening the store of doc fail, without opening
// it.
func Check(doc *config.Document) error {
	if doc.Store.Kind != "redis" {
		return nil
	}
	return redisOptions(doc.Store).Check()
}

// Kinds answers the names of all kinds.
func Kinds() []string {
	var names []string
	for name := range kinds() {
		names = append(names, name)
	}
	return names
}
