package proxy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/dialect"
	"github.com/akprox/akprox/proxy/knock"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/reverse"
	"github.com/akprox/akprox/proxy/signin"
)

// Options is what a Handler is made of; all of it is required.
type Options struct {
	Applications *outpost.Applications
	Prefixes     []string       // the prefix, then its aliases
	AuthServer   bool           // the example auth server's endpoints too
	Knock        *knock.Handler // nil where nobody can knock
	KnockAtRoot  bool           // at /knock and so on too, as Knocker has it
	Edge         *dialect.Edge
	SignIn       *signin.SignIn
	Forwarder    *reverse.Forwarder
	Recorder     *Recorder
}

// Handler answers everything that arrives, for the applications of one
// document. It is immutable.
type Handler struct {
	Options
	router *mux.Router
	auth   map[string]http.Handler // the auth endpoints, by path
	envoy  []below                 // those that have the original path below them
	ways   outpost.Ways            // of requests that come to us themselves
}

// below is an endpoint to which everything belongs that begins with its path.
type below struct {
	path   string
	answer http.Handler // sees what follows path as the RequestURI
}

// New mounts the endpoints.
func New(o Options) *Handler {
	h := &Handler{Options: o, router: mux.NewRouter().SkipClean(true).UseEncodedPath(), auth: map[string]http.Handler{}, ways: outpost.WaysUnder(o.Prefixes[0])}
	for _, prefix := range o.Prefixes {
		h.mount(signin.Under(prefix))
	}
	if o.AuthServer {
		h.mountAuthServer(signin.AuthServer())
	}
	if o.Knock != nil {
		for _, prefix := range o.Prefixes {
			h.mountKnock(prefix)
		}
		if o.KnockAtRoot {
			h.mountKnock("")
		}
	}
	h.router.NotFoundHandler = http.HandlerFunc(h.direct)
	h.router.MethodNotAllowedHandler = h.router.NotFoundHandler
	return h
}

// mount mounts the endpoints under one prefix.
func (h *Handler) mount(e signin.Endpoints) {
	for _, d := range dialect.All() {
		path, answer := e.Prefix+"/auth/"+d.Name(), h.forward(d, e)
		if d == dialect.Envoy() {
			h.envoy = append(h.envoy, below{path, answer})
			continue
		}
		h.mountAuth(path, answer)
	}
	h.mountAuth(e.Prefix+"/auth", h.byQuery(e))
	h.router.Path(e.Prefix + "/ping").HandlerFunc(ping)
	h.router.Path(e.Prefix + "/start").Handler(h.SignIn.Start(e))
	h.router.Path(e.Prefix + "/sign_in").Handler(h.SignIn.Page(e))
	h.router.Path(e.Prefix + "/callback").Handler(h.SignIn.Callback(e))
	h.router.Path(e.Prefix + "/sign_out").Handler(h.SignIn.SignOut(e))
	h.router.Path(e.Prefix + "/userinfo").Handler(h.SignIn.UserInfo(e))
	h.router.Path(e.Prefix + "/backchannel_logout").Handler(h.SignIn.BackChannel())
	h.router.Path(e.Prefix + "/static/{name}").Handler(page.Static())
}

// mountAuthServer mounts the example auth server's endpoints. Its check is
// what Caddy's forward_auth asks.
func (h *Handler) mountAuthServer(e signin.Endpoints) {
	h.mountAuth("/auth/check", h.forward(dialect.Caddy(), e))
	h.router.Path("/auth/sign-in").Handler(h.SignIn.Page(e))
	h.router.Path("/auth/password-authenticate").Handler(h.SignIn.Page(e))
	h.router.Path("/auth/sign-out").Handler(h.SignIn.SignOut(e))
}

// mountAuth mounts an auth endpoint. Every request of every guarded program
// asks one, so it is found by its path at once; mux tries its routes one by
// one, with a regular expression each.
func (h *Handler) mountAuth(path string, answer http.Handler) {
	h.auth[path] = answer
	h.router.Path(path).Handler(answer)
}

// mountKnock mounts Knocker's API.
func (h *Handler) mountKnock(prefix string) {
	h.router.Path(prefix + "/knock").HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(10 * time.Second)) // for the body
		h.Knock.Knock(w, r)
	})
	h.router.Path(prefix + "/verify").HandlerFunc(h.Knock.Verify)
	h.router.Path(prefix + "/health").HandlerFunc(h.Knock.Health)
	h.router.Path(prefix + "/ready").HandlerFunc(h.Knock.Ready)
}

func ping(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// ServeHTTP implements http.Handler. Whatever goes wrong below it ends as a
// refusal.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer h.refusePanic(w, r)
	if answer := h.auth[r.URL.Path]; answer != nil && r.URL.RawPath == "" {
		answer.ServeHTTP(w, r)
		return
	}
	for _, e := range h.envoy {
		// The path as it arrived: mux would judge and clean the decoded one.
		if uri, ok := strings.CutPrefix(r.RequestURI, e.path); ok {
			r = r.WithContext(r.Context())
			r.RequestURI = uri
			e.answer.ServeHTTP(w, r)
			return
		}
	}
	h.router.ServeHTTP(w, r)
}

// refusePanic makes a 500 of a panic, which every proxy takes as a refusal.
func (h *Handler) refusePanic(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it in the same way
		panic(p)
	}
	h.Recorder.panicked(r, p)
	for name := range w.Header() {
		delete(w.Header(), name)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "internal error", http.StatusInternalServerError)
}

