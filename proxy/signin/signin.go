package signin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/page"
	"github.com/akprox/akprox/proxy/signin/backchannel"
	"github.com/akprox/akprox/proxy/signin/returnurl"
	"github.com/akprox/akprox/proxy/signin/words"
)

// patience bounds what one request waits for the store and the issuer.
const patience = 10 * time.Second

// Options is what a SignIn is made of; all of it is required.
type Options struct {
	Applications func() *outpost.Applications // those served now
	Issuers      map[string]outpost.Issuer    // by provider: who may send logout tokens
	Sessions     *session.Sessions
	Store        store.Store
	Endpoints    []Endpoints // all that are served, those under the prefix first
	Now          func() time.Time
	Log          logrus.FieldLogger
	RequestID    func(*http.Request) string
	Observe      func(application, result string) // result is one of Results
	Client       func(*http.Request) netip.Addr   // whose request it is; the zero value when not known
}

// maxClientFlows bounds the sign-ins that one address may begin while one of
// them lasts: many for a house behind one address, few beside maxFlows.
const maxClientFlows = 2000

// SignIn serves signing in and out. It is safe for concurrent use.
type SignIn struct {
	Options
	own         []string // paths at and under which nobody is sent back
	crowd       crowd
	clients     *limit.Memory // sign-ins begun by each address
	backChannel http.Handler
}

// New makes a SignIn.
func New(o Options) *SignIn {
	s := &SignIn{Options: o, clients: limit.New(maxClientFlows, flowLife, o.Now)}
	s.backChannel = backchannel.New(backchannel.Options{
		Issuers: o.Issuers, End: s.endFor, Store: o.Store, Now: o.Now,
		Log: o.Log, RequestID: o.RequestID, Observe: o.Observe, Client: o.Client,
	})
	for _, e := range o.Endpoints {
		s.own = append(s.own, e.Own...)
	}
	return s
}

// visit is one request to one of the endpoints.
type visit struct {
	*SignIn
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // bounded, and not ended by a client that leaves
	apps    *outpost.Applications
	at      Endpoints // the family that was asked
	host    string    // canonical, and guarded
	request string    // its id
	program bool      // JSON is asked for
}

// serve does what all endpoints begin with: it bounds the time, keeps answers
// out of caches and addresses out of Referer, and lets answer see only its
// methods and hosts that are guarded.
func (s *SignIn) serve(e Endpoints, program bool, answer func(*visit), methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		// A body that never comes must not hold the connection. net/http sets its
		// own deadline again for the next request.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience))
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
		defer cancel()
		v := &visit{SignIn: s, w: w, r: r, ctx: ctx, apps: s.Applications(), at: e, request: s.RequestID(r), program: program}
		var known bool
		v.host, known = ownHost(v.apps, r.Host)
		switch {
		case !slices.Contains(methods, r.Method):
			w.Header().Set("Allow", strings.Join(methods, ", "))
			v.refuse(outpost.Refuse(outpost.Bad(outpost.ReasonMethodNotAllowed, "")))
		case !known:
			v.refuse(outpost.Refuse(outpost.ErrUnknownHost))
		default:
			answer(v)
		}
	})
}

// ownHost answers the request's host in canonical form, and whether it is
// guarded. Which port is the default one depends on a scheme that we cannot
// see behind a proxy; the document has it.
func ownHost(apps *outpost.Applications, raw string) (string, bool) {
	for _, scheme := range [2]string{"https", "http"} {
		if host, err := canon.Host(scheme, raw); err == nil && apps.Guards(host) {
			return host, true
		}
	}
	return "", false
}

// sameHost reports whether a cookie for app can be set by this answer.
func (v *visit) sameHost(app *outpost.Application) bool {
	return canon.HostName(app.External.Host) == canon.HostName(v.host)
}

// refuse answers a request that is judged as any other is.
func (v *visit) refuse(d outpost.Decision) {
	p := page.Refusal(d, &outpost.Request{Host: v.host}, v.request)
	if v.program {
		page.WriteJSON(v.w, p.Status, d.Outcome.String(), string(d.Reason), v.request)
		return
	}
	v.show(p)
}

// fail records a result that is not the wanted one and explains it; anew is
// where to begin again, or "" for the same address.
func (v *visit) fail(app *outpost.Application, result string, err error, anew string) {
	v.record(app, result, err)
	v.show(explain(result, anew))
}

// explain answers the page of a result; its link leads to anew.
func explain(result, anew string) page.Page {
	said := words.Explain(result)
	p := page.Page{Status: said.Status, Title: said.Title, Lead: said.Lead, Next: said.Next, Reason: result}
	if !said.Final {
		p.Links = []page.Link{{Text: "Try again", URL: anew}}
	}
	return p
}

// show writes a page.
func (v *visit) show(p page.Page) {
	p.Host = v.host
	if p.Status >= http.StatusBadRequest {
		p.RequestID = v.request // what else would it be asked for
	}
	if p.Status == http.StatusServiceUnavailable {
		v.w.Header().Set("Retry-After", "5")
	}
	page.Write(v.w, v.r, v.at.Prefix, p)
}

// redirect sends the browser to location. There is no body: net/http would
// print the address, and with it a state, into a page.
func (v *visit) redirect(location string) {
	v.w.Header().Set("Location", location)
	v.w.Header().Set("Content-Length", "0")
	status := http.StatusFound
	if v.r.Method != http.MethodGet {
		status = http.StatusSeeOther
	}
	v.w.WriteHeader(status)
}

// record writes the log and the metric.
func (v *visit) record(app *outpost.Application, result string, err error) {
	name := ""
	if app != nil {
		name = app.Name
	}
	v.Observe(name, result)
	log := v.Log.WithFields(logrus.Fields{"application": name, "result": result, "request": v.request})
	if client := v.Client(v.r); client.IsValid() {
		log = log.WithField("client", client.String())
	}
	switch {
	case err != nil:
		log.WithError(err).Warn("sign-in")
	case result == words.Started:
		log.Debug("sign-in")
	default:
		log.Info("sign-in")
	}
}

// target answers where the visitor wants to go.
func (v *visit) target(rd string) returnurl.Target {
	if t, ok := returnurl.Resolve(v.apps, v.own, v.host, rd); ok {
		return t
	}
	return returnurl.Home(v.apps, v.host)
}

// cookie answers a short cookie of ours; a negative life expires it.
func (v *visit) cookie(app *outpost.Application, name, value string, life time.Duration) *http.Cookie {
	seconds := int(life / time.Second)
	if life < 0 {
		seconds = -1
	}
	return &http.Cookie{ //nolint:gosec // G124: Secure follows the document, as the session's cookie does
		Name: name, Value: value, Path: v.at.Folder + "/", MaxAge: seconds,
		Secure: app.Cookie.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// current answers the live session of app that app's own sign-in made; nil
// when there is none.
func (v *visit) current(app *outpost.Application) (*session.Record, error) {
	rec, err := v.Sessions.Current(v.ctx, app, v.r.Header)
	switch {
	case errors.Is(err, outpost.ErrNoCredential):
		return nil, nil
	case err != nil:
		return nil, err
	case app.SignIn == nil || rec.Identity.Provider != app.SignIn.Provider:
		return nil, nil
	}
	if users, ok := app.SignIn.Passwords.(keeper); ok && users.Current(rec.Identity) == nil {
		return nil, nil
	}
	return rec, nil
}

// keeper is an optional power of outpost.Passwords: it knows who is no user
// any more, or has another password now. Such a session is none.
type keeper interface {
	Current(id *outpost.Identity) *outpost.Identity
}
