package knock

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/limit"
)

// Door keeps the keys and the leases.
type Door interface {
	// Knows reports whether key is one of the keys.
	Knows(key string) bool
	// Knock admits an address. An Opened lease is kept already.
	Knock(ctx context.Context, client netip.Addr, key string, ask Ask) Result
	// Admits reports whether client is admitted; an error says that it is not
	// known whether.
	Admits(ctx context.Context, client netip.Addr) (bool, error)
	// Ready answers nil while leases can be kept and found.
	Ready(ctx context.Context) error
}

// ErrLimited is the answer of Ask.Before to who has knocked too often.
var ErrLimited = errors.New("too many knocks")

// Ask is what a knock asks for.
type Ask struct {
	Address *string // another address or range than the client's own
	TTL     *int64  // seconds
	// Before is asked once everything else is good and nothing is kept yet;
	// ErrLimited ends the knock as Limited.
	Before func() error
}

// Result is what became of a knock.
type Result struct {
	Outcome Outcome
	Entry   string // what was admitted, as it was written
	Expires int64  // Unix seconds
	Seconds int64  // from now on
	Err     error  // for the log: what stood behind Failed
}

// Options is what a Handler is made of.
type Options struct {
	Door           Door
	Trusted        []netip.Prefix      // proxies whose forwarded headers are believed
	Origin         string              // Access-Control-Allow-Origin of /knock; "" is "*"
	Excluded       []string            // paths at and under which /verify admits anybody
	ExcludedByHost map[string][]string // the same for one host; "*" is any host that the proxy tells
	Limits         Limits
	Shared         limit.Tallier    // counts the limits for all processes that share it; nil: they are counted here alone
	Now            func() time.Time // time.Now when nil
	// Refused, when set, writes the 401 of /verify for a browser that goes to
	// a page; everybody else gets it empty.
	Refused func(w http.ResponseWriter, r *http.Request)
	// Observe, when set, is told of every answer of /knock and /verify.
	Observe func(Event)
}

// Limits bound how often one address may knock; IPv6 counts by its /64. Who
// reaches Failures is refused for one window, with the right key too.
type Limits struct {
	Window    time.Duration // 0 means 60 s
	Successes int           // 0 is no limit
	Failures  int           // 0 is no limit
}

// Event is one answer. It holds no key.
type Event struct {
	Endpoint string // knock or verify
	Status   int
	Client   netip.Addr // the zero value when not known
	Entry    string     // what a knock has admitted
	Err      error      // why the store could not be asked
}

// patience bounds what a failure waits for a store that counts it.
const patience = 5 * time.Second

// addresses is how many addresses' failures are remembered at once.
const addresses = 50_000

// Handler answers the four endpoints. It is safe for concurrent use.
type Handler struct {
	o         Options
	failures  limit.Failures // nil: no limit
	successes taker          // nil: no limit
}

// taker counts against a limit.
type taker interface {
	Take(ctx context.Context, key string) (limit.Limit, error)
}

// New makes a Handler, or says which exclusions are none.
func New(o Options) (*Handler, error) {
	var err error
	if o.Excluded, o.ExcludedByHost, err = exclusions(o.Excluded, o.ExcludedByHost); err != nil {
		return nil, err
	}
	if o.Origin == "" {
		o.Origin = "*"
	}
	if o.Observe == nil {
		o.Observe = func(Event) {}
	}
	if o.Limits.Window <= 0 {
		o.Limits.Window = time.Minute
	}
	h := &Handler{o: o}
	h.count(o.Limits)
	return h, nil
}

// count makes what counts the limits.
func (h *Handler) count(l Limits) {
	switch {
	case l.Failures > 0 && h.o.Shared != nil:
		h.failures = limit.NewSharedGuesses(h.o.Shared, "knock", l.Failures, l.Window, l.Window, addresses, h.o.Now)
	case l.Failures > 0:
		h.failures = limit.NewGuesses(l.Failures, l.Window, l.Window, addresses, h.o.Now)
	}
	switch {
	case l.Successes > 0 && h.o.Shared != nil:
		h.successes = limit.NewShared(h.o.Shared, "knock", l.Successes, l.Window, h.o.Now)
	case l.Successes > 0:
		h.successes = limit.New(l.Successes, l.Window, h.o.Now)
	}
}

// Knock answers /knock.
func (h *Handler) Knock(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", h.o.Origin)
	w.Header().Set("Cache-Control", "no-store")
	switch r.Method {
	case http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "X-Api-Key, Content-Type")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet, http.MethodPost:
	default:
		wrongMethod(w, "GET, POST, OPTIONS")
		return
	}
	client, _ := h.client(r)
	res, retry := h.limited(w, r, client)
	status, body := res.answer()
	if retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	h.o.Observe(Event{Endpoint: "knock", Status: status, Client: client, Entry: res.Entry, Err: res.Err})
	writeJSON(w, status, body)
}

