package oidc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	goidc "github.com/coreos/go-oidc/v3/oidc"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/oidc/backchannel"
)

// What bounds a logout token.
const (
	maxLogout     = 16 << 10         // bytes of it; real ones have about 1 KiB
	maxName       = 256              // bytes of its sub, sid and jti (OIDC Core 2 has 255 for sub)
	logoutLife    = 2 * time.Minute  // of one that has no exp: what section 2.4 asks issuers to keep to
	maxLogoutLife = time.Hour        // of any, whatever its exp: it is remembered for so long
	keysPause     = 10 * time.Second // between two questions for keys that tokens cause, which anybody may send
)

// logoutEvent is the member of events that makes a token a logout token (OIDC
// Back-Channel Logout 1.0, section 2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

var _ outpost.LogoutReader = (*Provider)(nil)

// LogoutToken implements outpost.LogoutReader (OIDC Back-Channel Logout 1.0,
// section 2.6). Anybody may send one, so the cheap things come first: only a
// token that is right in all but its signature costs signatures, two for each
// key that it may be of, and only one with a key that is not known a question to
// the issuer, of which there is one in 10 s at most.
//
// A token without exp, which the final standard requires and some issuers do
// not send, is good for two minutes after its iat. No error quotes the token.
func (p *Provider) LogoutToken(ctx context.Context, raw string) (*outpost.Logout, error) {
	t, err := takeLogoutApart(raw)
	if err != nil {
		return nil, p.badLogout(err)
	}
	if err := p.checkAddressee(t.claims); err != nil {
		return nil, err
	}
	if err := cmp.Or(checkLogoutHeader(t.header), checkLogoutClaims(t.claims)); err != nil {
		return nil, p.badLogout(err)
	}
	told, err := p.readLogout(t.claims)
	if err != nil {
		return nil, p.badLogout(err)
	}
	known, err := p.announced(ctx)
	if err != nil {
		return nil, err
	}
	if alg, _ := t.header.Text("alg"); !slices.Contains(known.algorithms, alg) {
		return nil, p.badLogout(errors.New("its alg is not one that the issuer announces"))
	}
	if err := p.checkLogoutSignature(ctx, known, raw, t.payload); err != nil {
		return nil, err
	}
	return told, nil
}

func (p *Provider) badLogout(cause error) error { return p.bad("bad logout token: " + cause.Error()) }

// logoutParts is a logout token taken apart; nothing of it is believed yet.
type logoutParts struct {
	header, claims claims.Set
	payload        []byte
}

// takeLogoutApart decodes header and claims. The encoding is read strictly:
// one token has one spelling.
func takeLogoutApart(raw string) (t logoutParts, err error) {
	if len(raw) > maxLogout {
		return t, fmt.Errorf("it is longer than %d KiB", maxLogout>>10)
	}
	split := strings.SplitN(raw, ".", 6)
	switch len(split) {
	case 3:
	case 5:
		return t, errors.New("it is encrypted, which is not supported; let the issuer only sign it")
	default:
		return t, errors.New("it is no JWT")
	}
	var decoded [3][]byte
	for i, s := range split {
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(s); err != nil || len(decoded[i]) == 0 && i < 2 || strings.ContainsAny(s, "\r\n") {
			return t, errors.New("one of its three parts is no base64url")
		}
	}
	if t.header, err = claims.Decode(decoded[0]); err != nil {
		return t, fmt.Errorf("header: %w", err)
	}
	if t.claims, err = claims.Decode(decoded[1]); err != nil {
		return t, fmt.Errorf("claims: %w", err)
	}
	t.payload = decoded[1]
	return t, nil
}

// checkAddressee answers outpost.ErrNoCredential for a token of another issuer
// or for another client.
func (p *Provider) checkAddressee(c claims.Set) error {
	iss, err1 := c.Text("iss")
	aud, err2 := c.Texts("aud")
	switch err := cmp.Or(err1, err2); {
	case err != nil:
		return p.badLogout(err)
	case iss == "" || len(aud) == 0:
		return p.badLogout(errors.New("it lacks iss or aud"))
	case iss != p.opts.Issuer:
		return fmt.Errorf("issuer %s: %w: the logout token is another issuer's", p.opts.Issuer, outpost.ErrNoCredential)
	case !slices.Contains(aud, p.opts.ClientID):
		return fmt.Errorf("issuer %s: %w: the logout token is for another client", p.opts.Issuer, outpost.ErrNoCredential)
	}
	return nil
}

// checkLogoutHeader checks the header. jku, x5u, jwk and x5c are never used:
// they would let a token bring its own key.
func checkLogoutHeader(h claims.Set) error {
	alg, err := h.Text("alg")
	if err != nil || !slices.Contains(algorithms(), alg) {
		return errors.New("its alg is none that may sign: asymmetric ones alone")
	}
	for _, name := range []string{"crit", "b64"} { // no extension is understood here (RFC 7515, section 4.1.11)
		if _, there := h[name]; there {
			return fmt.Errorf("its header has %s", name)
		}
	}
	if _, there := h["typ"]; !there { // section 2.4 only recommends one
		return nil
	}
	typ, _ := h.Text("typ")
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "logout+jwt", "jwt":
		return nil
	}
	return errors.New("its typ is not logout+jwt")
}

