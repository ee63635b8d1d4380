package signin

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/outpost/store/memory"
)

// FuzzFlow: whatever stands in the store under a state, and whatever cookies
// come with it, a flow is answered to the browser that began it alone, and at
// most once.
func FuzzFlow(f *testing.F) {
	const state = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for _, s := range [][2]string{
		{`{"app":"wiki","provider":"company","binding":"bm9wZQ=="}`, "x"},
		{`{}`, ""},
		{`null`, ""},
		{`{"binding":null}`, ""},
		{`{"binding":""}`, "a; b=c"},
		{`[]`, "x"},
		{"\x00", "\"x\""},
		{`{"binding":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`, ""},
	} {
		f.Add([]byte(s[0]), s[1])
	}
	kept := memory.New(memory.Options{})
	f.Cleanup(func() { _ = kept.Close() })
	f.Fuzz(func(t *testing.T, value []byte, cookie string) {
		key, name := names(state)
		if err := kept.Put(context.Background(), key, store.Item{Value: value, Expires: time.Now().Add(time.Minute)}); err != nil {
			return // too large
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Cookie", name+"="+cookie)
		v := &visit{SignIn: &SignIn{Options: Options{Store: kept}}, r: r, ctx: context.Background()}
		got, err := v.take(state)
		if err == nil {
			mine := false
			for _, c := range r.CookiesNamed(name) {
				mine = mine || string(hash(c.Value)) == string(got.Binding)
			}
			if !mine {
				t.Fatalf("%q is answered to the cookie %q", value, cookie)
			}
		}
		if _, err := v.take(state); err == nil {
			t.Fatalf("%q is answered twice", value)
		}
	})
}
