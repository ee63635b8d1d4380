// Package kinds is the list of provider kinds: the settings that a document has
// for each, and how a provider of that kind is opened. It alone knows them all.
package kinds

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/token"
	"github.com/akprox/akprox/proxy/knock"
)

// Party is a provider that was opened: what applications need of it, and what
// it was opened with, so that a reload keeps one whose settings stay.
type Party struct {
	Settings any
	secrets  []string
	Files    []string          // what was read beside the document
	at       map[string]string // by the key of each secret the file that holds it, "" for the document
	Opened   config.Opened
	Knock    *knock.Handler     // of a knock provider
	Stats    func() token.Stats // of a kind that remembers tokens
	follow   func(ctx context.Context)
	stop     context.CancelFunc
}

// Builder opens the providers of one document. Without sessions the document
// is only looked at.
type Builder struct {
	Doc       *config.Document
	Version   string // told to issuers and applications
	Sessions  *session.Sessions
	Store     store.Store
	Tallies   limit.Tallier // counts failures for all instances; nil: they are counted here alone
	Answers   token.Shared  // keeps answers about tokens for all instances; nil: each asks for itself
	Knocked   func(knock.Event)
	Observe   func(provider, call string, took time.Duration, err error) // a call to a provider
	Changed   func(provider string, err error)                           // how a provider is
	Parties   map[string]*Party
	Problems  config.Problems
	Elsewhere bool // the document is served on another machine: secrets and users that are not here do not matter

	current *Party // the one being opened
}

// New makes a Builder that only looks at doc: without Sessions and Store no
// provider can be served.
func New(doc *config.Document, version string) *Builder {
	return &Builder{
		Doc: doc, Version: version, Parties: map[string]*Party{},
		Observe: func(string, string, time.Duration, error) {},
		Changed: func(string, error) {},
	}
}

// Applications opens the providers and compiles the applications; where old
// has a provider with the same settings, that one goes on. limiter may be nil.
func (b *Builder) Applications(old map[string]*Party, limiter func(string, int, time.Duration) outpost.Limiter) (*outpost.Applications, error) {
	opened := b.Open(old)
	b.KnockHandler()
	b.Problems.Sort()
	if err := b.Problems.Err(); err != nil {
		return nil, err
	}
	apps, problems := config.Compile(b.Doc, config.Making{Providers: opened, Version: b.Version, Limiter: limiter})
	return apps, problems.Err()
}

// Open opens every provider of the document; where old has one with the same
// settings, that one goes on.
func (b *Builder) Open(old map[string]*Party) map[string]config.Opened {
	opened := map[string]config.Opened{}
	for i, p := range b.Doc.Providers {
		b.current = &Party{Settings: p.Settings, at: map[string]string{}}
		var err error
		if b.current.Opened, err = kinds()[p.Kind].open(b, p.Name, p.Settings); err != nil {
			b.report(i, p.Settings, err)
			continue
		}
		if o := old[p.Name]; o != nil && slices.Equal(o.secrets, b.current.secrets) && reflect.DeepEqual(o.Settings, p.Settings) {
			b.current = o
		}
		b.Parties[p.Name] = b.current
		opened[p.Name] = b.current.Opened
	}
	return opened
}

// report adds what is wrong with provider i: each line of err is a problem, at
// the key of the settings with which it begins.
func (b *Builder) report(i int, settings any, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		at := fmt.Sprintf("providers[%d]", i)
		if key, text, _ := strings.Cut(line, ": "); hasKey(settings, key) {
			at, line = at+"."+key, text
		}
		b.Problems = append(b.Problems, b.Doc.Problem(at, line))
	}
}

// hasKey reports whether key, such as keys[0].name, is one of settings.
func hasKey(settings any, key string) bool {
	head := key[:len(key)-len(strings.TrimLeft(key, "abcdefghijklmnopqrstuvwxyz_"))]
	t := reflect.TypeOf(settings).Elem()
	for i := range t.NumField() {
		if head != "" && t.Field(i).Tag.Get("yaml") == head && !strings.Contains(key, " ") {
			return true
		}
	}
	return false
}

// KnockHandler answers the HTTP face of the knock provider, if there is one;
// there is one /knock, so a second is a problem.
func (b *Builder) KnockHandler() *knock.Handler {
	var found *knock.Handler
	for i, p := range b.Doc.Providers {
		switch h := b.Parties[p.Name]; {
		case h == nil || h.Knock == nil:
		case found != nil:
			b.Problems = append(b.Problems, b.Doc.Problem(fmt.Sprintf("providers[%d].kind", i), "is a second knock; there is one /knock, so write all keys under one"))
		default:
			found = h.Knock
		}
	}
	return found
}

// Issuers answers the issuers that people are sent to, by provider.
func (b *Builder) Issuers() map[string]outpost.Issuer {
	all := map[string]outpost.Issuer{}
	for name, p := range b.Parties {
		if p.Opened.Issuer != nil {
			all[name] = p.Opened.Issuer
		}
	}
	return all
}

// secret reads the secret under a key of the provider being opened; one that
// the document does not have is "". An error begins with the key.
func (b *Builder) secret(key string, s config.Secret) (string, error) {
	if s == (config.Secret{}) {
		return "", nil
	}
	if s.File != "" {
		b.current.Files = append(b.current.Files, s.File)
	}
	if s.Env == "" {
		b.current.at[key] = s.File
	}
	value, err := s.Read()
	if err != nil && b.Elsewhere {
		value, err = fmt.Appendf(nil, "stand-in-%d", len(b.current.secrets)), nil
	}
	b.current.secrets = append(b.current.secrets, string(value))
	if err != nil {
		err = fmt.Errorf("%s: %w", key, err)
	}
	return string(value), err
}

// follow is what the provider being opened does beside requests, once the
// document is served.
func (b *Builder) follow(f func(ctx context.Context)) { b.current.follow = f }

// sessionOf is how a kind that people sign in by is asked: through the
// session that its sign-in made; issuer is nil for a password. current, when given, answers the person of a
// session as the provider knows them now, nil when it does not any more.
func (b *Builder) sessionOf(provider string, issuer outpost.Issuer, current func(*outpost.Identity) *outpost.Identity) func(*outpost.Application) outpost.Credential {
	return func(app *outpost.Application) outpost.Credential {
		if b.Sessions == nil {
			return nobody{}
		}
		c := b.Sessions.Credential(provider, issuer, app.Cookie, app.Session)
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

// meetTime is how long a document waits for the first answer of its issuers. A
// question about readiness waits for that too.
const meetTime = 1500 * time.Millisecond

// Meet gives each issuer that was opened anew time to answer once, so that the
// first who has to sign in need not hear that it has not been asked yet.
func (b *Builder) Meet(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	var met sync.WaitGroup
	for _, p := range b.Parties {
		if m, ok := p.Opened.Issuer.(interface{ Meet(ctx context.Context) }); ok && p.stop == nil {
			met.Go(func() { m.Meet(ctx) })
		}
	}
	met.Wait()
}

// Commit starts what was opened anew and stops what old has and the document
// has not any more.
func (b *Builder) Commit(ctx context.Context, old map[string]*Party) {
	for name, p := range old {
		if b.Parties[name] != p && p.stop != nil {
			p.stop()
		}
	}
	for _, p := range b.Parties {
		if p.follow == nil || p.stop != nil {
			continue
		}
		own, stop := context.WithCancel(ctx)
		p.stop = stop
		go p.follow(own)
	}
}
