package outpost

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/akprox/akprox/outpost/limit"
)

// Identity is who a credential belongs to. It is immutable once a credential
// kind has answered it: several requests read it at once.
type Identity struct {
	Subject  string         `json:"sub"`
	Username string         `json:"username"`
	Email    string         `json:"email,omitempty"`
	Name     string         `json:"name,omitempty"`
	Groups   []string       `json:"groups,omitempty"`
	Scopes   []string       `json:"scopes,omitempty"`
	Claims   map[string]any `json:"claims,omitempty"` // all claims, for header mappings
	Provider string         `json:"provider"`         // name of the provider that vouches
	IDToken  string         `json:"id_token,omitempty"`

	rendered atomic.Pointer[rendered] // the headers last made of it; see HeaderMap.Headers
}

// Label answers what a log line calls this identity: the user name, else the
// subject, else "".
func (id *Identity) Label() string {
	switch {
	case id == nil:
		return ""
	case id.Username != "":
		return id.Username
	}
	return id.Subject
}

// CleanText reports whether s may name somebody: valid UTF-8, no control
// characters, no blank at either end. Anything else could reach a guarded
// program as another name than the one that was judged.
func CleanText(s string) bool {
	if s == "" {
		return true
	}
	if s[0] == ' ' || s[len(s)-1] == ' ' || !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		if c < 0x20 || c >= 0x7f && c < 0xa0 || c == 0x2028 || c == 0x2029 {
			return false
		}
	}
	return true
}

// Credential is one way to learn an identity.
type Credential interface {
	// Identify answers who presents the request. ErrNoCredential: nothing of
	// this kind is there, ask the next. An error wrapping ErrUnavailable:
	// nobody could be asked. Any other error: a credential was presented and
	// is bad; nobody else is asked. An identity is answered with a nil error
	// and with nothing else.
	Identify(ctx context.Context, r *Request) (*Identity, error)
}

// Passwords checks what somebody typed into the sign-in page.
type Passwords interface {
	// Check answers who signs in from client. An error that is Throttled means
	// that nobody looked; one wrapping ErrUnavailable, that nobody could; any
	// other is the one answer to an unknown name and a wrong password.
	Check(ctx context.Context, username, password string, client netip.Addr) (*Identity, error)
}

// Throttled is an error of a credential that was not looked at, good or bad,
// because too many before it were bad.
type Throttled interface {
	error
	// Throttled answers how long to wait; above 0.
	Throttled() time.Duration
}

// local marks a context in which no outside party may be asked.
type local struct{}

// Local answers a context in which a credential kind answers from what it has:
// an identity that it would have to ask somebody else about is ErrUnclaimed.
func Local(ctx context.Context) context.Context { return context.WithValue(ctx, local{}, true) }

// IsLocal reports whether ctx is one of Local.
func IsLocal(ctx context.Context) bool { return ctx.Value(local{}) != nil }

// Retrying is an error wrapping ErrUnavailable whose cause said when to ask
// again.
type Retrying interface {
	error
	// RetryAfter answers how long to wait; 0 when nobody said.
	RetryAfter() time.Duration
}

// Limiter counts requests against a limit.
type Limiter interface {
	// Full reports whether Take would surely refuse key now. It counts nothing
	// and does no I/O, so a limit that others have filled may not be known yet.
	Full(key string) bool
	// Take counts one request of key, unless the limit is reached. An error
	// means that nobody could count: the answer is Unavailable.
	Take(ctx context.Context, key string) (limit.Limit, error)
}

// Issuer is an OpenID issuer that people are sent to.
type Issuer interface {
	// AuthURL answers where the browser goes to sign in (OIDC Core 3.1.2.1).
	// The error wraps ErrUnavailable when discovery has not succeeded yet.
	AuthURL(ctx context.Context, q AuthQuery) (string, error)
	// Exchange redeems a code (OIDC Core 3.1.3) and answers the verified
	// grant. An error wrapping ErrUnavailable means that the issuer could not
	// be asked, any other that it said no or lied.
	Exchange(ctx context.Context, q AuthQuery, code string) (*Grant, error)
	// EndSessionURL answers where RP-initiated logout happens, or "" when
	// the issuer has no such endpoint (OIDC RP-Initiated Logout 1.0).
	EndSessionURL(ctx context.Context, idToken, returnTo string) (string, error)
	// Ready answers nil while the issuer is known to answer, and why not
	// otherwise. It does no I/O: it is asked on a request's path.
	Ready() error
}

// AuthQuery is what one sign-in asks an issuer with; the same values redeem
// the code.
type AuthQuery struct {
	RedirectURL string
	State       string
	Nonce       string
	Verifier    string // PKCE (RFC 7636), always S256
	Prompt      string // "" or an OIDC prompt value
}

// Grant is what an issuer granted: who, and the tokens that the session keeps.
type Grant struct {
	Identity *Identity
	SID      string    // the issuer's session id, for back-channel logout
	Refresh  string    // refresh token, or ""
	Expires  time.Time // of the access token; zero when not told
}

// Renewer is an optional power of an Issuer: it gives a grant a longer life
// (OIDC Core 12).
type Renewer interface {
	// Refresh redeems the refresh token of a grant and answers the new one,
	// with a Refresh of its own (the old one where the issuer did not rotate
	// it), for the same subject. An error wrapping ErrUnavailable means that the
	// issuer could not be asked and says nothing about the grant; any other,
	// that it said no or lied, and that the grant has ended. A grant beside an
	// error wrapping ErrUnavailable has a new refresh token and nothing else that
	// is new: the issuer replaced the old one, and then fell silent.
	Refresh(ctx context.Context, g *Grant) (*Grant, error)
}

// Logout is what a verified logout token says (OIDC Back-Channel Logout 1.0,
// section 2.4): whose sessions end.
type Logout struct {
	Subject string    // "" when it names a session alone
	SID     string    // the issuer's session id; "" means every session of Subject
	ID      string    // jti, to refuse it a second time
	Expires time.Time // after which the token itself is refused
}

// LogoutReader is an optional power of an Issuer: it verifies logout tokens
// (OIDC Back-Channel Logout 1.0, section 2.6), all but the replay.
type LogoutReader interface {
	// LogoutToken answers what raw says. ErrNoCredential: another issuer's or
	// another client's, ask the next. An error wrapping ErrUnavailable: the
	// issuer's keys could not be asked for. Any other error: it is not valid.
	LogoutToken(ctx context.Context, raw string) (*Logout, error)
}
