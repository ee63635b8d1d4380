package oidc

import (
	"context"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/singleflight"
)

// How often the issuer is asked, and for how long.
const (
	everyUp   = 10 * time.Second // between probes while it answers
	everyDown = 2 * time.Second  // between probes while it does not
	fresh     = 5 * time.Second  // an answer this young is believed
	freshDown = 1 * time.Second  // a failure this young is believed
	probeTime = 5 * time.Second  // one probe
	askTime   = 2 * time.Second  // how long a person waits for a probe
)

// state is what the newest probe found; it is never changed.
type state struct {
	known *metadata // the newest good discovery document, kept over failures; nil until the first
	err   error     // why the newest probe failed, or nil
	at    time.Time // of the newest contact
}

// answer answers what may be asked of the issuer now.
func (s *state) answer() (*metadata, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.known, nil
}

// believed reports whether the state is young enough to act upon.
func (s *state) believed(now time.Time) bool {
	if s == nil {
		return false
	}
	age := now.Sub(s.at)
	if s.err != nil {
		return age >= 0 && age < freshDown
	}
	return age >= 0 && age < fresh
}

// Ready implements outpost.Issuer: nil while the newest probe succeeded, else
// an error that wraps outpost.ErrUnavailable with the issuer's URL and the
// cause in words. It reads one atomic value.
func (p *Provider) Ready() error {
	if s := p.state.Load(); s != nil {
		return s.err
	}
	return p.unavailable("it has not been asked yet")
}

// Meet asks the issuer for the first time, and waits for the answer as long as
// a person would: 2 s at most, or until ctx ends. Ready tells what came of it.
func (p *Provider) Meet(ctx context.Context) { _, _ = p.contact(ctx) }

// Follow watches the issuer until ctx ends: about every 10 s while it answers
// and every 2 s while it does not, each probe within 5 s.
func (p *Provider) Follow(ctx context.Context) {
	defer p.calls.CloseIdle()
	for next := p.next(); ; next = p.next() {
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return
		}
		select {
		case <-p.probe():
		case <-ctx.Done():
			return
		}
	}
}

// next answers how long to wait for the next probe; not at all for the first.
func (p *Provider) next() time.Duration {
	switch s := p.state.Load(); {
	case s == nil:
		return 0
	case s.err != nil:
		return jitter(everyDown)
	}
	return jitter(everyUp)
}

// jitter spreads d by a fifth each way, so that many outposts that lost their
// issuer at one moment do not come back at one moment.
func jitter(d time.Duration) time.Duration {
	return d*4/5 + rand.N(d*2/5) //nolint:gosec // no secret
}

// contact answers what the issuer announces, asking it first when what is
// known is not fresh. Waiting ends after 2 s or with ctx; the probe goes on
// without us, for the next one who asks. Until it has failed, what the newest
// good one found goes on.
func (p *Provider) contact(ctx context.Context) (*metadata, error) {
	if s := p.state.Load(); s.believed(p.opts.Now()) {
		return s.answer()
	}
	timer := time.NewTimer(askTime)
	defer timer.Stop()
	select {
	case <-p.probe():
		return p.state.Load().answer()
	case <-timer.C:
		if s := p.state.Load(); s != nil && s.err == nil { // slow is not gone: the probe will tell
			return s.known, nil
		}
		return nil, p.unavailable("no answer within " + askTime.String())
	case <-ctx.Done():
		return nil, p.unavailable("the question was given up: " + ctx.Err().Error())
	}
}

// probe asks for the discovery document and remembers what came of it. The
// channel gets a value when that is done; who asks meanwhile waits for the
// same probe.
func (p *Provider) probe() <-chan singleflight.Result {
	return p.flight.DoChan("discovery", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), min(probeTime, p.opts.Timeout))
		defer cancel()
		before := p.state.Load()
		after := &state{}
		if before != nil {
			after.known = before.known
		}
		if known, err := p.discover(ctx, after.known); err != nil {
			after.err = err
		} else {
			after.known = known
		}
		after.at = p.opts.Now()
		p.state.Store(after)
		p.tell(before, after)
		return nil, nil
	})
}

// tell tells a change, once.
func (p *Provider) tell(before, after *state) {
	text := func(s *state) string {
		switch {
		case s == nil:
			return "unknown"
		case s.err != nil:
			return s.err.Error()
		}
		return ""
	}
	if text(before) != text(after) {
		p.opts.Changed(after.err)
	}
}
