package outpost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"testing"

	"github.com/akprox/akprox/outpost/canon"
)

// vouch is a credential kind that answers what a row says.
type vouch struct {
	id  *Identity
	err error
}

func (v vouch) Identify(context.Context, *Request) (*Identity, error) { return v.id, v.err }

// silent is an issuer of which only readiness is asked.
type silent struct{ down error }

func (silent) AuthURL(context.Context, AuthQuery) (string, error)            { return "", nil }
func (silent) Exchange(context.Context, AuthQuery, string) (*Grant, error)   { return nil, nil }
func (silent) EndSessionURL(context.Context, string, string) (string, error) { return "", nil }
func (s silent) Ready() error                                                { return s.down }

func mustHeaders(t *testing.T, preset string, set ...[2]string) *HeaderMap {
	t.Helper()
	m, err := NewHeaderMap(preset, "", set, Meta{Application: "wiki", Version: "akprox/test"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func request(t *testing.T, method, uri string) *Request {
	t.Helper()
	r := &Request{Method: method, Scheme: "https", Host: "wiki.example.com", Header: http.Header{}, Ways: WaysUnder("/akprox")}
	if uri != "" {
		var err error
		if r.Path, r.Query, err = canon.SplitURI(uri); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func globs(patterns ...string) (list []canon.Glob) {
	for _, p := range patterns {
		list = append(list, canon.NewGlob(p))
	}
	return list
}

var (
	alice   = &Identity{Subject: "1", Username: "alice", Groups: []string{"staff", "admin"}, Provider: "company"}
	bob     = &Identity{Subject: "2", Username: "bob", Groups: []string{"staff"}, Provider: "company"}
	machine = &Identity{Subject: "ci", Username: "ci", Scopes: []string{"orders:read"}, Provider: "services"}
)

// policy is the document's example, and more.
func policy() Rules {
	return NewRules([]Rule{
		{Name: "rules[0]", Paths: globs("/health", "/docs/**"), Admit: Anyone},
		{Name: "rules[1]", Paths: globs("/admin/**"), Groups: []string{"admin", "root"}, Admit: SignedIn},
		{Name: "rules[2]", Paths: globs("/orders/**"), Methods: []string{"GET"}, Scopes: []string{"orders:read"}, Admit: SignedIn},
		{Name: "rules[3]", Paths: globs("/orders/**"), Scopes: []string{"orders:read", "orders:write"}, Admit: SignedIn},
		{Name: "rules[4]", Paths: globs("/internal/**"), Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Admit: SignedIn},
		{Name: "rules[5]", Paths: globs("/internal/**"), Admit: Nobody},
		{Name: "rules[6]", Paths: globs("/old/**"), Admit: Nobody},
		{Name: "rules[7]", Paths: globs("/bob/**"), Users: []string{"bob"}, Admit: SignedIn},
		{Name: "rules[8]", Paths: globs("/api/**"), Credentials: []string{"services"}, Admit: SignedIn},
		{Name: "rules[9]", Paths: globs("/upload/**"), Methods: []string{"POST"}, Admit: Nobody},
		{Name: "rules[10]", Hosts: []HostPattern{"*.dev.example.com"}, Groups: []string{"dev"}, Admit: SignedIn},
	})
}

func TestDecide(t *testing.T) {
	down := fmt.Errorf("store: %w", ErrUnavailable)
	for _, row := range []struct {
		name   string
		method string
		uri    string
		client string
		host   string
		who    *Identity
		err    error // of the credential kind; nil with no identity: no credential
		want   Outcome
		reason Reason
		rule   string
	}{
		{"somebody signed in passes by default", "GET", "/", "", "", bob, nil, Allow, ReasonAllowed, "default"},
		{"nobody is sent to sign in by default", "GET", "/", "", "", nil, nil, SignIn, ReasonNoSession, "default"},
		{"a public path needs nobody", "GET", "/health", "", "", nil, nil, Allow, ReasonPublic, "rules[0]"},
		{"a public path is public with a slash at its end", "GET", "/health/", "", "", nil, nil, Allow, ReasonPublic, "rules[0]"},
		{"a public path still tells a good identity", "GET", "/health", "", "", bob, nil, Allow, ReasonAllowed, "rules[0]"},
		{"a public path ignores a bad credential", "GET", "/health", "", "", nil, errors.New("bad"), Allow, ReasonPublic, "rules[0]"},
		{"a public path ignores a store that is gone", "GET", "/docs/x", "", "", nil, down, Allow, ReasonPublic, "rules[0]"},
		{"G12: a longer word is another path", "GET", "/docsecret", "", "", nil, nil, SignIn, ReasonNoSession, "default"},
		{"a path is case-sensitive", "GET", "/Health", "", "", nil, nil, SignIn, ReasonNoSession, "default"},
		{"the query is never matched", "GET", "/x?/health", "", "", nil, nil, SignIn, ReasonNoSession, "default"},
		{"one of the groups is enough", "GET", "/admin/x", "", "", alice, nil, Allow, ReasonAllowed, "rules[1]"},
		{"without the group it is forbidden", "GET", "/admin", "", "", bob, nil, Forbidden, ReasonGroup, "rules[1]"},
		{"nobody is sent to sign in before groups are asked", "GET", "/admin", "", "", nil, nil, SignIn, ReasonNoSession, "rules[1]"},
		{"dot segments: the admin's path in a public one", "GET", "/docs/../admin", "", "", nil, nil, SignIn, ReasonNoSession, "rules[1]"},
		{"dot segments: for somebody without the group", "GET", "/docs/..%2fadmin", "", "", bob, nil, Forbidden, ReasonGroup, "rules[1]"},
		{"dot segments: for somebody with the group", "GET", "/docs/..%2fadmin", "", "", alice, nil, Allow, ReasonAllowed, ""},
		{"oauth2-proxy CVE-2026-41059: an encoded #", "GET", "/admin%23/../health", "", "", bob, nil, Forbidden, ReasonGroup, "rules[1]"},
		{"an encoded slash passes who may use both readings", "GET", "/api2/group%2Fname", "", "", bob, nil, Allow, ReasonAllowed, "default"},
		{"all scopes are needed", "POST", "/orders", "", "", machine, nil, Forbidden, ReasonScope, "rules[3]"},
		{"G11: the method chooses the rule", "GET", "/orders/1", "", "", machine, nil, Allow, ReasonAllowed, "rules[2]"},
		{"HEAD follows GET", "HEAD", "/orders/1", "", "", machine, nil, Allow, ReasonAllowed, "rules[2]"},
		{"an unknown method must satisfy all rules that it could mean", "", "/orders/1", "", "", machine, nil, Forbidden, ReasonScope, "rules[3]"},
		{"an unknown method does not slip past a refusal", "", "/upload/x", "", "", bob, nil, Forbidden, ReasonNobody, ""},
		{"a known method that is not listed goes on", "GET", "/upload/x", "", "", bob, nil, Allow, ReasonAllowed, "default"},
		{"the network fits", "GET", "/internal/x", "10.1.2.3", "", bob, nil, Allow, ReasonAllowed, "rules[4]"},
		{"the network does not fit", "GET", "/internal/x", "192.0.2.1", "", bob, nil, Forbidden, ReasonNobody, "rules[5]"},
		{"CVE-2023-36456: an unknown client is not skipped past", "GET", "/internal/x", "", "", bob, nil, Forbidden, ReasonClientUnknown, "rules[4]"},
		{"nobody passes", "GET", "/old/x", "", "", alice, nil, Forbidden, ReasonNobody, "rules[6]"},
		{"nobody passes, and nobody is sent to sign in for it", "GET", "/old/x", "", "", nil, nil, Forbidden, ReasonNobody, "rules[6]"},
		{"a listed user passes", "GET", "/bob/", "", "", bob, nil, Allow, ReasonAllowed, "rules[7]"},
		{"another user does not", "GET", "/bob/", "", "", alice, nil, Forbidden, ReasonUser, "rules[7]"},
		{"a listed provider vouches", "GET", "/api/x", "", "", machine, nil, Allow, ReasonAllowed, "rules[8]"},
		{"somebody known by another provider is told so", "GET", "/api/x", "", "", bob, nil, Forbidden, ReasonCredential, "rules[8]"},
		{"where the sign-in is not accepted nobody is sent there", "GET", "/api/x", "", "", nil, nil, Unauthorized, ReasonNoCredential, "rules[8]"},
		{"a host pattern fits under it", "GET", "/", "", "x.dev.example.com", bob, nil, Forbidden, ReasonGroup, "rules[10]"},
		{"a host pattern does not fit itself", "GET", "/", "", "dev.example.com", bob, nil, Allow, ReasonAllowed, "default"},
		{"a host pattern ends at a label", "GET", "/", "", "evildev.example.com", bob, nil, Allow, ReasonAllowed, "default"},
		{"a bad credential is refused", "GET", "/", "", "", nil, errors.New("bad"), Unauthorized, ReasonBadCredential, "default"},
		{"a store that is gone is no refusal", "GET", "/", "", "", nil, down, Unavailable, ReasonUnavailable, "default"},
		{"an unknown path does not open what has conditions on paths", "GET", "", "", "", alice, nil, Forbidden, ReasonPathUnknown, "rules[0]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := request(t, row.method, row.uri)
			if row.client != "" {
				r.Client = netip.MustParseAddr(row.client)
			}
			if row.host != "" {
				r.Host = row.host
			}
			v := vouch{row.who, row.err}
			if v.id == nil && v.err == nil {
				v.err = ErrNoCredential
			}
			provider := "company"
			if row.who == machine {
				provider = "services"
			}
			a := &Application{
				Name: "wiki", External: External{Scheme: "https", Host: "wiki.example.com", Path: "/"}, Rules: policy(),
				Headers: mustHeaders(t, "akprox"), Credentials: []Named{{Provider: provider, Credential: v}},
				SignIn: &SignInWay{Provider: "company", Issuer: silent{}},
			}
			d := a.Decide(t.Context(), r)
			if d.Outcome != row.want || d.Reason != row.reason {
				t.Errorf("got %v for %s by %s, want %v for %s", d.Outcome, d.Reason, d.Rule, row.want, row.reason)
			}
			if row.rule != "" && d.Rule != row.rule {
				t.Errorf("decided by %s, want %s", d.Rule, row.rule)
			}
			if (d.Outcome == Allow) != (len(d.Headers) == 5) {
				t.Errorf("%v with %d headers", d.Outcome, len(d.Headers))
			}
		})
	}
}

func TestTheZeroValuesDeny(t *testing.T) {
	var d Decision
	if d.Outcome != Forbidden {
		t.Errorf("the zero Decision is %v", d.Outcome)
	}
	a := &Application{Credentials: []Named{{Provider: "company", Credential: vouch{id: alice}}}, Headers: mustHeaders(t, "")}
	if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome == Allow {
		t.Error("an application without rules allows")
	}
	a.Rules = NewRules([]Rule{{Name: "rules[0]"}})
	if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome == Allow {
		t.Error("the zero Rule allows")
	}
	if rule, reason := a.Rules.Check(Demand{}, alice); reason == "" {
		t.Errorf("nothing demanded is enough, says %v", rule)
	}
	if got := Outcome(99).String(); got != "forbidden" {
		t.Errorf("an outcome that does not exist is %s", got)
	}
}

func TestANilIdentityWithoutAnErrorIsRefused(t *testing.T) {
	a := &Application{Rules: NewRules(nil), Headers: mustHeaders(t, ""), Credentials: []Named{{Provider: "x", Credential: vouch{}}}}
	if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome == Allow || d.Outcome == SignIn {
		t.Errorf("got %v", d.Outcome)
	}
}

func TestAnIssuerThatIsDownIsUnavailableForNewcomersAlone(t *testing.T) {
	a := &Application{
		Rules: NewRules(nil), Headers: mustHeaders(t, ""), Credentials: []Named{{Provider: "company", Credential: vouch{err: ErrNoCredential}}},
		SignIn: &SignInWay{Provider: "company", Issuer: silent{fmt.Errorf("no answer: %w", ErrUnavailable)}},
	}
	if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome != Unavailable || d.Reason != ReasonIssuer || d.Retry == 0 {
		t.Errorf("a newcomer: %v for %s", d.Outcome, d.Reason)
	}
	a.Credentials[0].Credential = vouch{id: alice}
	if d := a.Decide(t.Context(), request(t, "GET", "/")); d.Outcome != Allow {
		t.Errorf("somebody signed in: %v for %s", d.Outcome, d.Reason)
	}
}

func TestTheFirstKindThatAnswersIsBelieved(t *testing.T) {
	refusing := vouch{err: errors.New("bad")}
	for _, row := range []struct {
		name  string
		kinds []Named
		want  Outcome
		who   *Identity
	}{
		{"not mine asks the next", []Named{{Provider: "a", Credential: vouch{err: ErrNoCredential}}, {Provider: "b", Credential: vouch{id: bob}}}, Allow, bob},
		{"a bad one ends it", []Named{{Provider: "a", Credential: refusing}, {Provider: "b", Credential: vouch{id: bob}}}, Unauthorized, nil},
		{"an unavailable one ends it", []Named{{Provider: "a", Credential: vouch{err: ErrUnavailable}}, {Provider: "b", Credential: vouch{id: bob}}}, Unavailable, nil},
		{"the document's order counts", []Named{{Provider: "a", Credential: vouch{id: alice}}, {Provider: "b", Credential: vouch{id: bob}}}, Allow, alice},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := &Application{Rules: NewRules(nil), Headers: mustHeaders(t, ""), Credentials: row.kinds}
			d := a.Decide(t.Context(), request(t, "GET", "/"))
			if d.Outcome != row.want || d.Identity != row.who {
				t.Errorf("got %v for %s", d.Outcome, d.Identity.Label())
			}
		})
	}
}

func TestAForgedHeaderThatTheProxyWouldPassOnIsRefused(t *testing.T) {
	a := &Application{
		Rules: NewRules([]Rule{{Name: "rules[0]", Admit: Anyone}}), Headers: mustHeaders(t, "remote"),
		Credentials: []Named{{Provider: "a", Credential: vouch{err: ErrNoCredential}}},
	}
	r := request(t, "GET", "/")
	r.Header.Set("Remote-User", "admin")
	if d := a.Decide(t.Context(), r); d.Outcome != Allow {
		t.Errorf("a proxy that replaces it: %v", d.Outcome)
	}
	r.PassesForged = true
	if d := a.Decide(t.Context(), r); d.Outcome != Malformed || d.Reason != ReasonSpoofedIdentity {
		t.Errorf("a proxy that passes it on: %v for %s", d.Outcome, d.Reason)
	}
}

func TestStartURLComesBackToTheRequest(t *testing.T) {
	single := &Application{External: External{"https", "wiki.example.com:8443", "/"}}
	domain := &Application{External: External{"https", "auth.example.com", "/"}, Domain: "example.com"}
	r := request(t, "GET", "/a%20b?c=1&d=2")
	for _, row := range []struct {
		app  *Application
		want string
	}{
		{single, "https://wiki.example.com:8443/akprox/start?rd=https%3A%2F%2Fwiki.example.com%3A8443%2Fa%2520b%3Fc%3D1%26d%3D2"},
		{domain, "https://auth.example.com/akprox/start?rd=https%3A%2F%2Fwiki.example.com%2Fa%2520b%3Fc%3D1%26d%3D2"},
	} {
		if got := row.app.startURL(r); got != row.want {
			t.Errorf("got  %s\nwant %s", got, row.want)
		}
	}
	if got, want := single.startURL(request(t, "GET", "")), "https://wiki.example.com:8443/akprox/start?rd=https%3A%2F%2Fwiki.example.com%3A8443%2F"; got != want {
		t.Errorf("without a path: %s", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	m, _ := NewHeaderMap("", "", nil, Meta{})
	a := &Application{Rules: NewRules(nil), Headers: m, Credentials: []Named{{Provider: "company", Credential: vouch{id: alice}}}}
	r := &Request{Method: "GET", Scheme: "https", Host: "wiki.example.com"}
	r.Path, _, _ = canon.SplitURI("/a/b/c")
	b.ReportAllocs()
	for b.Loop() {
		if d := a.Decide(b.Context(), r); d.Outcome != Allow {
			b.Fatal(d.Outcome)
		}
	}
}
