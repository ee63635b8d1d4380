package signin

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/signin/words"
)

const (
	endedPrefix = "ended:" // of the keys of marks
	// endedLife is how long a mark stands: no sign-in is in progress for longer.
	endedLife = flowLife + 2*patience
	// endingTime is how long an issuer may take to end a session after it has
	// told us so: it may vouch for it until then.
	endingTime = 30 * time.Second
)

// errEnded says that a sign-in was ended before it was done.
var errEnded = errors.New("its sessions were ended while it was under way")

// End ends the sessions that carry tag, one of session.SubjectTag, SIDTag and
// UnnamedTag, and says how many. A sign-in that is under way for them ends
// too, on whichever instance: what End leaves behind in st for that is written
// first, and looked at after a session was made. An error wraps
// outpost.ErrUnavailable; then some may have been ended.
func End(ctx context.Context, st store.Store, sessions *session.Sessions, tag string, now time.Time) (int, error) {
	mark := store.Item{Value: strconv.AppendInt(nil, now.UnixMilli(), 10), Expires: now.Add(endedLife)}
	if err := st.Put(ctx, endedKey(tag), mark); err != nil {
		return 0, fmt.Errorf("%w: %w", outpost.ErrUnavailable, err)
	}
	return sessions.EndTagged(ctx, tag)
}

// BackChannel answers the handler of backchannel_logout, which serves every
// host: see package backchannel.
func (s *SignIn) BackChannel() http.Handler { return s.backChannel }

// endFor ends what a logout token names. With both a subject and a session, the
// person's other sessions at the issuer go on (OIDC Back-Channel Logout 1.0,
// section 2.4), but for those of which the issuer did not say which they are.
func (s *SignIn) endFor(ctx context.Context, provider string, told *outpost.Logout) (int, error) {
	var tags []string
	switch {
	case told.SID == "":
		tags = []string{session.SubjectTag(provider, told.Subject)}
	case told.Subject == "":
		tags = []string{session.SIDTag(provider, told.SID)}
	default:
		tags = []string{session.SIDTag(provider, told.SID), session.UnnamedTag(provider, told.Subject)}
	}
	ended := 0
	for _, tag := range tags {
		n, err := End(ctx, s.Store, s.Sessions, tag, s.Now())
		if ended += n; err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// endedKey answers where the mark of a tag stands. It is a hash, so that tags
// of any length fit.
func endedKey(tag string) string {
	return endedPrefix + base64.RawURLEncoding.EncodeToString(hash(tag))
}

// create makes a session of what the issuer granted to f, unless that was
// ended meanwhile; the error is then errEnded.
func (v *visit) create(app *outpost.Application, g *outpost.Grant, f flow) error {
	return v.Sessions.CreateIf(v.ctx, v.w, v.r, app, g, func() error { return v.stillGood(g, f) })
}

// stillGood answers errEnded when what was granted to f has been ended. What a
// person begins afterwards is good.
func (v *visit) stillGood(g *outpost.Grant, f flow) error {
	tags := map[string]time.Duration{session.SubjectTag(g.Identity.Provider, g.Identity.Subject): 0}
	if g.SID != "" {
		tags[session.SIDTag(g.Identity.Provider, g.SID)] = endingTime
	} else {
		tags[session.UnnamedTag(g.Identity.Provider, g.Identity.Subject)] = 0
	}
	for tag, more := range tags {
		item, err := v.Store.Get(v.ctx, endedKey(tag))
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return fmt.Errorf("%w: %w", outpost.ErrUnavailable, err)
		case f.before(item.Value, more):
			return errEnded
		}
	}
	return nil
}

// before reports whether f began before the mark was made, or so much later;
// a mark that says nothing counts as newer.
func (f flow) before(mark []byte, later time.Duration) bool {
	at, err := strconv.ParseInt(string(mark), 10, 64)
	return err != nil || f.Begun <= at+later.Milliseconds()
}

// everywhereField is the field of the form, and of a link to it.
const everywhereField = "everywhere"

// everywhere reports whether all sessions of the person are meant.
func (v *visit) everywhere() bool {
	if v.r.Method != http.MethodPost {
		return v.r.URL.Query().Get(everywhereField) == "1"
	}
	v.r.Body = http.MaxBytesReader(v.w, v.r.Body, 8<<10)
	return v.r.PostFormValue(everywhereField) == "1"
}

// leaveEverywhere ends all sessions of the people who are signed in on this
// host, this one's too, and answers one of them that its issuer is to hear of.
func (v *visit) leaveEverywhere() (*held, error) {
	found, err := v.sessions()
	if err != nil {
		return nil, err
	}
	var first *held
	done := map[string]bool{}
	for _, h := range found {
		if first == nil && h.app.SignIn.Issuer != nil {
			first = &h
		}
		tag := session.SubjectTag(h.rec.Identity.Provider, h.rec.Identity.Subject)
		if done[tag] {
			continue
		}
		done[tag] = true
		if _, err := End(v.ctx, v.Store, v.Sessions, tag, v.Now()); err != nil {
			return nil, err
		}
		v.record(h.app, words.Everywhere, nil)
	}
	return first, nil
}
