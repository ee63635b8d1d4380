package dialect

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// nginx is the dialect of auth_request, of standalone nginx and of
// ingress-nginx.
type nginx struct{}

// Name implements Dialect.
func (nginx) Name() string { return "nginx" }

// Read implements Dialect. auth_request itself tells nothing of the original
// request: what is in X-Original-* may be the client's own. Unless the
// operator says that nginx sets it, the application is found by Host alone,
// and path and method are unknown.
func (nginx) Read(r *http.Request, e *Edge) (*outpost.Request, error) {
	client, err := e.ask(r)
	if err != nil {
		return nil, err
	}
	req := &outpost.Request{Client: client}
	if e.NginxOriginalURL {
		err = readOriginal(req, r)
	} else {
		req.Scheme, req.Host, err = bareHost(r.Host)
	}
	if err != nil {
		return nil, err
	}
	describe(req, r.Header)
	return req, nil
}

func readOriginal(req *outpost.Request, r *http.Request) error {
	h := r.Header
	if err := noTwins(h, "X-Original-Url", "X-Original-Uri", "X-Original-Method", "X-Forwarded-For"); err != nil {
		return err
	}
	method, _, err := one(h, "X-Original-Method")
	if err != nil {
		return err
	}
	if req.Method, err = canon.Method(method); err != nil {
		return err
	}
	original, ok, err := one(h, "X-Original-Url")
	if err != nil {
		return err
	}
	if ok {
		var uri string
		if req.Scheme, req.Host, uri, err = canon.SplitURL(original); err != nil {
			return err
		}
		if req.Path, req.Query, err = canon.SplitURI(uri); err != nil {
			return err
		}
		return oneHost(req.Host, r.URL.RawQuery)
	}
	if req.Scheme, req.Host, err = bareHost(r.Host); err != nil {
		return err
	}
	uri, ok, err := one(h, "X-Original-Uri")
	if err != nil || !ok {
		return err
	}
	req.Path, req.Query, err = canon.SplitURI(uri)
	return err
}

// oneHost compares what is judged with the host that nginx serves, where the
// printed snippet has it tell that. The template of ingress-nginx makes
// X-Original-URL of the Host header, but a request line with a host of its own
// counts for more (RFC 9112, section 3.2.2), and it is by that one that nginx
// chooses the program. The query is the operator's: whoever adds to it can only
// be refused.
func oneHost(judged, query string) error {
	for part := range strings.SplitSeq(query, "&") {
		served, told := strings.CutPrefix(part, "host=")
		if !told {
			continue
		}
		served, err := canon.Host("https", served)
		if err != nil {
			return err
		}
		if served, judged := canon.HostName(served), canon.HostName(judged); served != judged {
			return outpost.Bad(outpost.ReasonBadHost, "the request line names "+served+", the Host header "+judged)
		}
	}
	return nil
}

// bareHost reads a Host whose scheme nobody told: either default port is none.
func bareHost(host string) (scheme, canonical string, err error) {
	canonical, err = canon.Host("https", strings.TrimSuffix(host, ":80"))
	return "https", canonical, err
}

// Write implements Dialect. nginx makes 500 of every reply but 2xx, 401 and
// 403; the true status stands in X-Akprox-Status, which the printed snippet
// maps back. nginx drops the body.
func (nginx) Write(w http.ResponseWriter, _ *http.Request, a Answer) {
	h := w.Header()
	noStore(h)
	rateLimit(h, a)
	status := http.StatusForbidden
	switch a.Outcome {
	case outpost.Allow:
		setIdentity(h, a.Headers)
		status = http.StatusOK
	case outpost.SignIn:
		status = http.StatusUnauthorized
		if a.Request != nil && a.Request.Navigation {
			h["Location"] = []string{a.Location}
		} else {
			challenge(h, a)
		}
	case outpost.Unauthorized:
		status = http.StatusUnauthorized
		challenge(h, a)
	case outpost.Forbidden:
		challenge(h, a)
	default:
		h["X-Akprox-Status"] = []string{strconv.Itoa(statusOf(a.Outcome))}
		retryAfter(h, a)
	}
	h["Content-Length"] = noContent
	w.WriteHeader(status)
}
