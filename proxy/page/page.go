package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"slices"

	"github.com/akprox/akprox/outpost"
)

//go:embed page.html akprox.css favicon.svg
var files embed.FS

var (
	layout = template.Must(template.ParseFS(files, "page.html"))
	style  = content("akprox.css")
	policy = "default-src 'none'; style-src 'sha256-" + digest(style) + "'; img-src 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)

// Page is what a person is told.
type Page struct {
	Status    int
	Host      string // where they are, canonical; shown above everything
	Title     string // what happened
	Lead      string // why
	Next      string // what to do now
	Alert     string // what was wrong with what the person has just done
	Reason    string // the word that the log has
	RequestID string
	Links     []Link // the first is the one to take
	Form      *Form
}

// Link leads on. An empty URL is the page itself.
type Link struct{ Text, URL string }

// Field is a field of a form; without a label it is hidden.
type Field struct {
	Name, Value  string
	Label        string
	Autocomplete string // what a password manager may fill in
	Secret       bool   // nobody may read it over a shoulder
	Max          int    // characters at most
	Focus        bool   // the person begins here
}

// Form is some fields and one button that posts them.
type Form struct {
	Action string
	Fields []Field
	Button string
	Leaves bool    // the answer may redirect to another site
	Other  *Choice // or nil
}

// Choice is another button of a form, which posts one field more.
type Choice struct {
	Name, Value string
	Button      string
	Hint        string // what it does; shown beside it, and read out with it
}

// view is a Page as the layout reads it.
type view struct {
	Page
	Icon, Tone string
	Favicon    string
	Style      template.CSS
}

// Write answers with p. Where prefix is "" the page has no icon.
func Write(w http.ResponseWriter, r *http.Request, prefix string, p Page) {
	if p.Status == 0 {
		p.Status = http.StatusForbidden
	}
	icon, tone := look(p)
	v := view{Page: p, Icon: icon, Tone: tone, Style: template.CSS(style)} //nolint:gosec // G203: our own file
	if prefix != "" {
		v.Favicon = prefix + "/static/favicon.svg"
	}
	var body bytes.Buffer
	if err := layout.Execute(&body, v); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	protect(h, "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "no-referrer")
	if p.Form != nil {
		// With no-referrer a browser would post the form with "Origin: null",
		// and its handler could not tell it from another site's.
		h.Set("Referrer-Policy", "same-origin")
	}
	if p.Form != nil && p.Form.Leaves {
		// Chromium holds form-action against every redirect that follows.
		h.Set("Content-Security-Policy", policy+" https: http:")
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = body.WriteTo(w)
	}
}

// failure is the body that programs get; every value is of a closed set, or
// ours.
type failure struct {
	Error     string `json:"error"`
	Reason    string `json:"reason,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// WriteJSON answers a refusal to a program.
func WriteJSON(w http.ResponseWriter, status int, outcome, reason, requestID string) {
	body, _ := json.Marshal(failure{outcome, reason, requestID}) // text always marshals
	protect(w.Header(), "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

func protect(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// asks reports whether there is something to fill in.
func (f *Form) asks() bool {
	return slices.ContainsFunc(f.Fields, func(field Field) bool { return field.Label != "" })
}

// look answers the icon and the tone of a page.
func look(p Page) (icon, tone string) {
	switch status := p.Status; {
	case p.Form != nil && p.Form.asks():
		return "entering", "calm"
	case p.Form != nil:
		return "asking", "calm"
	case status < 300:
		return "done", "good"
	case status < 400:
		return "going", "calm"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "closed", "stop"
	case status == http.StatusTooManyRequests || status >= 500:
		return "waiting", "wait"
	}
	return "lost", "calm"
}

// Refusal explains d to the person who asked. req is nil when the request
// could not be read.
func Refusal(d outpost.Decision, req *outpost.Request, requestID string) Page {
	said := explain(d)
	p := Page{
		Status: said.status, Title: said.title, Lead: said.lead, Next: said.next,
		Reason: string(d.Reason), RequestID: requestID,
	}
	if req == nil {
		return p
	}
	p.Host = req.Host
	if d.Outcome == outpost.SignIn && !req.Navigation {
		p.Title, p.Lead, p.Next = undelivered()
	}
	switch {
	case d.Outcome == outpost.SignIn && d.Location != "":
		p.Links = []Link{{"Sign in", d.Location}}
	case d.Outcome == outpost.Unavailable || d.Outcome == outpost.RateLimited:
		p.Links = []Link{{"Try again", ""}}
	case d.SignOut != "":
		p.Links = []Link{{"Sign out", d.SignOut}}
	}
	return p
}

// content answers one of the embedded files, which are there or the program
// would not have been built.
func content(name string) string {
	b, _ := files.ReadFile(name)
	return string(b)
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}
