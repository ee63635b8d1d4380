package browser

import (
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// Form is a page's first form.
type Form struct {
	Action   *url.URL
	fields   url.Values
	Password string // the fields for the password; "" where there is none
	name     string // and for the user name
	button   bool   // one was pressed
}

// Filled answers the form with what a person types.
func (f *Form) Filled(user, password string) string {
	if f.name != "" {
		f.fields.Set(f.name, user)
	}
	if f.Password != "" {
		f.fields.Set(f.Password, password)
	}
	return f.fields.Encode()
}

// FindForm reads the first form of a page that is posted; nil when there is
// none.
func FindForm(a Answer) *Form {
	doc, err := html.Parse(strings.NewReader(a.Body))
	if err != nil {
		return nil
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || !strings.EqualFold(attribute(n, "method"), "post") {
			continue
		}
		action, err := a.URL.Parse(attribute(n, "action"))
		if err != nil {
			return nil
		}
		f := &Form{Action: action, fields: url.Values{}}
		for field := range n.Descendants() {
			f.read(field)
		}
		return f
	}
	return nil
}

func (f *Form) read(n *html.Node) {
	name := attribute(n, "name")
	if n.Type != html.ElementNode || name == "" || n.Data != "input" && n.Data != "button" {
		return
	}
	switch kind := strings.ToLower(attribute(n, "type")); {
	case kind == "password":
		f.Password = name
	case kind == "checkbox", kind == "radio", kind == "image", kind == "file", kind == "reset":
	case kind == "submit" || n.Data == "button":
		if !f.button { // the first one is what Enter presses
			f.button = true
			f.fields.Set(name, attribute(n, "value"))
		}
	case kind == "hidden":
		f.fields.Set(name, attribute(n, "value"))
	default:
		if f.name == "" {
			f.name = name
		}
	}
}

func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}
