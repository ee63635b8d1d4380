package control

import (
	"context"
	"time"

	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/proxy/signin"
)

// Session is what an operator sees of one.
type Session struct {
	Subject     string    `json:"subject"`
	User        string    `json:"user"`
	Provider    string    `json:"provider"`
	Application string    `json:"application"`
	Since       time.Time `json:"since"` // the sign-in
	Until       time.Time `json:"until"` // its end if nobody uses it
}

// Sessions is what can be asked. An empty subject or provider means any.
type Sessions interface {
	// List tells each of every session that fits, in no order; an error of
	// each ends it and is the answer.
	List(ctx context.Context, subject, provider string, each func(Session) error) error
	// End ends the sessions of subject, and says how many.
	End(ctx context.Context, subject, provider string) (int, error)
}

// Own is the sessions of a store that this process has open; all of it is
// required.
type Own struct {
	Store     store.Store
	Sessions  *session.Sessions
	Providers func() []string // that people sign in by
}

// List implements Sessions.
func (o Own) List(ctx context.Context, subject, provider string, each func(Session) error) error {
	return o.Sessions.List(ctx, func(s session.Summary) error {
		if subject != "" && s.Subject != subject || provider != "" && s.Provider != provider {
			return nil
		}
		return each(Session{
			Subject: s.Subject, User: s.Username, Provider: s.Provider, Application: s.Application,
			Since: s.Created.Truncate(time.Second), Until: s.Expires.Truncate(time.Second),
		})
	})
}

// End implements Sessions. Sign-ins of subject that are under way end, too.
func (o Own) End(ctx context.Context, subject, provider string) (int, error) {
	providers := []string{provider}
	if provider == "" {
		providers = o.Providers()
	}
	ended := 0
	for _, p := range providers {
		n, err := signin.End(ctx, o.Store, o.Sessions, session.SubjectTag(p, subject), time.Now())
		if ended += n; err != nil {
			return ended, err
		}
	}
	return ended, nil
}
