package kinds

import (
	"context"
	"errors"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/config"
	"github.com/akprox/akprox/providers/password"
)

// passwordSettings is the document's kind password.
type passwordSettings struct {
	Users        []password.User   `yaml:"users" doc:"The users themselves."`
	UsersFile    string            `yaml:"users_file" doc:"A YAML file with the same list under users; read again when it changes."`
	HtpasswdFile string            `yaml:"htpasswd_file" doc:"An htpasswd file with bcrypt or argon2id hashes; read again when it changes."`
	Throttle     password.Throttle `yaml:"throttle" doc:"When guessing is stopped."`
}

// Check reports what is wrong with the users.
func (s *passwordSettings) Check(report func(key, problem string)) {
	password.CheckUsers(s.Users, report)
	if len(s.Users) == 0 && s.UsersFile == "" && s.HtpasswdFile == "" {
		report("users", "there are no users; write them here, or name a users_file or an htpasswd_file")
	}
}

func openPassword(b *Builder, name string, settings any) (config.Opened, error) {
	s := settings.(*passwordSettings)
	o := password.Options{
		Name: name, Users: s.Users, UsersFile: s.UsersFile, HtpasswdFile: s.HtpasswdFile, Throttle: s.Throttle,
		Warn: func(err error) { b.Changed(name, err) }, Shared: b.Tallies,
	}
	if b.Elsewhere {
		o.UsersFile, o.HtpasswdFile = "", ""
	}
	users, err := password.New(o)
	if err != nil {
		return config.Opened{}, err
	}
	b.follow(func(ctx context.Context) { users.Follow(ctx) })
	sessions := b.sessionOf(name, nil, users.Current)
	return config.Opened{
		SignsIn: true, Scheme: "Basic", Passwords: users,
		Credential: func(app *outpost.Application) outpost.Credential { return basicOrSession{users, sessions(app)} },
	}, nil
}

// basicOrSession asks for a Basic header first, and then for the session that
// the sign-in page made.
type basicOrSession struct{ basic, session outpost.Credential }

// Identify implements outpost.Credential.
func (c basicOrSession) Identify(ctx context.Context, r *outpost.Request) (*outpost.Identity, error) {
	id, err := c.basic.Identify(ctx, r)
	if errors.Is(err, outpost.ErrNoCredential) {
		return c.session.Identify(ctx, r)
	}
	return id, err
}