// checkLogoutClaims refuses what an issuer signs with the same keys and is no
// logout token.
func checkLogoutClaims(c claims.Set) error {
	if _, there := c["nonce"]; there { // an ID token, sent on as a logout token
		return errors.New("it has a nonce, which no logout token has")
	}
	events, ok := c["events"].(map[string]any)
	if !ok {
		return errors.New("it has no events")
	}
	if _, ok := events[logoutEvent].(map[string]any); !ok {
		return errors.New("its events are not that of a back-channel logout")
	}
	return nil
}

// readLogout answers what the claims say, when their times are good.
func (p *Provider) readLogout(c claims.Set) (*outpost.Logout, error) {
	told := &outpost.Logout{}
	for name, to := range map[string]*string{"sub": &told.Subject, "sid": &told.SID, "jti": &told.ID} {
		v, there := c[name]
		text, ok := v.(string)
		if there && (!ok || text == "" || len(text) > maxName) {
			return nil, fmt.Errorf("its %s is no text of 1 to %d bytes", name, maxName)
		}
		*to = text
	}
	switch {
	case told.ID == "":
		return nil, errors.New("it has no jti")
	case told.Subject == "" && told.SID == "":
		return nil, errors.New("it names nobody: it has neither sub nor sid")
	}
	var err error
	told.Expires, err = p.logoutTimes(c)
	return told, err
}

// logoutTimes answers until when the token is good. Clocks may differ as they
// may for ID tokens.
func (p *Provider) logoutTimes(c claims.Set) (time.Time, error) {
	iat, err1 := c.Time("iat")
	exp, err2 := c.Time("exp")
	nbf, err3 := c.Time("nbf")
	if err := cmp.Or(err1, err2, err3); err != nil {
		return time.Time{}, err
	}
	if exp.IsZero() {
		exp = iat.Add(logoutLife)
	}
	if latest := iat.Add(maxLogoutLife); exp.After(latest) {
		exp = latest
	}
	exp = exp.Add(leeway)
	now := p.opts.Now()
	switch {
	case iat.IsZero():
		return exp, errors.New("it has no iat")
	case iat.After(now.Add(ahead)) || nbf.After(now.Add(ahead)):
		return exp, errors.New("it says that it was made in the future; set the clocks")
	case !now.Before(exp):
		return exp, errors.New("it has expired, or was made too long ago; set the clocks")
	}
	return exp, nil
}

// checkLogoutSignature checks the signature; that alg may sign at all has been
// checked. go-oidc asks for the keys again when none of them fits.
func (p *Provider) checkLogoutSignature(ctx context.Context, known *metadata, raw string, payload []byte) error {
	signed, err := known.keys.logout.VerifySignature(ctx, raw)
	if errors.Is(err, errAsked) { // the answer may have come between its look at what it has and its question
		signed, err = known.keys.logout.VerifySignature(ctx, raw)
	}
	switch {
	case err == nil && bytes.Equal(signed, payload):
		return nil
	case errors.Is(err, errAsked):
		return p.badLogout(errors.New("its signature does not verify with the issuer's keys"))
	}
	if cause := backchannel.NoAnswer(err); cause != "" {
		return p.unavailable(cause)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return p.unavailable("the question for its keys was given up")
	}
	return p.badLogout(errors.New("its signature does not verify with the issuer's keys"))
}

// errAsked says that the keys were asked for a moment ago.
var errAsked = errors.New("the keys were asked for a moment ago")

// sparing asks once in a while: logout tokens come from anybody, and each that
// names a key that nobody has would have the issuer asked.
type sparing struct {
	http.RoundTripper
	now func() time.Time

	mu   sync.Mutex
	last time.Time
	err  error // of the newest question
}

// RoundTrip implements http.RoundTripper.
func (s *sparing) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // go-oidc asks one question at a time
	if since := s.now().Sub(s.last); !s.last.IsZero() && since >= 0 && since < keysPause {
		if s.err != nil {
			return nil, s.err
		}
		return nil, errAsked
	}
	resp, err := s.RoundTripper.RoundTrip(r)
	s.last, s.err = s.now(), err
	return resp, err
}

// logoutKeys answers the keys at url for logout tokens.
func (p *Provider) logoutKeys(url string) goidc.KeySet {
	client := *p.calls.Keys
	client.Transport = &sparing{RoundTripper: client.Transport, now: p.opts.Now}
	return goidc.NewRemoteKeySet(goidc.ClientContext(context.Background(), &client), url)
}
