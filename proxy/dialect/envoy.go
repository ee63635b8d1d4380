package dialect

import (
	"net/http"
	"slices"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// envoy is the dialect of Envoy's ext_authz, over HTTP and over gRPC alike.
type envoy struct{}

// Envoy answers the dialect of Envoy's ext_authz. Envoy repeats the client's
// request to a path below the endpoint: whoever mounts it takes the endpoint's
// own path off the RequestURI before Read.
func Envoy() Dialect { return envoy{} }

// Name implements Dialect.
func (envoy) Name() string { return "envoy" }

// Read implements Dialect. Host, method and URI are the request's own; Envoy
// alone sets X-Forwarded-Proto.
func (envoy) Read(r *http.Request, e *Edge) (*outpost.Request, error) {
	client, err := e.ask(r)
	if err != nil {
		return nil, err
	}
	if err := noTwins(r.Header, "X-Forwarded-Proto", "X-Forwarded-For"); err != nil {
		return nil, err
	}
	req := &outpost.Request{Client: client}
	scheme, err := required(r.Header, "X-Forwarded-Proto")
	if err != nil {
		return nil, err
	}
	if req.Scheme, err = canon.Scheme(scheme); err != nil {
		return nil, err
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

// Write implements Dialect. Of an Allow, Envoy takes the headers that its
// configuration lists, and away those that the answer names.
func (envoy) Write(w http.ResponseWriter, r *http.Request, a Answer) {
	if a.Outcome == outpost.Allow {
		if names := a.Removed(); len(names) > 0 {
			w.Header()["X-Envoy-Auth-Headers-To-Remove"] = []string{strings.Join(names, ",")}
		}
	}
	writeForwarded(w, r, a)
}

// Removed lists, in lower case, the headers of the client that an allowed
// request must not bring to the program: mapped ones without a value, those
// that are for us alone, and what some program would read as one of these
// although it is spelled with "_" or ".".
func (a Answer) Removed() []string {
	var names []string
	kept := map[string]bool{} // every mapped or consumed name: is it set by us?
	for _, h := range a.Headers {
		kept[h.Name] = h.Values[0] != ""
		if !kept[h.Name] {
			names = append(names, strings.ToLower(h.Name))
		}
	}
	for _, name := range a.Consumed {
		if _, mapped := kept[name]; !mapped {
			kept[name] = false
			names = append(names, strings.ToLower(name))
		}
	}
	if a.Request == nil {
		return names
	}
	for name := range a.Request.Header {
		if !strings.ContainsAny(name, "_.") {
			continue
		}
		if _, ours := kept[unfolded(name)]; ours {
			names = append(names, strings.ToLower(name))
		}
	}
	slices.Sort(names)
	return names
}
