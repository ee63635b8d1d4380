package dialect

import (
	"net/http"
	"strings"

	"github.com/akprox/akprox/outpost"
)

// Dialect is how one reverse proxy asks and is answered.
type Dialect interface {
	// Name answers the word in the endpoint's path, the log and the metrics.
	Name() string
	// Read answers the request that the proxy asks about. An error is a
	// BadRequest or a canon.Refused; nothing is guessed.
	Read(r *http.Request, e *Edge) (*outpost.Request, error)
	// Write writes the decision. It is the only writer of the answer.
	Write(w http.ResponseWriter, r *http.Request, a Answer)
}

// Answer is a decision on its way to the proxy.
type Answer struct {
	outpost.Decision
	Request   *outpost.Request // nil when it could not be read
	Prefix    string           // under which we were asked
	RequestID string
	Consumed  []string // on Allow: request headers that are for us, and not for the program
}

// All answers the dialects of the forward-auth endpoints.
func All() []Dialect {
	return []Dialect{nginx{}, forwarded{name: "traefik"}, Caddy(), forwarded{name: "haproxy"}, Envoy()}
}

// Caddy answers the dialect of Caddy's forward_auth.
func Caddy() Dialect { return forwarded{name: "caddy", caddy: true} }

// describe fills in what follows from the client's own headers.
func describe(req *outpost.Request, h http.Header) {
	req.Header = h
	accept := strings.Join(h["Accept"], ",")
	req.JSON = strings.Contains(accept, "json")
	req.Page = person(accept, h)
	req.Navigation = navigation(req.Method, accept, h)
}

// person reports whether somebody's browser is going to a page, or posts a
// form, so that a person sees what comes back.
func person(accept string, h http.Header) bool {
	if len(h["Upgrade"]) > 0 || len(h["Sec-Websocket-Version"]) > 0 {
		return false
	}
	if mode := h["Sec-Fetch-Mode"]; len(mode) > 0 {
		return mode[0] == "navigate"
	}
	return len(h["X-Requested-With"]) == 0 && strings.Contains(accept, "text/html")
}

// navigation reports whether a person's browser is going to a page, so that a
// redirect would reach the person. A method that is not known may be GET.
func navigation(method, accept string, h http.Header) bool {
	// Traefik and plain nginx do not hand Upgrade on to us.
	if method != "GET" && method != "HEAD" && method != "" || len(h["Upgrade"]) > 0 || len(h["Sec-Websocket-Version"]) > 0 {
		return false
	}
	if mode := h["Sec-Fetch-Mode"]; len(mode) > 0 {
		return mode[0] == "navigate"
	}
	if len(h["X-Requested-With"]) > 0 {
		return false
	}
	return accept == "" || strings.Contains(accept, "text/html") || strings.Contains(accept, "*/*")
}

// one answers the value of a control header: absent is "" and false. A second
// line, or a twin in another spelling, is a BadRequest.
func one(h http.Header, name string) (string, bool, error) {
	values := h[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, outpost.Bad(outpost.ReasonRepeatedHeader, name)
}

// required is one for a header without which nothing can be judged.
func required(h http.Header, name string) (string, error) {
	v, ok, err := one(h, name)
	if err == nil && (!ok || v == "") {
		err = outpost.Bad(outpost.ReasonMissingHeader, name)
	}
	return v, err
}

// noTwins refuses a header that some server reads as one of names although it
// is spelled with "_" or ".".
func noTwins(h http.Header, names ...string) error {
	for key := range h {
		if strings.IndexByte(key, '_') < 0 && strings.IndexByte(key, '.') < 0 {
			continue
		}
		folded := unfolded(key)
		for _, name := range names {
			if folded == name {
				return outpost.Bad(outpost.ReasonHeaderTwin, name)
			}
		}
	}
	return nil
}

// unfolded answers the name that a twin is read as.
func unfolded(twin string) string {
	return http.CanonicalHeaderKey(strings.NewReplacer("_", "-", ".", "-").Replace(twin))
}
