package signin

import (
	"strings"

	"github.com/akprox/akprox/outpost"
)

// Endpoints is how one family of our endpoints is spelled: under a prefix, or
// as another program had them.
type Endpoints struct {
	outpost.Ways
	Prefix   string   // the prefix; "" when it is none of ours
	Folder   string   // of all of them: short cookies go there
	Page     string   // where passwords are asked for, up to where the escaped return URL goes
	Post     string   // where they are posted to
	Callback string   // "" when it is under the prefix alone
	Back     string   // the parameter that holds the return URL
	Username string   // the field that holds the user name
	Own      []string // the paths at and under which all is ours: nobody is sent back there
}

// Under answers the endpoints under one of our prefixes.
func Under(prefix string) Endpoints {
	return Endpoints{
		Ways: outpost.WaysUnder(prefix), Prefix: prefix, Folder: prefix, Callback: prefix + "/callback",
		Page: prefix + "/sign_in?rd=", Post: prefix + "/sign_in", Back: "rd", Username: "username",
		Own: []string{prefix},
	}
}

// AuthServer answers the endpoints that the example auth server for Caddy's
// forward_auth has, for compat: [auth-server].
func AuthServer() Endpoints {
	return Endpoints{
		Ways:   outpost.Ways{Start: "/auth/sign-in?redirect=", SignOut: "/auth/sign-out", Short: true},
		Folder: "/auth", Page: "/auth/sign-in?redirect=", Post: "/auth/password-authenticate",
		Back: "redirect", Username: "email",
		Own: []string{"/auth/check", "/auth/sign-in", "/auth/password-authenticate", "/auth/sign-out"},
	}
}

// startURL answers where a sign-in to app begins that leads to back; options go
// before the return URL.
func (e Endpoints) startURL(app *outpost.Application, options, back string) string {
	return strings.Replace(e.StartURL(app.External.Origin(), back), "?", "?"+options, 1)
}

// pageURL answers where app asks for a password.
func (e Endpoints) pageURL(app *outpost.Application, options, back string) string {
	e.Start = e.Page
	return e.startURL(app, options, back)
}
