// Package backchannel is where issuers say that a session has ended there
// (OpenID Connect Back-Channel Logout 1.0): it reads what they post, has it
// verified, refuses what was used before, and ends what it names. It knows
// neither signatures nor sessions.
package backchannel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/limit"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/signin/words"
)

const (
	prefix      = "logout:" // of the keys of used logout tokens
	maxBody     = 32 << 10  // bytes of what is posted
	maxBadLines = 60        // log lines a minute about tokens that are refused
	patience    = 10 * time.Second
	skew        = 5 * time.Minute // a clock that is so much behind takes a token for good still
)

// Options is what a Handler is made of; all of it is required.
type Options struct {
	Issuers map[string]outpost.Issuer // by provider; those that are no outpost.LogoutReader send nothing
	// End ends what a verified token of provider names, and says how many
	// sessions that were. An error wraps outpost.ErrUnavailable.
	End       func(ctx context.Context, provider string, told *outpost.Logout) (int, error)
	Store     store.Store // a store.Claimer
	Now       func() time.Time
	Log       logrus.FieldLogger
	RequestID func(*http.Request) string
	Observe   func(application, result string) // result is one of words.All
	Client    func(*http.Request) netip.Addr   // whose request it is; the zero value when not known
}

// New answers the handler of backchannel_logout: issuers post logout tokens,
// and the sessions that they name end. The token proves itself, so neither the
// host nor the sender matters.
//
// Whatever goes wrong is 400, as section 2.8 has it, with words in the body
// that tell the issuer whether to try again, and a line in the log that tells
// us. Nobody is locked out for what others send: a bad token costs little, and
// beyond 60 a minute not even a line.
func New(o Options) http.Handler {
	bad := limit.New(maxBadLines, time.Minute, o.Now)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(patience))
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), patience)
		defer cancel()
		c := &call{Options: o, bad: bad, w: w, r: r, ctx: ctx, request: o.RequestID(r)}
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			c.answer(http.StatusMethodNotAllowed, "invalid_request", "POST the logout token")
			return
		}
		raw, err := logoutToken(r)
		if err != nil {
			c.refuse(words.BadLogout, "", err)
			return
		}
		c.logout(raw)
	})
}

// call is one logout token that was sent.
type call struct {
	Options
	bad     *limit.Memory // log lines about bad tokens
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context // bounded, and not ended by an issuer that leaves
	request string
}

// logoutToken reads what was posted (section 2.5).
func logoutToken(r *http.Request) (string, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return "", errors.New("the body is not application/x-www-form-urlencoded")
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case len(body) > maxBody:
		return "", errors.New("the body is larger than any logout token")
	case err != nil:
		return "", errors.New("the body did not arrive")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || len(form["logout_token"]) != 1 || form.Get("logout_token") == "" {
		return "", errors.New("the body does not hold one logout_token")
	}
	return form.Get("logout_token"), nil
}

// logout verifies a token and ends what it names. Several providers may have
// the same issuer and client, so each is asked; what cannot be done for one of
// them is done when the issuer sends the token again, though the others have
// used it.
func (c *call) logout(raw string) {
	done := false
	said := map[string]refusal{}
	for _, provider := range slices.Sorted(maps.Keys(c.Issuers)) {
		reader, ok := c.Issuers[provider].(outpost.LogoutReader)
		if !ok {
			continue
		}
		result := words.BadLogout
		told, err := reader.LogoutToken(c.ctx, raw)
		switch {
		case err == nil:
			result, err = c.obey(provider, told)
		case errors.Is(err, outpost.ErrNoCredential):
			continue
		case errors.Is(err, outpost.ErrUnavailable):
			result = words.IssuerDown
		}
		if err != nil {
			said[result] = refusal{provider, err}
		}
		done = done || err == nil
	}
	for _, result := range []string{words.Unavailable, words.IssuerDown, words.IssuerOut, words.OldLogout, words.BadLogout} {
		if r, refused := said[result]; refused {
			c.refuse(result, r.provider, r.err)
			return
		}
		if done && result == words.IssuerOut {
			c.w.WriteHeader(http.StatusOK)
			return
		}
	}
	c.refuse(words.BadLogout, "", errors.New("the logout token is of no issuer and client that the document has"))
}