// limited knocks within the limits; a duration says when to try again.
func (h *Handler) limited(w http.ResponseWriter, r *http.Request, client netip.Addr) (Result, time.Duration) {
	who := limit.AddressKey(client)
	if h.failures != nil {
		if wait, err := h.failures.Banned(r.Context(), who); wait > 0 || err != nil {
			unread(w, r)
			return refusal(wait, err), wait
		}
	}
	var wait time.Duration
	res := h.knock(w, r, client, func() error {
		if h.successes == nil {
			return nil
		}
		l, err := h.successes.Take(r.Context(), who)
		if err == nil && !l.OK {
			wait, err = l.RetryAfter, ErrLimited
		}
		return err
	})
	if res.Outcome == Opened || res.Outcome == Limited || h.failures == nil {
		return res, wait
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience) // hanging up makes no guess free
	defer cancel()
	if wait, err := h.failures.Fail(ctx, who); wait > 0 || err != nil { // others have failed meanwhile
		return refusal(wait, err), wait
	}
	return res, 0
}

// refusal answers a knock that is not looked at, or whose result is not told:
// its address is banned, or failures cannot be counted.
func refusal(wait time.Duration, err error) Result {
	if wait > 0 {
		return Result{Outcome: Limited}
	}
	return Result{Outcome: Failed, Err: err}
}

// knock does everything but the limits. The key is known before the body is
// read.
func (h *Handler) knock(w http.ResponseWriter, r *http.Request, client netip.Addr, before func() error) Result {
	if !client.IsValid() {
		unread(w, r)
		return Result{Outcome: NoClient}
	}
	keys := r.Header["X-Api-Key"]
	if len(keys) != 1 || !h.o.Door.Knows(keys[0]) {
		unread(w, r)
		return Result{Outcome: BadKey}
	}
	ask, bad := readAsk(w, r)
	if bad != Failed {
		return Result{Outcome: bad}
	}
	ask.Before = before
	return h.o.Door.Knock(r.Context(), client, keys[0], ask)
}

// unread makes the server answer without waiting for a body that nobody reads.
func unread(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// Verify answers /verify: 200 or 401 with an empty body. Whatever is not
// surely admitted is not.
func (h *Handler) Verify(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	unread(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		wrongMethod(w, "GET, HEAD")
		return
	}
	client, trusted := h.client(r)
	e := Event{Endpoint: "verify", Status: http.StatusUnauthorized, Client: client}
	ok := trusted && h.excluded(r.Header)
	if !ok {
		ok, e.Err = h.o.Door.Admits(r.Context(), client)
	}
	if ok && e.Err == nil {
		e.Status = http.StatusOK
		if chain := r.Header["X-Forwarded-For"]; trusted && len(chain) > 0 {
			w.Header()["X-Forwarded-For"] = chain // copy_headers of it keeps the chain
		}
	}
	h.o.Observe(e)
	if e.Status == http.StatusUnauthorized && h.o.Refused != nil && strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.o.Refused(w, r)
		return
	}
	w.WriteHeader(e.Status)
}

// Health answers /health: that the process serves.
func (h *Handler) Health(w http.ResponseWriter, r *http.Request) { h.state(w, r, nil) }

// Ready answers /ready: whether leases can be kept and found.
func (h *Handler) Ready(w http.ResponseWriter, r *http.Request) {
	h.state(w, r, h.o.Door.Ready(r.Context()))
}

func (h *Handler) state(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		wrongMethod(w, "GET, HEAD")
	case err != nil:
		writeJSON(w, http.StatusServiceUnavailable, `{"status":"unhealthy","error":"Whitelist storage not accessible"}`)
	default:
		writeJSON(w, http.StatusOK, `{"status":"ok"}`)
	}
}

func wrongMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	writeJSON(w, http.StatusMethodNotAllowed, `{"detail":"Method Not Allowed"}`)
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) //nolint:gosec // JSON, and said to be; a client that has gone needs no answer
}

// opened is the answer to a knock; its order is fixed.
type opened struct {
	Entry   string `json:"whitelisted_entry"`
	Expires int64  `json:"expires_at"`
	Seconds int64  `json:"expires_in_seconds"`
}

func (r Result) answer() (status int, body string) {
	if r.Outcome == Opened {
		text, err := json.Marshal(opened{r.Entry, r.Expires, r.Seconds})
		if err == nil {
			return http.StatusOK, string(text)
		}
	}
	status, text := r.Outcome.words()
	return status, `{"error":"` + text + `"}`
}
