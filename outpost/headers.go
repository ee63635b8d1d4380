package outpost

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// maxHeader bounds one identity header's value in bytes; a longer one is sent
// empty, because half a value would be another value.
const maxHeader = 16 << 10

// Header is one header of an answer. Values holds exactly one value and is
// shared: nobody writes to it.
type Header struct {
	Name   string // in canonical form
	Values []string
}

// HeaderMap tells an identity to an application: which headers, each made of
// what. It is made once, at load.
type HeaderMap struct {
	fields    []field
	anonymous []Header
}

type field struct {
	name  string
	value func(*Identity) string // asked with nil where there is no identity
}

// rendered remembers the headers that one map made of an identity.
type rendered struct {
	by      *HeaderMap
	headers []Header
}

// Meta is what the authentik preset tells about ourselves.
type Meta struct {
	Application, Provider, Version string
	JWKS                           func() string // "" while not known; may be nil
}

// Presets lists the names of the header presets, the default first.
func Presets() []string { return []string{"akprox", "authentik", "remote", "gateway", "user-json"} }

// NewHeaderMap makes the headers of a preset ("" is the default) and, in
// order, those of set, whose sources are "claims.a.b", "text:…", or one of
// username, subject, email, name, groups, scopes, provider, id_token.
// separator joins lists; "" is the preset's own. It answers an error that
// names the preset, header or source that does not exist.
func NewHeaderMap(preset, separator string, set [][2]string, meta Meta) (*HeaderMap, error) {
	fields, err := presetFields(preset, separator, meta)
	if err != nil {
		return nil, err
	}
	if separator == "" {
		separator = presetSeparator(preset)
	}
	m := &HeaderMap{fields: fields}
	for _, s := range set {
		value, err := source(s[1], separator)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s[0], err)
		}
		if err := m.put(s[0], value); err != nil {
			return nil, err
		}
	}
	m.anonymous = m.render(nil)
	return m, nil
}

func (m *HeaderMap) put(name string, value func(*Identity) string) error {
	if !headerName(name) {
		return fmt.Errorf("%q is not the name of a header that may be set", name)
	}
	f := field{textproto.CanonicalMIMEHeaderKey(name), value}
	if i := slices.IndexFunc(m.fields, func(o field) bool { return o.name == f.name }); i >= 0 {
		m.fields[i] = f
		return nil
	}
	m.fields = append(m.fields, f)
	return nil
}

