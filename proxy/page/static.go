package page

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// StaticNames lists the files that lie under <prefix>/static/.
func StaticNames() []string { return []string{"akprox.css", "favicon.svg"} }

// Static serves the files of StaticNames by the last segment of the path.
func Static() http.Handler {
	types := map[string]string{".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		name := path.Base(r.URL.Path)
		if !slices.Contains(StaticNames(), name) {
			h.Set("Cache-Control", "no-store")
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		text := content(name)
		h.Set("Content-Type", types[path.Ext(name)])
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		h.Set("Cache-Control", "public, max-age=3600")
		h.Set("ETag", `"`+digest(text)+`"`)
		http.ServeContent(w, r, name, time.Time{}, strings.NewReader(text))
	})
}
