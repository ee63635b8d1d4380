package signin

import (
	"encoding/json"
	"net/http"

	"github.com/akprox/akprox/outpost"
)

// info is an identity in the claim names of OpenID Connect Core 5.1.
type info struct {
	Subject  string   `json:"sub"`
	Username string   `json:"preferred_username,omitempty"`
	Name     string   `json:"name,omitempty"`
	Email    string   `json:"email,omitempty"`
	Groups   []string `json:"groups"`
	Provider string   `json:"provider"`
}

// UserInfo answers the handler of userinfo: who is signed in on this host, as
// JSON, or 401.
func (s *SignIn) UserInfo(e Endpoints) http.Handler {
	return s.serve(e, true, (*visit).userInfo, http.MethodGet, http.MethodHead)
}

func (v *visit) userInfo() {
	found, err := v.sessions()
	switch {
	case err != nil:
		v.w.Header().Set("Retry-After", "5")
		v.refuse(outpost.Decision{Outcome: outpost.Unavailable, Reason: outpost.ReasonUnavailable})
		return
	case len(found) == 0:
		v.refuse(outpost.Decision{Outcome: outpost.Unauthorized, Reason: outpost.ReasonNoSession})
		return
	}
	id := found[0].rec.Identity
	body, err := json.Marshal(info{
		Subject: id.Subject, Username: id.Username, Name: id.Name, Email: id.Email,
		Groups: append([]string{}, id.Groups...), Provider: id.Provider,
	})
	if err != nil {
		v.refuse(outpost.Decision{Reason: outpost.ReasonInternal, Err: err})
		return
	}
	v.w.Header().Set("Content-Type", "application/json")
	v.w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = v.w.Write(append(body, '\n'))
}