// refusal is why nothing was ended for a provider.
type refusal struct {
	provider string
	err      error
}

// obey ends what a verified token names, unless it was used before. It answers
// what became of it, in a word. That it is used is noted for good only when all
// has ended: should the process die meanwhile, the issuer may send it again.
func (c *call) obey(provider string, told *outpost.Logout) (string, error) {
	sum := sha256.Sum256([]byte(provider + "\n" + told.ID))
	key := prefix + base64.RawURLEncoding.EncodeToString(sum[:])
	switch err := c.claim(key); {
	case errors.Is(err, errReplayed):
		return words.OldLogout, err
	case err != nil:
		return words.Unavailable, err
	}
	n, err := c.End(c.ctx, provider, told)
	if err == nil {
		err = c.Store.Put(c.ctx, key, store.Item{Value: used, Expires: told.Expires.Add(skew)})
	}
	if err != nil {
		c.release(provider, key)
		return words.Unavailable, err
	}
	c.Observe("", words.IssuerOut)
	c.log(words.IssuerOut, provider).WithField("ended", n).Info("logout token")
	return words.IssuerOut, nil
}

var (
	errReplayed = errors.New("the logout token was used before")
	errUnderWay = errors.New("the logout token is being obeyed")
	errNoClaims = errors.New("the store cannot tell whether the logout token was used before")

	// used is what stands under the key of a token when all has ended.
	used = []byte{1}
)

// claim notes that a token is being used, for as long as this call may take.
func (c *call) claim(key string) error {
	claimer, ok := c.Store.(store.Claimer)
	if !ok {
		return errNoClaims
	}
	first, err := claimer.Claim(c.ctx, key, store.Item{Expires: c.Now().Add(2 * patience)})
	if first || err != nil {
		return err
	}
	switch item, err := c.Store.Get(c.ctx, key); {
	case err == nil && bytes.Equal(item.Value, used):
		return errReplayed
	case err == nil || errors.Is(err, store.ErrNotFound):
		return errUnderWay
	default:
		return err
	}
}

// release takes a claim back: the issuer may send the token again.
func (c *call) release(provider, key string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), patience)
	defer cancel()
	if err := c.Store.Delete(ctx, key); err != nil {
		c.log(words.Unavailable, provider).WithError(err).Warn("logout token")
	}
}

// refuse answers 400 and says why in the log alone: who sends what is no good
// need not know what we have.
func (c *call) refuse(result, provider string, err error) {
	c.Observe("", result)
	if result != words.BadLogout || c.badLines() {
		c.log(result, provider).WithError(err).Warn("logout token")
	}
	code, text := "invalid_request", "the logout token is not valid"
	switch result {
	case words.OldLogout:
		text = "the logout token was used before"
	case words.Unavailable, words.IssuerDown:
		c.w.Header().Set("Retry-After", "5")
		code, text = "temporarily_unavailable", "the sessions could not be ended; send it again"
	}
	c.answer(http.StatusBadRequest, code, text+"; akprox's log has more under "+c.request)
}

// badLines reports whether one more bad token is worth a line.
func (c *call) badLines() bool {
	l, err := c.bad.Take(c.ctx, "")
	return err != nil || l.OK
}

func (c *call) log(result, provider string) *logrus.Entry {
	fields := logrus.Fields{"result": result, "request": c.request}
	if provider != "" {
		fields["provider"] = provider
	}
	if client := c.Client(c.r); client.IsValid() {
		fields["client"] = client.String()
	}
	return c.Log.WithFields(fields)
}

// answer writes the body of RFC 6749, section 5.2, which section 2.8 names.
func (c *call) answer(status int, code, description string) {
	body, _ := json.Marshal(map[string]string{"error": code, "error_description": description}) // text always marshals
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("X-Content-Type-Options", "nosniff")
	c.w.WriteHeader(status)
	_, _ = c.w.Write(append(body, '\n'))
}
