package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/cmd/akprox/kinds"
	"github.com/akprox/akprox/cmd/akprox/stores"
	"github.com/akprox/akprox/cmd/akprox/telemetry"
	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy"
	"github.com/akprox/akprox/proxy/dialect"
	"github.com/akprox/akprox/proxy/knock"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/reverse"
	"github.com/akprox/akprox/proxy/server"
	"github.com/akprox/akprox/proxy/signin"
)

// running is what outlives documents: the log, the store, the sessions, the
// providers whose settings stay, and the handler of the newest good document.
type running struct {
	log      *logrus.Logger
	metrics  *telemetry.Metrics
	recorder *proxy.Recorder
	store    store.Store
	sealed   stores.Sealed // the store, where the secret seals it
	share    sharing
	sessions *session.Sessions
	live     *proxy.Live
	close    func() // the store

	mu      sync.Mutex       // one reload at a time; guards what is below
	first   *config.Document // what only a restart can change
	secrets [][]byte
	files   []string // those of the secrets that are in files
	parties map[string]*kinds.Party
	limits  map[string]outpost.Limiter
	failed  error // why the newest document is not served
}

// newRunning takes the first document over: what only a restart can change
// (store, addresses) comes from it.
func newRunning(ctx context.Context, log *logrus.Logger, doc *config.Document, st store.Store) (*running, error) {
	m := telemetry.New(version, commit())
	rt := &running{
		log: log, metrics: m, recorder: proxy.NewRecorder(log, m.Registry),
		store: m.Store(st), live: &proxy.Live{}, limits: map[string]outpost.Limiter{},
		first: &config.Document{Server: doc.Server, Store: doc.Store}, // not all of it, for as long as it runs
	}
	rt.sealed, _ = st.(stores.Sealed)
	m.Count(st)
	m.Tokens(rt.caches)
	var err error
	if rt.share, err = newSharing(doc.Store.Kind, doc.Store.Share, st, rt.store, m); err != nil {
		return nil, err
	}
	return rt, rt.apply(ctx, doc)
}

// reload serves the document in data, or says why it does not and goes on
// with the old one.
func (rt *running) reload(ctx context.Context, name string, data []byte, err error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var doc *config.Document
	if err == nil {
		var problems config.Problems
		doc, problems = config.Parse(data, name, kinds.Settings(), stores.Kinds())
		err = problems.Err()
	}
	if err == nil {
		err = rt.apply(ctx, doc)
	}
	rt.failed = err
	rt.metrics.Reloaded(err == nil)
	if err != nil {
		rt.log.Errorf("the new document is not served, the old one goes on: %v", err)
		return
	}
	rt.log.WithField("applications", len(doc.Applications)).Info("document loaded")
	rt.warnRestart(doc)
}

// apply builds everything of doc, and only then swaps.
func (rt *running) apply(ctx context.Context, doc *config.Document) error {
	if err := rt.rekey(doc); err != nil {
		return err
	}
	b := kinds.New(doc, version)
	b.Sessions, b.Store, b.Observe, b.Changed, b.Knocked = rt.sessions, rt.store, rt.metrics.IssuerCall, rt.issuerChanged, rt.knocked
	b.Tallies, b.Answers = rt.share.failures, rt.share.answers
	apps, err := b.Applications(rt.parties, rt.limiter)
	if err != nil {
		return err
	}
	b.Meet(ctx)
	rt.live.Swap(rt.handler(doc, apps, b))
	b.Commit(ctx, rt.parties)
	rt.parties = b.Parties
	telemetry.Configure(rt.log, doc.Log)
	for _, w := range doc.Warnings() {
		rt.log.Warn(w)
	}
	rt.metrics.Reloaded(true)
	return nil
}

