package session

import "testing"

// FuzzRecord: what stands in a store may be anybody's bytes. A record that is
// taken names its cookie and somebody; nothing panics.
func FuzzRecord(f *testing.F) {
	for _, s := range []string{
		`{"identity":{"sub":"a","username":"a","provider":"p"},"cookie":"akprox_1","created":"2026-01-01T00:00:00Z"}`, `{}`, `null`, ``, `[]`,
		`{"identity":null,"cookie":"x"}`, `{"identity":{},"cookie":""}`, "\x00\xff", `{"identity":{"claims":{"a":[1,{"b":null}]}},"cookie":"c","created":"x"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if rec := decode(value); rec != nil && (rec.Identity == nil || rec.Cookie == "") {
			t.Fatalf("%q is taken as %+v", value, rec)
		}
	})
}