// headerName reports whether name may carry an identity: a token of letters,
// digits and "-", and not one that the protocol or a proxy gives a meaning.
func headerName(name string) bool {
	for _, c := range []byte(name) {
		if l := c | 0x20; (l < 'a' || l > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	switch http.CanonicalHeaderKey(name) {
	case "", "Host", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding", "Upgrade", "Te", "Trailer",
		"Set-Cookie", "Cookie", "Location", "Www-Authenticate", "Cache-Control", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Proto", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Original-Url", "X-Original-Uri", "X-Original-Method":
		return false
	}
	return len(name) <= 128
}

// Names answers the canonical names of all mapped headers.
func (m *HeaderMap) Names() []string {
	names := make([]string, len(m.fields))
	for i, f := range m.fields {
		names[i] = f.name
	}
	return names
}

// Headers answers every mapped header for id, empty ones too; nil is nobody.
// What was made for an identity is remembered with it.
func (m *HeaderMap) Headers(id *Identity) []Header {
	if id == nil {
		return m.anonymous
	}
	if r := id.rendered.Load(); r != nil && r.by == m {
		return r.headers
	}
	r := &rendered{by: m, headers: m.render(id)}
	id.rendered.Store(r)
	return r.headers
}

func (m *HeaderMap) render(id *Identity) []Header {
	headers := make([]Header, len(m.fields))
	values := make([]string, len(m.fields))
	for i, f := range m.fields {
		if v := f.value(id); len(v) <= maxHeader && CleanText(v) {
			values[i] = v
		}
		headers[i] = Header{f.name, values[i : i+1 : i+1]}
	}
	return headers
}

// presetSeparator answers what joins groups in a preset.
func presetSeparator(preset string) string {
	if preset == "remote" {
		return ","
	}
	return "|"
}

func presetFields(preset, separator string, meta Meta) ([]field, error) {
	if separator == "" {
		separator = presetSeparator(preset)
	}
	groups := lists(func(id *Identity) []string { return id.Groups }, separator)
	switch preset {
	case "", "akprox":
		return []field{
			{"X-Auth-Username", username},
			{"X-Auth-Groups", groups},
			{"X-Forwarded-Email", email},
			{"X-Forwarded-Preferred-Username", username},
			{"X-Forwarded-User", subject},
		}, nil
	case "authentik":
		return authentikFields(groups, separator, meta), nil
	case "remote":
		return []field{{"Remote-User", username}, {"Remote-Groups", groups}, {"Remote-Email", email}, {"Remote-Name", name}}, nil
	case "gateway":
		scopes := lists(func(id *Identity) []string { return id.Scopes }, " ")
		return []field{{"X-User-Id", subject}, {"X-User-Email", email}, {"X-User-Scope", scopes}}, nil
	case "user-json":
		return []field{{"X-User", userJSON}}, nil
	}
	return nil, fmt.Errorf("no preset %q; there are %s", preset, strings.Join(Presets(), ", "))
}

func authentikFields(groups func(*Identity) string, separator string, meta Meta) []field {
	known := func(s string) func(*Identity) string { return some(func(*Identity) string { return s }) }
	jwks := func(*Identity) string { return "" }
	if meta.JWKS != nil {
		jwks = some(func(*Identity) string { return meta.JWKS() })
	}
	return []field{
		{"X-Authentik-Username", username},
		{"X-Authentik-Groups", groups},
		{"X-Authentik-Entitlements", claim([]string{"entitlements"}, separator)},
		{"X-Authentik-Email", email},
		{"X-Authentik-Name", name},
		{"X-Authentik-Uid", subject},
		{"X-Authentik-Meta-Outpost", known("akprox")},
		{"X-Authentik-Meta-Provider", some(func(id *Identity) string { return id.Provider })},
		{"X-Authentik-Meta-App", known(meta.Application)},
		{"X-Authentik-Meta-Version", known(meta.Version)},
		{"X-Authentik-Meta-Jwks", jwks},
	}
}

// source answers the value that a set: entry names.
func source(s, separator string) (func(*Identity) string, error) {
	if text, ok := strings.CutPrefix(s, "text:"); ok {
		if !CleanText(text) {
			return nil, fmt.Errorf("the text %q cannot stand in a header", text)
		}
		return func(*Identity) string { return text }, nil
	}
	if path, ok := strings.CutPrefix(s, "claims."); ok && path != "" {
		return claim(strings.Split(path, "."), separator), nil
	}
	switch s {
	case "username":
		return username, nil
	case "subject":
		return subject, nil
	case "email":
		return email, nil
	case "name":
		return name, nil
	case "groups":
		return lists(func(id *Identity) []string { return id.Groups }, separator), nil
	case "scopes":
		return lists(func(id *Identity) []string { return id.Scopes }, " "), nil
	case "provider":
		return some(func(id *Identity) string { return id.Provider }), nil
	case "id_token":
		return some(func(id *Identity) string { return id.IDToken }), nil
	}
	return nil, fmt.Errorf("no source %q; write claims.NAME, text:WORDS, username, subject, email, name, groups, scopes, provider or id_token", s)
}

// some asks f only where there is an identity.
func some(f func(*Identity) string) func(*Identity) string {
	return func(id *Identity) string {
		if id == nil {
			return ""
		}
		return f(id)
	}
}

func username(id *Identity) string { return some(func(id *Identity) string { return id.Username })(id) }

func subject(id *Identity) string { return some(func(id *Identity) string { return id.Subject })(id) }

func email(id *Identity) string { return some(func(id *Identity) string { return id.Email })(id) }
func name(id *Identity) string  { return some(func(id *Identity) string { return id.Name })(id) }

func lists(f func(*Identity) []string, separator string) func(*Identity) string {
	return some(func(id *Identity) string { return join(f(id), separator) })
}

// join leaves out a member that holds the separator or could not stand alone:
// joined, it would be read as other members.
func join(list []string, separator string) string {
	kept := make([]string, 0, len(list))
	for _, s := range list {
		if s != "" && !strings.Contains(s, separator) && CleanText(s) {
			kept = append(kept, s)
		}
	}
	return strings.Join(kept, separator)
}

// claim answers the claim at path; lists are joined, and what is neither
// text, number, boolean nor a list of these is "".
func claim(path []string, separator string) func(*Identity) string {
	return some(func(id *Identity) string {
		var v any = id.Claims
		for _, key := range path {
			m, ok := v.(map[string]any)
			if !ok {
				return ""
			}
			v = m[key]
		}
		if list, ok := v.([]any); ok {
			words := make([]string, len(list))
			for i, e := range list {
				words[i] = word(e)
			}
			return join(words, separator)
		}
		return word(v)
	})
}

func word(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case json.Number:
		return v.String()
	}
	return ""
}

// userJSON renders the user-json preset: ASCII alone, so that it survives
// every proxy.
func userJSON(id *Identity) string {
	if id == nil {
		return ""
	}
	roles := id.Groups
	if roles == nil {
		roles = []string{}
	}
	b, err := json.Marshal(struct {
		Name   string   `json:"name"`
		Email  string   `json:"email"`
		Roles  []string `json:"roles"`
		UserID string   `json:"user_id"`
	}{id.Name, id.Email, roles, id.Subject})
	if err != nil {
		return ""
	}
	var out strings.Builder
	for _, c := range string(b) {
		switch {
		case c < 0x80:
			out.WriteRune(c)
		case c < 0x10000:
			fmt.Fprintf(&out, `\u%04x`, c)
		default:
			hi, lo := utf16.EncodeRune(c)
			fmt.Fprintf(&out, `\u%04x\u%04x`, hi, lo)
		}
	}
	return out.String()
}
