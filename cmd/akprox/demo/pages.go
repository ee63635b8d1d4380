package demo

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed pages
var files embed.FS

// pages answers the templates; they are in the binary, so they parse or the
// tests fail.
func pages() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(style()) }, //nolint:gosec // our own file
	}).ParseFS(files, "pages/*.html"))
}

// style answers the one stylesheet, which stands in every page.
func style() string {
	b, _ := files.ReadFile("pages/style.css") // it is embedded
	return string(b)
}

// render writes a page whole or not at all. The policy allows our own style
// by its hash and nothing else; forms may lead anywhere over http, because
// browsers hold the redirects after a form to form-action too, and where they
// end is the guarded program's business.
func render(w http.ResponseWriter, t *template.Template, name string, status int, data any) {
	var page bytes.Buffer
	if err := t.ExecuteTemplate(&page, name, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	hash := sha256.Sum256([]byte(style()))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(hash[:])+
		"'; form-action http: https:; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the client may be gone
}
