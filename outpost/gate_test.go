package outpost

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/limit"
)

func TestTheGateIsAskedBeforeAnythingElse(t *testing.T) {
	down := fmt.Errorf("store: %w", ErrUnavailable)
	for _, row := range []struct {
		name   string
		gate   []Named
		uri    string
		want   Outcome
		reason Reason
	}{
		{"a lease opens it", []Named{{Provider: "door", Credential: vouch{id: &Identity{Provider: "door"}}}}, "/", Allow, ReasonAllowed},
		{"without one nobody passes", []Named{{Provider: "door", Credential: vouch{err: ErrNoCredential}}}, "/", Unauthorized, ReasonGate},
		{"not even to what is public", []Named{{Provider: "door", Credential: vouch{err: ErrNoCredential}}}, "/health", Unauthorized, ReasonGate},
		{"a bad lease is none", []Named{{Provider: "door", Credential: vouch{err: errors.New("bad")}}}, "/", Unauthorized, ReasonGate},
		{"a store that is gone is no refusal", []Named{{Provider: "door", Credential: vouch{err: down}}}, "/", Unavailable, ReasonUnavailable},
		{"one of several is enough", []Named{
			{Provider: "a", Credential: vouch{err: ErrNoCredential}}, {Provider: "b", Credential: vouch{id: &Identity{Provider: "b"}}},
		}, "/", Allow, ReasonAllowed},
		{"neither an identity nor an error is none", []Named{{Provider: "a", Credential: vouch{}}}, "/", Unauthorized, ReasonGate},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := &Application{
				Name: "wiki", Rules: policy(), Headers: mustHeaders(t, ""), Gate: row.gate,
				Credentials: []Named{{Provider: "company", Credential: vouch{id: bob}}},
			}
			if d := a.Decide(t.Context(), request(t, "GET", row.uri)); d.Outcome != row.want || d.Reason != row.reason {
				t.Errorf("got %v for %s", d.Outcome, d.Reason)
			}
		})
	}
}

func TestOurOwnPathsAreBeforeTheGate(t *testing.T) {
	a := &Application{
		Rules: policy(), Headers: mustHeaders(t, ""), Gate: []Named{{Provider: "door", Credential: vouch{err: ErrNoCredential}}},
		Own: func(r *Request) bool { return r.Path.Raw() == "/akprox/knock" },
	}
	if d := a.Decide(t.Context(), request(t, "GET", "/akprox/knock")); d.Outcome != Allow || d.Identity != nil {
		t.Errorf("got %v for %s", d.Outcome, d.Reason)
	}
}

// unclaimedKind answers as a kind that saw a token and does not know it.
var unclaimedKind = vouch{err: fmt.Errorf("no such key: %w", ErrUnclaimed)}

