package session

import (
	"context"
	"errors"
	"time"

	"github.com/akprox/akprox/outpost/store"
)

// Summary tells of a session what an operator may see; no token and no claim.
type Summary struct {
	Subject, Username, Provider, Application string

	SID     string    // the issuer's session id, or ""
	Created time.Time // the sign-in
	Expires time.Time // when it ends if nobody uses it
}

var errNoList = errors.New("this store cannot list its sessions")

// List tells each of every session in the store, in no order. An error of each
// ends it, and is then the answer.
func (s *Sessions) List(ctx context.Context, each func(Summary) error) error {
	lister, ok := s.store.(store.Lister)
	if !ok {
		return errNoList
	}
	var failed error
	err := lister.List(ctx, Prefix, func(_ string, item store.Item) error {
		rec := decode(item.Value)
		if rec == nil {
			return nil
		}
		id := rec.Identity
		failed = each(Summary{
			Subject: id.Subject, Username: id.Username, Provider: id.Provider, Application: appOf(item.Tags),
			SID: rec.SID, Created: rec.Created, Expires: item.Expires,
		})
		return failed
	})
	if failed != nil {
		return failed
	}
	return unavailable(err)
}
