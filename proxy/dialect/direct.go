package dialect

import (
	"net/http"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// Direct is how proxy mode reads: the request is its own subject. It has no
// endpoint and no snippet.
type Direct struct{}

// Name implements Dialect.
func (Direct) Name() string { return "proxy" }

// Read implements Dialect. Host and URI are the request's own; scheme and
// client address are believed from a trusted proxy in front.
func (Direct) Read(r *http.Request, e *Edge) (*outpost.Request, error) {
	_, trusted := e.peer(r)
	req := &outpost.Request{Client: e.From(r), Scheme: "http"}
	if r.TLS != nil {
		req.Scheme = "https"
	}
	var err error
	if trusted {
		if err = readFront(req, r); err != nil {
			return nil, err
		}
	}
	if req.Host, err = canon.Host(req.Scheme, r.Host); err != nil {
		return nil, err
	}
	if req.Method, err = canon.Method(r.Method); err != nil {
		return nil, err
	}
	if req.Path, req.Query, err = canon.SplitURI(r.RequestURI); err != nil {
		return nil, err
	}
	describe(req, r.Header)
	return req, nil
}

// readFront believes what a trusted proxy in front of us tells.
func readFront(req *outpost.Request, r *http.Request) error {
	if err := noTwins(r.Header, "X-Forwarded-Proto", "X-Forwarded-For"); err != nil {
		return err
	}
	proto, ok, err := one(r.Header, "X-Forwarded-Proto")
	if err != nil || !ok {
		return err
	}
	req.Scheme, err = canon.Scheme(proto)
	return err
}

// Write implements Dialect for every decision but Allow, which is carried out
// by forwarding.
func (Direct) Write(w http.ResponseWriter, r *http.Request, a Answer) {
	if a.Outcome == outpost.Allow {
		a.Decision = outpost.Decision{Reason: outpost.ReasonInternal}
	}
	writeForwarded(w, r, a)
}
