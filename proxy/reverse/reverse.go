package reverse

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/akprox/akprox/outpost"
)

// Options say how a Forwarder reaches upstreams. The zero value is usable:
// a duration of 0 means the default, a negative one no limit.
type Options struct {
	// FailPage answers a request that its upstream did not answer: 502, and
	// err in words (see Cause). r is the client's request, untouched. It is
	// called before anything was written. Nil writes one plain line.
	FailPage func(w http.ResponseWriter, r *http.Request, app *outpost.Application, err error)

	// ErrorLog takes what goes wrong once an answer has begun (an upstream
	// that vanishes in the middle of a body). Nil drops it.
	ErrorLog *log.Logger

	DialTimeout     time.Duration // to connect, name look-up included; 5 s
	TLSTimeout      time.Duration // for the TLS handshake; 5 s
	ResponseTimeout time.Duration // from the request's last byte to the answer's header; 60 s
	IdleTimeout     time.Duration // how long an unused connection is kept; 90 s
	IdleConns       int           // unused connections kept for each upstream; 0 means 256

	TLS *tls.Config // for upstreams with https; nil verifies by the system's roots
}

// Forwarder forwards allowed requests. One serves all applications and is
// safe for concurrent use; it keeps the connections to their upstreams.
type Forwarder struct {
	opts  Options
	names map[string]bool // folded names that no client may send to an upstream
	proxy *httputil.ReverseProxy
}

// New makes a Forwarder.
func New(o Options) *Forwarder {
	f := &Forwarder{opts: o, names: clientNames()}
	f.proxy = &httputil.ReverseProxy{
		Rewrite:        f.rewrite,
		ModifyResponse: modifyResponse,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { f.fail(w, exchangeOf(r), err) },
		Transport:      newTransport(o),
		FlushInterval:  -1,
		BufferPool:     &buffers{},
		ErrorLog:       o.ErrorLog,
	}
	if o.ErrorLog == nil {
		f.proxy.ErrorLog = log.New(io.Discard, "", 0)
	}
	return f
}

func newTransport(o Options) *http.Transport {
	idle := o.IdleConns
	if idle <= 0 {
		idle = 256
	}
	dialer := &net.Dialer{Timeout: limit(o.DialTimeout, 5*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  nil, // an upstream is where the document says, whatever $HTTP_PROXY says
		DialContext:            dialer.DialContext,
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    limit(o.TLSTimeout, 5*time.Second),
		ResponseHeaderTimeout:  limit(o.ResponseTimeout, time.Minute),
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        limit(o.IdleTimeout, 90*time.Second),
		MaxIdleConnsPerHost:    idle,
		MaxResponseHeaderBytes: 1 << 20,
		DisableCompression:     true, // the encoding is between browser and upstream
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
}

// limit answers d, its default for 0, and 0 (which is no limit) for less.
func limit(d, byDefault time.Duration) time.Duration {
	if d == 0 {
		return byDefault
	}
	return max(d, 0)
}

// exchange is one request on its way through.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request // as it came
	app     *outpost.Application
	req     *outpost.Request
	headers []outpost.Header
	target  *url.URL
	own     http.Header // what stood in w before
	body    *body       // nil without one
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return x
}

// Forward sends r, which was judged as req and allowed with headers, to the
// upstream of app, and its answer to w. Headers that are already in w (a
// renewed cookie) go out with the final answer, whoever gives it.
//
// A client or an upstream that breaks off in the middle of an answer makes it
// panic with http.ErrAbortHandler, as net/http wants it: callers that recover
// must let that one pass, else a torn answer looks whole.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, app *outpost.Application, req *outpost.Request, headers []outpost.Header) {
	x := &exchange{w: w, r: r, app: app, req: req, headers: headers}
	if len(w.Header()) > 0 {
		// An interim answer (1xx) would take them along and then clear them.
		x.own = w.Header().Clone()
		clear(w.Header())
	}
	var err error
	if x.target, err = target(app.Upstream, req, r.URL.ForceQuery); err != nil {
		f.fail(w, x, err)
		return
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// An upstream may answer while the body still comes in. A writer that
		// cannot do this loses only that.
		_ = http.NewResponseController(w).EnableFullDuplex()
	}
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
}

// rewrite makes the upstream's request. ReverseProxy has already removed the
// hop-by-hop headers, and all that the client's Connection header names: what
// is set here stays.
func (f *Forwarder) rewrite(p *httputil.ProxyRequest) {
	x := exchangeOf(p.In)
	out := p.Out
	out.URL = x.target
	out.Host = x.req.Host
	if x.req.Method != "" {
		out.Method = x.req.Method
	}
	f.stripHeaders(out.Header, x.app)
	stripUpgrade(out.Header)
	stripCookies(out.Header, x.app.Cookie.Name)
	for _, name := range x.app.Consumed {
		delete(out.Header, name)
	}
	setForwarded(out.Header, x)
	for _, h := range x.headers {
		out.Header[h.Name] = h.Values
	}
	if out.Body != nil {
		f.stripTrailers(out.Trailer, x.app)
		x.body = &body{ReadCloser: out.Body, in: p.In, trailer: out.Trailer}
		out.Body = x.body
	}
}

// setForwarded tells the upstream what it cannot see for itself. A client
// whose address is not known is not told at all.
func setForwarded(h http.Header, x *exchange) {
	h["X-Forwarded-Proto"] = []string{x.app.External.Scheme}
	h["X-Forwarded-Host"] = []string{x.req.Host}
	if x.req.Client.IsValid() {
		client := []string{x.req.Client.String()}
		h["X-Forwarded-For"], h["X-Real-Ip"] = client, client
	}
}

func modifyResponse(res *http.Response) error {
	x := exchangeOf(res.Request)
	stripSetCookies(res.Header, x.app.Cookie.Name)
	maps.Copy(x.w.Header(), x.own)
	return nil
}

func (f *Forwarder) fail(w http.ResponseWriter, x *exchange, err error) {
	maps.Copy(w.Header(), x.own)
	if x.r.Context().Err() != nil || x.body.torn() {
		err = &clientGone{err}
	}
	if f.opts.FailPage == nil {
		http.Error(w, "the guarded program did not answer: "+Cause(err), http.StatusBadGateway)
		return
	}
	f.opts.FailPage(w, x.r, x.app, err)
}

const bufferSize = 32 << 10

// buffers keeps what bodies are copied through.
type buffers struct{ pool sync.Pool }

// Get answers a buffer of 32 KiB.
func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return p[:]
	}
	return make([]byte, bufferSize)
}

// Put takes back what Get answered.
func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
