package token_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/token"
)

// FuzzJWT never gets in without a good signature, and with one only when the
// claims as any JSON reader reads them allow it. In header and payload, ISSUER
// is the issuer's address.
func FuzzJWT(f *testing.F) {
	i := newIssuer(f)
	i.jwks = append(i.jwks, public("", &keys().otherEC.PublicKey))
	j := i.jwt(f, func(o *token.JWTOptions) { o.MaxEntries = 64 })
	valid := i.mint(f, object{"exp": time.Now().Add(24 * time.Hour).Unix()})
	head, signature, _ := cutLast(valid)
	stolen, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := present(j, valid); err != nil {
		f.Fatal(err)
	}
	f.Add(`{"alg":"ES256","kid":"ec","typ":"at+jwt"}`, `{"iss":"ISSUER","sub":"alice","aud":"api","exp":9999999999}`, uint16(3), byte('x'))
	f.Add(`{"alg":"none"}`, `{"iss":"ISSUER","sub":"alice","aud":["api"],"exp":9999999999.5,"nbf":0,"iat":1}`, uint16(0), byte('.'))
	f.Fuzz(func(t *testing.T, header, payload string, at uint16, with byte) {
		header, payload = inserted(header, i.URL), inserted(payload, i.URL)
		forged := sign(t, header, payload, stolen)
		if cut, _, _ := cutLast(forged); cut != head {
			if id, err := present(j, forged); verdict(t, id, err) == good {
				t.Fatalf("accepted with another token's signature: %s", forged)
			}
		}
		mutated := []byte(valid)
		mutated[int(at)%len(mutated)] = with
		if id, err := present(j, string(mutated)); verdict(t, id, err) == good && string(mutated) != valid {
			t.Fatalf("accepted although a byte was changed: %s", mutated)
		}
		id, err := present(j, sign(t, header, payload, keys().ec))
		if verdict(t, id, err) == good {
			lawful(t, i.URL, header, payload, id)
		}
	})
}

func inserted(text, url string) string {
	const mark = "ISSUER"
	for n := 0; n+len(mark) <= len(text); n++ {
		if text[n:n+len(mark)] == mark {
			return text[:n] + url + text[n+len(mark):]
		}
	}
	return text
}

// lawful reads an accepted token with another decoder.
func lawful(t *testing.T, url, header, payload string, id *identity) {
	t.Helper()
	var h, c map[string]any
	if json.Unmarshal([]byte(header), &h) != nil || json.Unmarshal([]byte(payload), &c) != nil {
		t.Fatalf("accepted although it is no JSON: %q %q", header, payload)
	}
	exp, _ := c["exp"].(float64)
	if h["alg"] != "ES256" || h["crit"] != nil || c["iss"] != url || c["sub"] != id.Subject || exp < float64(time.Now().Unix()-31) {
		t.Fatalf("accepted: %q %q", header, payload)
	}
	if c["nonce"] != nil || c["at_hash"] != nil || !outpost.CleanText(id.Subject) || !outpost.CleanText(id.Username) || id.Subject == "" {
		t.Fatalf("accepted: %q as %+v", payload, id)
	}
}

// FuzzIntrospectionAnswer never takes anything for active but a boolean true.
func FuzzIntrospectionAnswer(f *testing.F) {
	i := newIssuer(f)
	var body atomic.Pointer[string]
	i.says("/introspect", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(*body.Load())) })
	k := i.introspection(f, func(o *token.IntrospectionOptions) { o.Cache, o.NegativeCache = 0, 0 })
	for _, s := range []string{
		`{"active":true,"sub":"alice","scope":"a b","exp":9999999999}`, `{"active":false}`, `{"active":"true"}`, `{"active":1}`, `{}`, `[]`, ``,
		`{"active":false,"active":true,"sub":"a"}`, `{"ACTIVE":true,"sub":"a"}`, `{"active":true,"sub":"a\r\nb"}`, `{"active":true,"client_id":"c","ext":{"email":"a@b"}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		body.Store(&answer)
		id, err := present(k, "t")
		if got := verdict(t, id, err); got != good {
			if got != invalidToken && got != unavailable {
				t.Fatalf("%q: %s", answer, got)
			}
			return
		}
		var told map[string]any
		if err := json.Unmarshal([]byte(answer), &told); err != nil || told["active"] != true {
			t.Fatalf("taken for active: %q", answer)
		}
		if id.Subject == "" || !outpost.CleanText(id.Subject) || !outpost.CleanText(id.Username) || !outpost.CleanText(id.Email) {
			t.Fatalf("%q: %+v", answer, id)
		}
		for _, list := range [][]string{id.Scopes, id.Groups} {
			for _, s := range list {
				if s == "" || !outpost.CleanText(s) {
					t.Fatalf("%q: %+v", answer, id)
				}
			}
		}
	})
}
