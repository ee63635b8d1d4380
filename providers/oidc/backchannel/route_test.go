package backchannel_test

import (
	"net/url"
	"testing"

	"github.com/akprox/akprox/providers/oidc/backchannel"
)

func TestAddressesMoveBetweenTheIssuersTwoSides(t *testing.T) {
	tests := []struct {
		name, issuer, inside, public, private string
	}{
		{"hosts alone", "https://id.example.com", "http://id:5556", "https://id.example.com/token?a=%2f", "http://id:5556/token?a=%2f"},
		{"the issuer's path is kept when the backchannel has none", "https://id.example.com/dex", "http://id:5556", "https://id.example.com/dex/token", "http://id:5556/dex/token"},
		{"a slash is no path", "https://id.example.com/dex/", "http://id:5556/", "https://id.example.com/dex/token", "http://id:5556/dex/token"},
		{"the same path on both sides", "https://id.example.com/realms/a", "http://id/realms/a", "https://id.example.com/realms/a/token", "http://id/realms/a/token"},
		{"another path inside", "https://id.example.com/auth/realms/a", "http://id/realms/a", "https://id.example.com/auth/realms/a/token", "http://id/realms/a/token"},
		{"a path only inside", "https://id.example.com", "http://gate/id", "https://id.example.com/token", "http://gate/id/token"},
		{"an endpoint beside the issuer's path", "https://ak.example.com/application/o/wiki/", "http://ak:9000/application/o/wiki/", "https://ak.example.com/application/o/token/", "http://ak:9000/application/o/token/"},
		{"a path that only begins alike", "https://id.example.com/a", "http://id/b", "https://id.example.com/ab/token", "http://id/ab/token"},
		{"escapes stay as they are", "https://id.example.com", "http://id:5556", "https://id.example.com/a%2Fb", "http://id:5556/a%2Fb"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := backchannel.NewRoute(tt.issuer, tt.inside)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Inward(parse(t, tt.public)).String(); got != tt.private {
				t.Errorf("inward: got %s, want %s", got, tt.private)
			}
			if got := r.Outward(parse(t, tt.private)).String(); got != tt.public {
				t.Errorf("outward: got %s, want %s", got, tt.public)
			}
		})
	}
}

func TestOtherHostsStayWhereTheyAre(t *testing.T) {
	const other = "https://keys.example.net/certs"
	for _, inside := range []string{"", "http://id:5556"} {
		r, err := backchannel.NewRoute("https://id.example.com:443", inside)
		if err != nil {
			t.Fatal(err)
		}
		if in, out := r.Inward(parse(t, other)).String(), r.Outward(parse(t, other)).String(); in != other || out != other {
			t.Errorf("got %s and %s", in, out)
		}
		if r.Private(parse(t, other)) || r.Private(parse(t, "http://id.example.com/token")) {
			t.Error("a public address counts as private")
		}
		if r.Private(parse(t, "https://ID.example.com/token")) != (inside != "") {
			t.Error("the default port or the host's case matters")
		}
	}
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