func TestWhatNobodyClaimsIsABadCredential(t *testing.T) {
	for _, row := range []struct {
		name      string
		kinds     []Named
		want      Outcome
		challenge string
	}{
		{"E14: nobody knows it", []Named{{Provider: "services", Scheme: "Bearer", Credential: unclaimedKind}}, Unauthorized, `Bearer realm="wiki", error="invalid_token"`},
		{"another kind knows it", []Named{{Provider: "services", Credential: unclaimedKind}, {Provider: "tokens", Credential: vouch{id: machine}}}, Allow, ""},
		{"nothing was presented: no error", []Named{{Provider: "services", Scheme: "Bearer", Credential: vouch{err: ErrNoCredential}}}, SignIn, `Bearer realm="wiki"`},
		{"a program is offered Basic", []Named{{Provider: "people", Scheme: "Basic", Credential: vouch{err: errors.New("bad")}}}, Unauthorized, `Basic realm="wiki", charset="UTF-8"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := &Application{Name: "wiki", Rules: NewRules(nil), Headers: mustHeaders(t, ""), Credentials: row.kinds, SignIn: &SignInWay{Provider: row.kinds[0].Provider}}
			d := a.Decide(t.Context(), request(t, "GET", "/"))
			if d.Outcome != row.want || d.Challenge != row.challenge {
				t.Errorf("got %v, %q", d.Outcome, d.Challenge)
			}
		})
	}
}

func TestAMissingScopeIsNamed(t *testing.T) {
	a := &Application{Name: "api", Rules: policy(), Headers: mustHeaders(t, ""), Credentials: []Named{{Provider: "services", Scheme: "Bearer", Credential: vouch{id: machine}}}}
	want := `Bearer realm="api", error="insufficient_scope", scope="orders:read orders:write"`
	if d := a.Decide(t.Context(), request(t, "POST", "/orders/1")); d.Outcome != Forbidden || d.Challenge != want {
		t.Errorf("got %v, %q", d.Outcome, d.Challenge)
	}
}

// failing is a limiter that cannot be asked.
type failing struct{}

func (failing) Full(string) bool { return false }

func (failing) Take(context.Context, string) (limit.Limit, error) {
	return limit.Limit{}, ErrUnavailable
}

func TestRateLimits(t *testing.T) {
	now := time.Now()
	clock := func() time.Time { return now }
	a := &Application{
		Name: "wiki", Headers: mustHeaders(t, ""), Limit: limit.New(3, 10*time.Second, clock),
		Rules:       NewRules([]Rule{{Name: "rules[0]", Paths: globs("/slow"), Admit: SignedIn, Limit: limit.New(1, time.Minute, clock)}}),
		Credentials: []Named{{Provider: "company"}}, SignIn: &SignInWay{Provider: "company", Issuer: silent{}},
	}
	ask := func(who *Identity, client, uri string) Decision {
		a.Credentials[0].Credential = vouch{id: who}
		if who == nil {
			a.Credentials[0].Credential = vouch{err: ErrNoCredential}
		}
		r := request(t, "GET", uri)
		if client != "" {
			r.Client = netip.MustParseAddr(client)
		}
		return a.Decide(t.Context(), r)
	}
	want := func(d Decision, want Outcome) {
		t.Helper()
		if d.Outcome != want {
			t.Errorf("got %v for %s, want %v", d.Outcome, d.Reason, want)
		}
	}
	for range 3 {
		want(ask(alice, "198.51.100.7", "/"), Allow)
	}
	d := ask(alice, "198.51.100.8", "/")
	want(d, RateLimited) // G13: per identity, from wherever
	if d.Retry < time.Second || d.Retry > 10*time.Second || d.Limit.Limit != 3 {
		t.Errorf("retry %v, limit %+v", d.Retry, d.Limit)
	}
	want(ask(bob, "198.51.100.7", "/"), Allow)
	for range 3 {
		want(ask(nil, "198.51.100.7", "/"), SignIn)
	}
	want(ask(nil, "198.51.100.7", "/"), RateLimited)
	want(ask(nil, "198.51.100.9", "/"), SignIn)
	want(ask(nil, "2001:db8::1", "/"), SignIn)
	now = now.Add(11 * time.Second)
	want(ask(alice, "", "/slow"), Allow)
	want(ask(alice, "", "/slow"), RateLimited)
	want(ask(alice, "", "/"), Allow)
	a.Limit = failing{}
	want(ask(bob, "", "/"), Unavailable)
}

// asking is a kind that has to ask somebody else.
type asking struct{ asked int }

func (a *asking) Identify(ctx context.Context, _ *Request) (*Identity, error) {
	if IsLocal(ctx) {
		return nil, ErrUnclaimed
	}
	a.asked++
	return nil, errors.New("bad token")
}

func TestAnAddressThatHasUsedUpItsLimitMakesNobodyWork(t *testing.T) {
	kind := &asking{}
	a := &Application{
		Name: "api", Rules: NewRules(nil), Headers: mustHeaders(t, ""), Limit: limit.New(3, time.Minute, nil),
		Credentials: []Named{{Provider: "opaque", Scheme: "Bearer", Credential: kind}},
	}
	r := request(t, "GET", "/")
	r.Client = netip.MustParseAddr("198.51.100.7")
	for i := range 50 {
		want := Unauthorized
		if i >= 3 {
			want = RateLimited
		}
		if d := a.Decide(t.Context(), r); d.Outcome != want {
			t.Fatalf("request %d: %v", i, d.Outcome)
		}
	}
	if kind.asked != 3 {
		t.Errorf("asked %d times", kind.asked)
	}
	r.Client = netip.MustParseAddr("198.51.100.8")
	if d := a.Decide(t.Context(), r); d.Outcome != Unauthorized || kind.asked != 4 {
		t.Errorf("another address: %v, asked %d times", d.Outcome, kind.asked)
	}
}

func TestRateLimitsAreOfTheirApplication(t *testing.T) {
	shared := limit.New(1, time.Minute, nil)
	for _, name := range []string{"a", "b"} {
		a := &Application{Name: name, Rules: NewRules(nil), Headers: mustHeaders(t, ""), Limit: shared, Credentials: []Named{{Provider: "company", Credential: vouch{id: bob}}}}
		if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome != Allow {
			t.Errorf("%s: %v", name, d.Outcome)
		}
	}
	if strings.Contains(string(ReasonRateLimit), " ") {
		t.Error("a reason is one word")
	}
}