// byQuery serves the bare endpoint: "?traefik" and "?caddy" name another
// dialect than nginx's, as the first and only word of the query.
func (h *Handler) byQuery(e signin.Endpoints) http.Handler {
	byName := map[string]http.Handler{}
	for _, d := range dialect.All() {
		if d != dialect.Envoy() { // whose question is the path below it
			byName[d.Name()] = h.forward(d, e)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word, _, _ := strings.Cut(r.URL.RawQuery, "=")
		d := byName[word]
		if d == nil {
			d = byName["nginx"]
		}
		d.ServeHTTP(w, r)
	})
}

// forward answers one auth endpoint: may the request that the proxy tells of
// pass?
func (h *Handler) forward(d dialect.Dialect, e signin.Endpoints) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// nginx announces a body that it does not send; net/http would
			// wait for it before answering, or take the next request for it.
			w.Header().Set("Connection", "close")
		}
		d.Write(w, r, h.answer(d, r, e.Prefix, e.Ways))
	})
}

// answer reads, decides and records.
func (h *Handler) answer(d dialect.Dialect, r *http.Request, prefix string, ways outpost.Ways) dialect.Answer {
	start := time.Now()
	req, err := d.Read(r, h.Edge)
	app, decision := h.decide(r, req, err, ways)
	id := h.Recorder.decision(d.Name(), app, req, &decision, time.Since(start))
	a := dialect.Answer{Decision: decision, Request: req, Prefix: prefix, RequestID: id}
	if app != nil && decision.Reason != outpost.ReasonOwnPath {
		a.Consumed = app.Consumed
	}
	return a
}

// check answers a question of Envoy's that came over gRPC.
func (h *Handler) check(r *http.Request) (a dialect.Answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.Recorder.panicked(r, p)
			a, err = dialect.Answer{}, errors.New("internal error")
		}
	}()
	return h.answer(dialect.Envoy(), r, h.Prefixes[0], h.ways), nil
}

func (h *Handler) decide(r *http.Request, req *outpost.Request, err error, ways outpost.Ways) (*outpost.Application, outpost.Decision) {
	if err != nil {
		return nil, outpost.Refuse(err)
	}
	req.Ways = ways
	app, err := h.Applications.Find(req)
	if err != nil {
		return nil, outpost.Refuse(err)
	}
	return app, app.Decide(r.Context(), req)
}

// direct answers what is not one of our endpoints: proxy mode forwards it.
func (h *Handler) direct(w http.ResponseWriter, r *http.Request) {
	prefix := h.Prefixes[0]
	start := time.Now()
	d := dialect.Direct{}
	req, err := d.Read(r, h.Edge)
	if h.underPrefix(r.URL.Path) {
		decision := outpost.Decision{Outcome: outpost.UnknownHost, Reason: outpost.ReasonUnknownPage}
		id := h.Recorder.decision(d.Name(), nil, req, &decision, time.Since(start))
		d.Write(w, r, dialect.Answer{Decision: decision, Request: req, Prefix: prefix, RequestID: id})
		return
	}
	app, decision := h.decideDirect(r, req, err)
	id := h.Recorder.decision(d.Name(), app, req, &decision, time.Since(start))
	if decision.Outcome == outpost.Allow && app != nil && app.Upstream != nil {
		h.Forwarder.Forward(w, r.WithContext(context.WithValue(r.Context(), requestID{}, id)), app, req, decision.Headers)
		return
	}
	d.Write(w, r, dialect.Answer{Decision: decision, Request: req, Prefix: prefix, RequestID: id})
}

// decideDirect is decide for requests that come to us themselves: only an
// application in proxy mode is there to take them.
func (h *Handler) decideDirect(r *http.Request, req *outpost.Request, err error) (*outpost.Application, outpost.Decision) {
	app, decision := h.decide(r, req, err, h.ways)
	if app != nil && (app.Upstream == nil || decision.Reason == outpost.ReasonOwnPath) {
		// What is ours and arrives here is not served, and nobody else's.
		return nil, outpost.Refuse(outpost.ErrUnknownHost)
	}
	return app, decision
}

// requestID marks the id in the context of a request that is forwarded.
type requestID struct{}

// RequestID answers the id under which the decision about a forwarded request
// was logged; "" when it was not.
func RequestID(r *http.Request) string {
	id, _ := r.Context().Value(requestID{}).(string)
	return id
}

func (h *Handler) underPrefix(path string) bool {
	for _, p := range h.Prefixes {
		if path == p || strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

// Live is the handler of the newest good document. A request is answered
// whole by the handler that it began with.
type Live struct{ current atomic.Pointer[Handler] }

// Swap makes h the one that answers from now on.
func (l *Live) Swap(h *Handler) { l.current.Store(h) }

// Applications answers the applications that are served now.
func (l *Live) Applications() *outpost.Applications {
	if h := l.current.Load(); h != nil {
		return h.Applications
	}
	return outpost.NewApplications(nil)
}

// Check decides about the request that Envoy tells of over gRPC, as package
// extauthz made it, and records it like any other. It answers an error, and
// then nothing else, before the first Swap and where a fault of ours ended it.
func (l *Live) Check(r *http.Request) (dialect.Answer, error) {
	h := l.current.Load()
	if h == nil {
		return dialect.Answer{}, errors.New("not ready")
	}
	return h.check(r)
}

// ServeHTTP implements http.Handler; before the first Swap everything is
// refused.
func (l *Live) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := l.current.Load()
	if h == nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	h.ServeHTTP(w, r)
}