func (rt *running) rekey(doc *config.Document) error {
	rt.files = stores.SecretFiles(doc)
	secrets, err := stores.Secrets(doc)
	if err != nil {
		return config.Problems{doc.Problem("secret", err.Error())}
	}
	if doc.Secret == nil && rt.secrets != nil || slices.EqualFunc(secrets, rt.secrets, bytes.Equal) {
		return nil
	}
	seals, err := stores.Derive(secrets, "store")
	if err != nil {
		return err
	}
	keys, err := stores.Derive(secrets, "session cookie")
	if err != nil {
		return err
	}
	if rt.sealed != nil { // first: a cookie is no use before its record can be read
		if err := rt.sealed.Rekey(seals); err != nil {
			return err
		}
	}
	if rt.sessions == nil {
		rt.sessions = session.New(rt.store, keys, session.Options{Grace: doc.Store.Grace, Observe: rt.renewed})
	} else {
		rt.sessions.Rekey(keys)
	}
	rt.secrets = secrets
	return nil
}

// handler makes the HTTP face of one document.
func (rt *running) handler(doc *config.Document, apps *outpost.Applications, b *kinds.Builder) *proxy.Handler {
	prefixes := doc.Server.Prefixes()
	edge := &dialect.Edge{Trusted: doc.Server.TrustedProxies, NginxOriginalURL: doc.Server.NginxOriginalURL}
	authServer := slices.Contains(doc.Server.Compat, "auth-server")
	return proxy.New(proxy.Options{
		Applications: apps,
		Prefixes:     prefixes,
		AuthServer:   authServer,
		Knock:        b.KnockHandler(),
		KnockAtRoot:  slices.Contains(doc.Server.Compat, "knocker"),
		Edge:         edge,
		SignIn: signin.New(signin.Options{
			Applications: func() *outpost.Applications { return apps },
			Issuers:      b.Issuers(),
			Sessions:     rt.sessions,
			Store:        rt.store,
			Endpoints:    endpoints(prefixes, authServer),
			Client:       edge.From,
			Now:          time.Now,
			Log:          rt.log,
			RequestID:    func(*http.Request) string { return rt.recorder.NextID() },
			Observe:      rt.metrics.SignIn,
		}),
		Forwarder: reverse.New(reverse.Options{
			FailPage: rt.failPage(prefixes[0]),
		}),
		Recorder: rt.recorder.As(doc.Log.Format, doc.Log.Decisions == "refused"),
	})
}

// endpoints answers every family of endpoints that a browser calls.
func endpoints(prefixes []string, authServer bool) []signin.Endpoints {
	var all []signin.Endpoints
	for _, p := range prefixes {
		all = append(all, signin.Under(p))
	}
	if authServer {
		all = append(all, signin.AuthServer())
	}
	return all
}

// knocked logs a knock, or a check of one that could not be answered.
func (rt *running) knocked(e knock.Event) {
	log := rt.log.WithFields(logrus.Fields{"endpoint": e.Endpoint, "status": e.Status, "client": e.Client.String(), "entry": e.Entry})
	switch {
	case e.Err != nil:
		log.WithError(e.Err).Error("knock")
	case e.Endpoint == "knock" && e.Status == http.StatusOK:
		log.Info("knock")
	case e.Endpoint == "knock":
		log.WithField("reason", knockReason(e.Status)).Info("knock refused")
	case e.Status == http.StatusUnauthorized:
		log.WithField("reason", "no lease").Info("verify refused")
	}
}

// knockReason answers why a knock was refused.
func knockReason(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "no such key"
	case http.StatusForbidden:
		return "the key may admit its own address alone"
	case http.StatusTooManyRequests:
		return "too many knocks of this address"
	case http.StatusServiceUnavailable:
		return "the table of leases is full, or the store does not answer"
	}
	return "not a knock as the documentation has it"
}

