package main

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/knock"
)

// party is a provider that was opened: what applications need of it, and what
// it was opened with, so that a reload keeps one whose settings stay.
type party struct {
	settings any
	secrets  []string
	files    []string // what was read beside the document
	opened   config.Opened
	knock    *knock.Handler // of a knock provider
	follow   func(ctx context.Context)
	stop     context.CancelFunc
}

// builder opens the providers of one document. Without sessions the document
// is only looked at.
type builder struct {
	doc      *config.Document
	sessions *session.Sessions
	store    store.Store
	knocked  func(knock.Event)
	observe  func(provider, call string, took time.Duration, err error)
	changed  func(provider string, err error)
	parties  map[string]*party
	problems config.Problems

	current *party // the one being opened
}

func newBuilder(doc *config.Document) *builder {
	return &builder{
		doc: doc, parties: map[string]*party{},
		observe: func(string, string, time.Duration, error) {},
		changed: func(string, error) {},
	}
}

// open opens every provider of the document; where old has one with the same
// settings, that one goes on.
func (b *builder) open(old map[string]*party) map[string]config.Opened {
	opened := map[string]config.Opened{}
	for i, p := range b.doc.Providers {
		b.current = &party{settings: p.Settings}
		var err error
		if b.current.opened, err = kinds()[p.Kind].open(b, p.Name, p.Settings); err != nil {
			b.problems = append(b.problems, b.doc.Problem(fmt.Sprintf("providers[%d]", i), err.Error()))
			continue
		}
		if o := old[p.Name]; o != nil && slices.Equal(o.secrets, b.current.secrets) && reflect.DeepEqual(o.settings, p.Settings) {
			b.current = o
		}
		b.parties[p.Name] = b.current
		opened[p.Name] = b.current.opened
	}
	return opened
}

// knockHandler answers the HTTP face of the knock provider, if there is one;
// there is one /knock, so a second is a problem.
func (b *builder) knockHandler() *knock.Handler {
	var found *knock.Handler
	for i, p := range b.doc.Providers {
		switch h := b.parties[p.Name]; {
		case h == nil || h.knock == nil:
		case found != nil:
			b.problems = append(b.problems, b.doc.Problem(fmt.Sprintf("providers[%d].kind", i), "is a second knock; there is one /knock, so write all keys under one"))
		default:
			found = h.knock
		}
	}
	return found
}

// secret reads a secret of the provider being opened; one that the document
// does not have is "".
func (b *builder) secret(s config.Secret) (string, error) {
	if s == (config.Secret{}) {
		return "", nil
	}
	if s.File != "" {
		b.current.files = append(b.current.files, s.File)
	}
	value, err := s.Read()
	b.current.secrets = append(b.current.secrets, string(value))
	return string(value), err
}

// follow is what the provider being opened does beside requests, once the
// document is served.
func (b *builder) follow(f func(ctx context.Context)) { b.current.follow = f }

// sessionOf is how a kind that people sign in by is asked: through the
// session that its sign-in made. current, when given, answers the person of a
// session as the provider knows them now, nil when it does not any more.
func (b *builder) sessionOf(provider string, current func(*outpost.Identity) *outpost.Identity) func(*outpost.Application) outpost.Credential {
	return func(app *outpost.Application) outpost.Credential {
		if b.sessions == nil {
			return nobody{}
		}
		c := b.sessions.Credential(provider, app.Cookie, app.Session)
		if current == nil {
			return c
		}
		return upToDate{c, current}
	}
}

// nobody stands for a session where a document is only looked at.
type nobody struct{}

// Identify implements outpost.Credential.
func (nobody) Identify(context.Context, *outpost.Request) (*outpost.Identity, error) {
	return nil, outpost.ErrNoCredential
}

// upToDate looks a session's person up at the provider: somebody who was
// removed, or has another password, has no session any more.
type upToDate struct {
	outpost.Credential
	current func(*outpost.Identity) *outpost.Identity
}

// Identify implements outpost.Credential.
func (c upToDate) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	id, err := c.Credential.Identify(ctx, r)
	if err != nil {
		return nil, err
	}
	if id = c.current(id); id == nil {
		return nil, outpost.ErrNoCredential
	}
	return id, nil
}

// commit starts what was opened anew and stops what old has and the document
// has not any more.
func (b *builder) commit(ctx context.Context, old map[string]*party) {
	for name, p := range old {
		if b.parties[name] != p && p.stop != nil {
			p.stop()
		}
	}
	for _, p := range b.parties {
		if p.follow == nil || p.stop != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		p.stop = stop
		go p.follow(own)
	}
}
