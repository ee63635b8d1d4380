package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/claims"
	"github.com/akprox/akprox/providers/token/call"
)

const (
	maxAnswer = 256 << 10        // bytes of an answer about a token
	minPause  = 1 * time.Second  // after a 429
	maxPause  = 30 * time.Second // after a 429, whatever its Retry-After says
	loudEvery = time.Minute
)

// introspect asks the issuer about one token. The error is an *Error when the
// issuer does not vouch for it, and an *Unavailable when nobody can tell.
func (i *Introspection) introspect(ctx context.Context, token string) (active, error) {
	began := i.opts.Now()
	if wait := time.Unix(0, i.pause.Load()).Sub(began); wait > 0 {
		return active{}, &Unavailable{Cause: "the issuer wants to be left alone", Retry: wait}
	}
	r, err := i.question(ctx, token)
	if err != nil {
		return active{}, i.failed(&Unavailable{Cause: "the introspection endpoint's address is no URL"})
	}
	_, body, err := i.client.Do("introspection", r, maxAnswer)
	if err != nil {
		return active{}, i.noAnswer(err)
	}
	a, err := i.judge(body)
	var refused *Error
	if err != nil && !errors.As(err, &refused) {
		return active{}, i.failed(&Unavailable{Cause: "introspection: bad answer: " + err.Error()})
	}
	i.failure.Store(nil)
	a.observed, a.answer = began, body // what the issuer said may be as old as the question
	return a, err
}

// question makes the request of RFC 7662, section 2.1.
func (i *Introspection) question(ctx context.Context, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if i.opts.Auth != AuthBasic && i.opts.ClientID != "" {
		form.Set("client_id", i.opts.ClientID)
	}
	if i.opts.Auth == AuthPost {
		form.Set("client_secret", i.opts.ClientSecret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.opts.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if i.opts.Auth == AuthBasic { // both parts form-encoded: RFC 6749, section 2.3.1
		r.SetBasicAuth(url.QueryEscape(i.opts.ClientID), url.QueryEscape(i.opts.ClientSecret))
	}
	return r, nil
}

// noAnswer says what a call means that did not end with 200.
func (i *Introspection) noAnswer(err error) error {
	failure := &Unavailable{Cause: "introspection: " + err.Error()}
	var status *call.Status
	switch {
	case !errors.As(err, &status) || status.Code >= 500:
	case status.Code == http.StatusTooManyRequests:
		now := i.opts.Now()
		failure.Retry = min(max(status.Retry, minPause), maxPause)
		i.pause.Store(now.Add(failure.Retry).UnixNano())
	case status.Code == http.StatusBadRequest && oauthError(status.Body) == "unsupported_token_type":
		// Some issuers say so about a JWT, which they do not introspect
		// (RFC 7009, section 2.2.1): it is about the token, not about us.
		i.failure.Store(nil)
		return bad("the issuer does not introspect tokens of this type")
	case refusesUs(status):
		i.loud(fmt.Sprintf("%s: the introspection endpoint refuses akprox itself: %s. Its tokens cannot be checked until url, client_id, client_secret and auth are right",
			i.opts.Name, status))
	}
	return i.failed(failure)
}

// refusesUs reports whether a status speaks of us, not of the token that was
// asked about: a client must not be able to raise the alarm.
func refusesUs(s *call.Status) bool {
	switch s.Code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	case http.StatusBadRequest:
		return oauthError(s.Body) == "invalid_client" || oauthError(s.Body) == "unauthorized_client"
	}
	return s.Code >= 300 && s.Code < 400
}

func oauthError(body []byte) string {
	var answer struct {
		Error string `json:"error"`
	}
	_ = json.Unmarshal(body, &answer) // what cannot be read says nothing
	return answer.Error
}

func (i *Introspection) failed(u *Unavailable) error {
	i.failure.Store(u)
	return u
}

// loud tells the operator, once a minute.
func (i *Introspection) loud(msg string) {
	now, last := i.opts.Now().UnixNano(), i.louded.Load()
	if (last == 0 || now-last >= int64(loudEvery)) && i.louded.CompareAndSwap(last, now) {
		i.opts.Loud(msg)
	}
}

// judge reads an answer (RFC 7662, section 2.2). An *Error means that the
// token is not good here, any other error that the answer makes no sense.
func (i *Introspection) judge(body []byte) (active, error) {
	told, err := claims.Decode(body)
	if err != nil {
		return active{}, err
	}
	switch told["active"] {
	case true:
	case false:
		return active{}, bad("its issuer says that it is not active")
	default:
		return active{}, errors.New("active is neither true nor false")
	}
	a, err := i.times(told)
	if err != nil {
		return active{}, err
	}
	if err := i.allowed(told); err != nil {
		return active{}, bad("%v", err)
	}
	subject, err := told.Subject("client_id") // of the client itself (client_credentials)
	if err != nil {
		return active{}, err
	}
	delete(told, "active") // it is about the token
	if a.id, err = i.opts.Claims.Identity(i.opts.Name, subject, told, policy); err != nil {
		return active{}, bad("%v", err)
	}
	a.size = sizeOf(body)
	return a, nil
}

// times checks when the token is good. There is no leeway for exp: the issuer
// has just looked at its own clock.
func (i *Introspection) times(told claims.Set) (active, error) {
	exp, err1 := told.Time("exp")
	nbf, err2 := told.Time("nbf")
	if err := errors.Join(err1, err2); err != nil {
		return active{}, err
	}
	a := active{from: nbf.Add(-DefaultLeeway), exp: exp}
	switch now := i.opts.Now(); {
	case !exp.IsZero() && !now.Before(exp):
		return a, bad("it expired at %s", exp.UTC().Format(time.RFC3339))
	case now.Before(a.from):
		return a, bad("it is not good before %s (nbf)", nbf.UTC().Format(time.RFC3339))
	}
	return a, nil
}

// allowed checks what kind of token it is, and for whom. A refresh token is
// active, too, and a token bound to a key (RFC 7800) is no bearer token.
func (i *Introspection) allowed(told claims.Set) error {
	use, err1 := told.Text("token_use")
	kind, err2 := told.Text("token_type")
	switch {
	case err1 != nil || use != "" && use != "access_token":
		return errors.New("it is no access token (token_use)")
	case err2 != nil || kind != "" && !strings.EqualFold(kind, "bearer") && kind != "access_token":
		return errors.New("it is no bearer token (token_type)")
	case told["cnf"] != nil:
		return errors.New("it is no bearer token: it has cnf")
	case i.opts.Issuer != "" && told["iss"] != i.opts.Issuer:
		return errors.New("its iss is not the allowed one")
	}
	if len(i.opts.Audience) > 0 {
		if err := oneOf(told, "aud", i.opts.Audience); err != nil {
			return err
		}
	}
	if len(i.opts.ClientIDs) > 0 {
		return oneOf(told, "client_id", i.opts.ClientIDs)
	}
	return nil
}