// failPage tells a person that the program behind does not answer.
func (rt *running) failPage(prefix string) func(http.ResponseWriter, *http.Request, *outpost.Application, error) {
	return func(w http.ResponseWriter, r *http.Request, app *outpost.Application, err error) {
		id, cause := cmp.Or(proxy.RequestID(r), rt.recorder.NextID()), reverse.Cause(err)
		log := rt.log.WithFields(logrus.Fields{"application": app.Name, "request": id, "cause": cause})
		if cause == "client_gone" {
			log.Debug("upstream: " + err.Error()) // nobody's fault, and nobody reads the page
			return
		}
		log.Error("upstream: " + err.Error())
		page.Write(w, r, prefix, page.Page{
			Status: http.StatusBadGateway, Title: "The program does not answer",
			Lead:      "You may use " + app.Name + ", but the program behind it does not answer (" + cause + ").",
			Next:      "Try again in a moment. If it stays like this, tell the person who runs it, and mention the request below.",
			Reason:    "upstream_" + cause,
			RequestID: id,
		})
	}
}

// renewed tells what became of a session that was to be renewed.
func (rt *running) renewed(r session.Renewal) {
	rt.metrics.Renewed(r.Provider, string(r.Result))
	log := rt.log.WithFields(logrus.Fields{"provider": r.Provider, "identity": r.Identity, "result": r.Result})
	if r.Err != nil {
		log = log.WithError(r.Err)
	}
	switch r.Result {
	case session.Refused:
		log.Warn("session ended by the issuer")
	case session.Lost:
		log.Error("session refresh")
	default: // an issuer that is silent is told once, not for each session
		log.Debug("session refresh")
	}
}

func (rt *running) issuerChanged(provider string, err error) {
	log := rt.log.WithField("provider", provider)
	if err != nil {
		log.Warn(err)
		return
	}
	log.Info("the issuer answers")
}

// warnRestart names what the new document changes to no effect.
func (rt *running) warnRestart(doc *config.Document) {
	was, is := rt.first.Server, doc.Server
	for _, c := range []struct {
		key     string
		changed bool
	}{
		{"server.http", was.HTTP != is.HTTP},
		{"server.https", was.HTTPS != is.HTTPS},
		{"server.grpc", was.GRPC != is.GRPC || was.GRPCTLS != is.GRPCTLS},
		{"server.metrics", was.Metrics != is.Metrics},
		{"server.tls", was.TLS != is.TLS},
		{"store", !reflect.DeepEqual(rt.first.Store, doc.Store)},
	} {
		if c.changed {
			rt.log.Warnf("line %d: %s has changed; it takes effect at the next start", doc.Line(c.key), c.key)
		}
	}
}

// readiness answers whether store and document are good, and how each issuer
// is.
func (rt *running) readiness(ctx context.Context) server.Readiness {
	_, err := rt.store.Get(ctx, "ready")
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	state := server.Readiness{Store: err, Document: rt.failed, Issuers: map[string]error{}}
	for name, p := range rt.parties {
		if p.Opened.Issuer != nil {
			state.Issuers[name] = p.Opened.Issuer.Ready()
		}
	}
	return state
}

// caches answers how the token caches stand.
func (rt *running) caches() map[string]telemetry.Caches {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	all := map[string]telemetry.Caches{}
	for name, p := range rt.parties {
		if p.Stats != nil {
			all[name] = telemetry.Caches(p.Stats())
		}
	}
	return all
}

// secretFiles answers the files that a reload reads beside the document.
func (rt *running) secretFiles() []string {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var files []string
	files = append(files, rt.files...)
	for _, p := range rt.parties {
		files = append(files, p.Files...)
	}
	return files
}

// limiter answers what counts the limit of that name: the one that counted it
// before, while its numbers stay.
func (rt *running) limiter(name string, requests int, per time.Duration) outpost.Limiter {
	key := fmt.Sprint(name, " ", requests, " ", per)
	switch {
	case rt.limits[key] != nil:
	case rt.share.limits != nil:
		rt.limits[key] = limit.NewShared(rt.share.limits, name, requests, per, nil)
	default:
		rt.limits[key] = limit.New(requests, per, nil)
	}
	return rt.limits[key]
}
