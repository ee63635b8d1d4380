package outpost

import (
	"maps"
	"strings"
	"testing"
)

var carol = &Identity{
	Subject: "42", Username: "carol", Email: "carol@example.com", Name: "Carol Ö.", Groups: []string{"staff", "dev"},
	Scopes: []string{"a:read", "b:write"}, Provider: "company", IDToken: "e30.e30.c2ln",
	Claims: map[string]any{
		"department": "R&D", "level": 3.0, "ok": true, "nested": map[string]any{"a": "b"}, "list": []any{"x", "y|z", 7.0},
		"evil": "a\r\nX-Admin: 1", "entitlements": []any{"e1", "e2"}, "object": map[string]any{},
	},
}

func values(headers []Header) map[string]string {
	got := map[string]string{}
	for _, h := range headers {
		got[h.Name] = h.Values[0]
	}
	return got
}

func TestPresets(t *testing.T) {
	for preset, want := range map[string]map[string]string{
		"": {
			"X-Auth-Username": "carol", "X-Auth-Groups": "staff|dev", "X-Forwarded-Email": "carol@example.com",
			"X-Forwarded-Preferred-Username": "carol", "X-Forwarded-User": "42",
		},
		"authentik": {
			"X-Authentik-Username": "carol", "X-Authentik-Groups": "staff|dev", "X-Authentik-Entitlements": "e1|e2",
			"X-Authentik-Email": "carol@example.com", "X-Authentik-Name": "Carol Ö.", "X-Authentik-Uid": "42",
			"X-Authentik-Meta-Outpost": "akprox", "X-Authentik-Meta-Provider": "company", "X-Authentik-Meta-App": "wiki",
			"X-Authentik-Meta-Version": "akprox/test", "X-Authentik-Meta-Jwks": "",
		},
		"remote":  {"Remote-User": "carol", "Remote-Groups": "staff,dev", "Remote-Email": "carol@example.com", "Remote-Name": "Carol Ö."},
		"gateway": {"X-User-Id": "42", "X-User-Email": "carol@example.com", "X-User-Scope": "a:read b:write"},
		"user-json": {
			"X-User": `{"name":"Carol \u00d6.","email":"carol@example.com","roles":["staff","dev"],"user_id":"42"}`,
		},
	} {
		t.Run(preset, func(t *testing.T) {
			m := mustHeaders(t, preset)
			if got := values(m.Headers(carol)); !maps.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			nobody := values(m.Headers(nil))
			if len(nobody) != len(want) || len(m.Names()) != len(want) {
				t.Errorf("%d headers for nobody, %d names; want %d", len(nobody), len(m.Names()), len(want))
			}
			for name, v := range nobody {
				if v != "" {
					t.Errorf("%s is %q for nobody", name, v)
				}
			}
		})
	}
}

func TestSetHeaders(t *testing.T) {
	for source, want := range map[string]string{
		"claims.department": "R&D", "claims.level": "3", "claims.ok": "true", "claims.nested.a": "b", "claims.nested": "",
		"claims.missing.deep": "", "claims.list": "x|7", "claims.evil": "", "claims.object": "", "text:prod": "prod",
		"username": "carol", "subject": "42", "email": "carol@example.com", "name": "Carol Ö.", "groups": "staff|dev",
		"scopes": "a:read b:write", "provider": "company", "id_token": "e30.e30.c2ln",
	} {
		m := mustHeaders(t, "", [2]string{"x-dept", source})
		if got := values(m.Headers(carol))["X-Dept"]; got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
	if got := values(mustHeaders(t, "", [2]string{"X-Env", "text:prod"}).Headers(nil))["X-Env"]; got != "prod" {
		t.Errorf("a text is %q for nobody", got)
	}
	if got := values(mustHeaders(t, "", [2]string{"x-auth-username", "email"}).Headers(carol)); got["X-Auth-Username"] != "carol@example.com" || len(got) != 5 {
		t.Errorf("a preset's header set anew: %q", got)
	}
}

func TestWhatCannotBeAHeaderMapIsRefused(t *testing.T) {
	for _, row := range []struct{ preset, name, source, says string }{
		{"nope", "X-A", "username", "no preset"},
		{"", "X-A", "nope", "no source"},
		{"", "X-A", "claims.", "no source"},
		{"", "X-A", "text:a\nb", "cannot stand"},
		{"", "X_A", "username", "may be set"},
		{"", "X.A", "username", "may be set"},
		{"", "", "username", "may be set"},
		{"", "Set-Cookie", "username", "may be set"},
		{"", "x-forwarded-host", "username", "may be set"},
		{"", "Location", "username", "may be set"},
	} {
		_, err := NewHeaderMap(row.preset, "", [][2]string{{row.name, row.source}}, Meta{})
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %s from %s: %v; want %q", row.preset, row.name, row.source, err, row.says)
		}
	}
}

func TestNoValueBecomesAnother(t *testing.T) {
	m := mustHeaders(t, "")
	for _, bad := range []string{"a\r\nX-Admin: 1", "admin\x00", " admin", "admin ", "a\u0085b", "a\u2028b", "\xff", strings.Repeat("x", maxHeader+1)} {
		id := &Identity{Username: bad, Groups: []string{"ok", bad, "a|admin", ""}}
		got := values(m.Headers(id))
		if got["X-Auth-Username"] != "" {
			t.Errorf("%.20q reaches the application as %.20q", bad, got["X-Auth-Username"])
		}
		if len(bad) <= maxHeader && got["X-Auth-Groups"] != "ok" {
			t.Errorf("groups with %.20q reach the application as %.40q", bad, got["X-Auth-Groups"])
		}
	}
}

func TestHeadersAreRenderedOncePerIdentityAndMap(t *testing.T) {
	a, b := mustHeaders(t, ""), mustHeaders(t, "remote")
	id := &Identity{Username: "x"}
	first := a.Headers(id)
	if again := a.Headers(id); &again[0] != &first[0] {
		t.Error("rendered again")
	}
	if other := b.Headers(id); other[0].Name != "Remote-User" {
		t.Errorf("another map got %v", other[0])
	}
	if back := values(a.Headers(id)); back["X-Auth-Username"] != "x" {
		t.Errorf("and back: %q", back)
	}
}
