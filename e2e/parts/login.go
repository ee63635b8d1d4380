package parts

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// maxPages is more than any sign-in here takes.
const maxPages = 15

// errBadLogin says that the sign-in page came again.
var errBadLogin = errors.New("the issuer refused the sign-in")

// SignIn goes with client through the issuer's pages, from an authorization
// request to the redirect back to the application, which it returns without
// following it. It signs in as user where the issuer asks, and consents to
// everything. Where client's cookies hold a session of the issuer, it may
// come back without a page.
func (i *Issuer) SignIn(client *http.Client, authURL, user string) (callbackURL string, err error) {
	login := user
	if known, ok := i.logins[user]; ok {
		login = known
	}
	asked := false
	return i.visit(client, authURL, func(fields url.Values) error {
		if fields.Has("login") {
			if asked {
				return errBadLogin
			}
			asked = true
			fields.Set("login", login)
			fields.Set("password", userPassword)
		}
		return nil
	})
}

// SignOut goes with client through the issuer's pages from an RP-initiated
// logout request to the redirect back to the application, which it returns
// without following it, and confirms the logout where the issuer asks.
// Without a post_logout_redirect_uri it ends at the issuer's own page, and
// returns that page's address.
func (i *Issuer) SignOut(client *http.Client, endSessionURL string) (redirect string, err error) {
	return i.visit(client, endSessionURL, func(fields url.Values) error {
		fields.Set("logout", "yes")
		return nil
	})
}

// visit follows redirects and submits forms, filled in by fill, until it is
// sent away from the issuer or to the issuer's last page of a logout.
func (i *Issuer) visit(client *http.Client, from string, fill func(url.Values) error) (string, error) {
	oneStep := *client // with the same cookies
	oneStep.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	start, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	here, fields := start, url.Values(nil)
	for range maxPages {
		p, err := open(&oneStep, here, fields)
		switch {
		case err != nil:
			return "", err
		case p.redirect != nil && p.redirect.Host != start.Host:
			return p.redirect.String(), nil
		case p.redirect != nil:
			here, fields = p.redirect, nil
		case p.status != http.StatusOK:
			return "", fmt.Errorf("%s answers %d: %s", here, p.status, p.body)
		case p.action != nil:
			if err := fill(p.fields); err != nil {
				return "", fmt.Errorf("at %s: %w", here, err)
			}
			here, fields = p.action, p.fields
		case strings.HasSuffix(here.Path, "/session/end/success"):
			return here.String(), nil
		default:
			return "", fmt.Errorf("no form at %s: %s", here, p.body)
		}
	}
	return "", fmt.Errorf("more than %d pages, the last at %s", maxPages, here)
}

// page is what an issuer answered.
type page struct {
	status   int
	body     string
	redirect *url.URL
	action   *url.URL // of the first form, if there is one
	fields   url.Values
}

// open asks for a page, by POST if there are fields to send.
func open(client *http.Client, u *url.URL, fields url.Values) (*page, error) {
	var resp *http.Response
	var err error
	if fields == nil {
		resp, err = client.Get(u.String())
	} else {
		resp, err = client.PostForm(u.String(), fields)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	p := &page{status: resp.StatusCode, body: string(body)}
	if location := resp.Header.Get("Location"); location != "" {
		p.redirect, err = u.Parse(location)
		return p, err
	}
	return p, p.findForm(u)
}

// findForm reads the first form of the page, which is at u.
func (p *page) findForm(u *url.URL) error {
	doc, err := html.Parse(strings.NewReader(p.body))
	if err != nil {
		return err
	}
	for n := range doc.Descendants() {
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "form":
			if p.action != nil {
				return nil
			}
			p.fields = url.Values{}
			if p.action, err = u.Parse(attribute(n, "action")); err != nil {
				return err
			}
		case n.Data == "input" && p.action != nil:
			if name := attribute(n, "name"); name != "" {
				p.fields.Set(name, attribute(n, "value"))
			}
		}
	}
	return nil
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}
