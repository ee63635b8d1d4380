package jwks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token/call"
)

// How often keys are asked for.
const (
	between    = 30 * time.Second // two questions, whatever the reason
	first      = 1 * time.Second  // two questions while there are no keys at all
	minLife    = 5 * time.Minute  // of a set, whatever its Cache-Control says
	usualLife  = 1 * time.Hour    // of a set that says nothing
	maxLife    = 24 * time.Hour   // of a set, whatever its Cache-Control says
	grace      = 1 * time.Minute  // beyond its life a set serves while it is refreshed
	staleAfter = 24 * time.Hour   // beyond its life a set serves while the issuer is down
	maxBody    = 1 << 20          // bytes of an answer
)

// Options is what a Source is made of.
type Options struct {
	Issuer     string        // exactly as in "iss"
	URL        string        // of the key set; "" means that discovery tells it
	Algorithms []string      // that may sign
	Timeout    time.Duration // of one refresh, discovery included
	Client     *call.Client
	Now        func() time.Time
}

// Source answers the keys of one issuer. It may be used by many at once.
type Source struct {
	opts   Options
	state  atomic.Pointer[state]
	mu     sync.Mutex
	flight chan struct{} // closed when the refresh in progress has ended; nil when there is none
}

// state is what the refreshes so far came to; it is never changed.
type state struct {
	set   *Set      // the last good one, or nil
	url   string    // where keys are, or "" when discovery has to tell
	tried time.Time // when the newest refresh ended
	due   time.Time // when to ask again
	ends  time.Time // until when set serves
	err   error     // why the newest refresh failed
}

// New makes a Source; it does no I/O.
func New(o Options) *Source {
	s := &Source{opts: o}
	s.state.Store(&state{url: o.URL})
	return s
}

// Ready answers nil unless the newest refresh failed. It does no I/O.
func (s *Source) Ready() error { return s.state.Load().err }

// Fresh answers the keys when they are there and within their life, else nil.
// It never waits; keys that are due are refreshed in the background.
func (s *Source) Fresh() *Set {
	st, now := s.state.Load(), s.opts.Now()
	if st.set == nil || now.Before(st.due) {
		return st.set
	}
	s.refresh()
	if now.Before(st.due.Add(grace)) {
		return st.servable(now)
	}
	return nil
}

// Set answers the keys, and waits for them when there are none or they are
// long past their life: at most for the timeout, or until ctx ends. Keys that
// cannot be refreshed serve for another 24 h. The error wraps
// outpost.ErrUnavailable.
func (s *Source) Set(ctx context.Context) (*Set, error) {
	if set := s.Fresh(); set != nil {
		return set, nil
	}
	err := s.wait(ctx)
	st := s.state.Load()
	if set := st.servable(s.opts.Now()); set != nil {
		return set, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, st.err
}

// Newer answers a set that is newer than the one in which a key was missing,
// or the same when the issuer was asked less than 30 s ago. The error, which
// wraps outpost.ErrUnavailable, means that nobody can tell whether the key
// exists.
func (s *Source) Newer(ctx context.Context, than *Set) (*Set, error) {
	if st := s.state.Load(); st.set != than {
		return st.set, nil
	}
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	st := s.state.Load()
	return st.set, st.err
}

func (st *state) servable(now time.Time) *Set {
	if st.set == nil || !now.Before(st.ends) {
		return nil
	}
	return st.set
}

// wait waits for a refresh, which goes on without us when ctx ends.
func (s *Source) wait(ctx context.Context) error {
	select {
	case <-s.refresh():
		return nil
	case <-ctx.Done():
		return s.unavailable(errors.New("the question for its keys was given up"))
	}
}

// refresh begins a refresh unless one is in progress, or the last is too
// young, and answers a channel that is closed when it has ended.
func (s *Source) refresh() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	done := make(chan struct{})
	st := s.state.Load()
	if s.opts.Now().Before(st.next()) {
		close(done)
		return done
	}
	s.flight = done
	go func() {
		s.state.Store(s.asked(st))
		s.mu.Lock()
		s.flight = nil
		s.mu.Unlock()
		close(done)
	}()
	return done
}

// next answers before when nobody is asked again.
func (st *state) next() time.Time {
	switch {
	case st.tried.IsZero():
		return time.Time{}
	case st.set == nil:
		return st.tried.Add(first)
	}
	return st.tried.Add(between)
}

// asked asks the issuer and answers what is known then.
func (s *Source) asked(before *state) *state {
	// Its own context: the client who happened to be the first to ask may
	// leave, and the others wait for the same answer.
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.Timeout)
	defer cancel()
	after := *before
	set, life, err := s.fetch(ctx, &after)
	after.tried = s.opts.Now() // the end: after an issuer that hung, the next client is not made to wait at once
	if err != nil {
		after.url = s.opts.URL // it may have moved: discovery tells next time
		after.err = s.unavailable(err)
		after.due = after.tried.Add(between)
		return &after
	}
	if before.set == nil || before.set.digest != set.digest {
		after.set = set // only then: what was accepted by the old one would be checked again
	}
	after.err = nil
	after.due = after.tried.Add(life)
	after.ends = after.due.Add(staleAfter)
	return &after
}

func (s *Source) fetch(ctx context.Context, st *state) (*Set, time.Duration, error) {
	if st.url == "" {
		address, err := s.discover(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("discovery: %w", err)
		}
		st.url = address
	}
	header, body, err := s.get(ctx, "jwks", st.url)
	if err != nil {
		return nil, 0, fmt.Errorf("keys: %w", err)
	}
	set, err := parse(body, s.opts.Algorithms)
	return set, life(header), err
}

// discover asks where the keys are (OpenID Connect Discovery 1.0, section 4).
func (s *Source) discover(ctx context.Context) (string, error) {
	_, body, err := s.get(ctx, "discovery", strings.TrimSuffix(s.opts.Issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return "", errors.New("the document is no JSON, so another server than the issuer seems to answer there")
	}
	// Section 4.3: a document of another issuer would lend us its keys.
	if document.Issuer != s.opts.Issuer {
		return "", fmt.Errorf("the document says that its issuer is %.200q; write the issuer exactly so", document.Issuer)
	}
	u, err := url.Parse(document.Keys)
	if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || strings.HasPrefix(s.opts.Issuer, "https:")) {
		return "", errors.New("its jwks_uri is no http(s) URL, or plain http although the issuer is https")
	}
	return document.Keys, nil
}

func (s *Source) get(ctx context.Context, kind, address string) (http.Header, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, nil, errors.New("the address is no URL")
	}
	return s.opts.Client.Do(kind, r, maxBody)
}

// life answers how long a set is good (RFC 9111, section 5.2.2), within bounds.
func life(h http.Header) time.Duration {
	answer := usualLife
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h.Values("Cache-Control"), ",")), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name {
		case "no-store", "no-cache":
			return minLife
		case "max-age":
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				answer = time.Duration(n) * time.Second
			}
		}
	}
	return min(max(answer, minLife), maxLife)
}

func (s *Source) unavailable(cause error) error {
	return fmt.Errorf("issuer %s: %w: %w", s.opts.Issuer, outpost.ErrUnavailable, cause)
}
