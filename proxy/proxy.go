package proxy

import (
	"context"
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
	ways   outpost.Ways            // of requests that come to us themselves
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
		h.mountAuth(e.Prefix+"/auth/"+d.Name(), h.forward(d, e))
	}
	h.mountAuth(e.Prefix+"/auth", h.byQuery(e))
	h.router.Path(e.Prefix + "/ping").HandlerFunc(ping)
	h.router.Path(e.Prefix + "/start").Handler(h.SignIn.Start(e))
	h.router.Path(e.Prefix + "/sign_in").Handler(h.SignIn.Page(e))
	h.router.Path(e.Prefix + "/callback").Handler(h.SignIn.Callback(e))
	h.router.Path(e.Prefix + "/sign_out").Handler(h.SignIn.SignOut(e))
	h.router.Path(e.Prefix + "/userinfo").Handler(h.SignIn.UserInfo(e))
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
		byName[d.Name()] = h.forward(d, e)
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
		start := time.Now()
		if r.ContentLength != 0 {
			// nginx announces a body that it does not send; net/http would
			// wait for it before answering, or take the next request for it.
			w.Header().Set("Connection", "close")
		}
		req, err := d.Read(r, h.Edge)
		app, decision := h.decide(r, req, err, e.Ways)
		id := h.Recorder.decision(d.Name(), app, req, &decision, time.Since(start))
		d.Write(w, r, dialect.Answer{Decision: decision, Request: req, Prefix: e.Prefix, RequestID: id})
	})
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
