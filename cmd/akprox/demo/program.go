package demo

import (
	"net/http"
	"strings"
)

// visitor is who akprox says is there, by its default header preset.
type visitor struct {
	Username, Email, Subject string
	Groups                   []string
}

// Program makes a guarded web program called name. It shows who is signed in,
// by the X-Auth- and X-Forwarded- headers that akprox sets, and links to the
// pages that the demo guards in different ways: / for everybody who signed in,
// /admin for the group admin, /public for anybody. It decides nothing itself
// and believes every header, so only akprox may reach it.
func Program(name string) http.Handler {
	templates := pages()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		title, about := page(r.URL.Path)
		render(w, templates, "program.html", http.StatusOK, map[string]any{
			"Title": title, "About": about, "Program": name, "Path": r.URL.Path, "Who": who(r.Header),
			"Headers": identityHeaders(r.Header),
		})
	})
}

func page(path string) (title, about string) {
	switch path {
	case "/admin":
		return "The administrators' page", "Only members of the group admin get here. Bob is refused by akprox, before this program hears of it."
	case "/public":
		return "The public page", "Anybody gets here. Who is signed in is still known."
	}
	return "The members' page", "Everybody who signed in gets here."
}

func who(h http.Header) *visitor {
	if h.Get("X-Auth-Username") == "" {
		return nil
	}
	v := &visitor{Username: h.Get("X-Auth-Username"), Email: h.Get("X-Forwarded-Email"), Subject: h.Get("X-Forwarded-User")}
	if groups := h.Get("X-Auth-Groups"); groups != "" {
		v.Groups = strings.Split(groups, "|")
	}
	return v
}

// identityHeaders answers the headers that tell who is there, as they came.
func identityHeaders(h http.Header) [][2]string {
	var list [][2]string
	for _, name := range []string{"X-Auth-Username", "X-Auth-Groups", "X-Forwarded-Email", "X-Forwarded-Preferred-Username", "X-Forwarded-User"} {
		list = append(list, [2]string{name, h.Get(name)})
	}
	return list
}
