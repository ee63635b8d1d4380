package dialect

import (
	"net/http"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// forwarded is the dialect of the proxies that tell the original request in
// X-Forwarded-* headers: Traefik's forwardAuth, Caddy's forward_auth, and our
// own Lua action for HAProxy.
type forwarded struct {
	name  string
	caddy bool
}

// Name implements Dialect.
func (d forwarded) Name() string { return d.name }

// Read implements Dialect.
func (d forwarded) Read(r *http.Request, e *Edge) (*outpost.Request, error) {
	client, err := e.ask(r)
	if err != nil {
		return nil, err
	}
	h := r.Header
	if err := noTwins(h, "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-For"); err != nil {
		return nil, err
	}
	req := &outpost.Request{Client: client, PassesForged: d.caddy}
	if err := readForwarded(req, h); err != nil {
		return nil, err
	}
	describe(req, h)
	return req, nil
}

func readForwarded(req *outpost.Request, h http.Header) error {
	scheme, err := required(h, "X-Forwarded-Proto")
	if err != nil {
		return err
	}
	host, err := required(h, "X-Forwarded-Host")
	if err != nil {
		return err
	}
	uri, err := required(h, "X-Forwarded-Uri")
	if err != nil {
		return err
	}
	method, _, err := one(h, "X-Forwarded-Method")
	if err != nil {
		return err
	}
	if req.Scheme, err = canon.Scheme(scheme); err != nil {
		return err
	}
	if req.Host, err = canon.Host(req.Scheme, host); err != nil {
		return err
	}
	if req.Method, err = canon.Method(method); err != nil {
		return err
	}
	req.Path, req.Query, err = canon.SplitURI(uri)
	return err
}

// Write implements Dialect. On Allow the Caddy dialect repeats X-Forwarded-Uri
// and X-Forwarded-For, so that copy_headers of them keeps the client's chain
// (Caddy 2.11.2 and later delete a copied header that the answer lacks).
func (d forwarded) Write(w http.ResponseWriter, r *http.Request, a Answer) {
	if d.caddy && a.Outcome == outpost.Allow {
		for _, name := range [2]string{"X-Forwarded-Uri", "X-Forwarded-For"} {
			if v := r.Header[name]; len(v) > 0 {
				w.Header()[name] = v
			}
		}
	}
	writeForwarded(w, r, a)
}
