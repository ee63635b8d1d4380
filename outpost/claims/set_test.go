package claims_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/akprox/akprox/outpost/claims"
)

func TestWhatTwoReadersCouldReadInTwoWaysIsRefused(t *testing.T) {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for text, want := range map[string]string{
		`{"sub":"a","x":[{"y":1},{"y":2}],":\"{":":\\","\\":[]}`: "",
		`{"sub":"a","x":` + deep + `}`:                           "",
		`{}`:                                                     "",
		`{"sub":"a","sub":"a"}`:                                  "twice",
		`{"sub":"a","\u0073ub":"b"}`:                             "twice",
		`{"x":{"y":1,"z":{},"y":2}}`:                             "twice",
		`{"x":[[{"y":{"z":1},"y":{"z":2,"w":3}}]]}`:              "twice",
		`{"\ud800":1,"\ud801":2}`:                                "twice",
		`{"Sub":"x"}`:                                            "could be taken for",
		`{"NONCE":"x"}`:                                          "could be taken for",
		`{"i` + "\u017f" + `s":"x"}`:                             "could be taken for",
		`{"Email_Verified":true}`:                                "could be taken for",
		"{\"sub\":\"\xff\"}":                                     "UTF-8",
		"\ufeff{}":                                               "no JSON",
		`{} {}`:                                                  "no JSON",
		`{"a":1,}`:                                               "no JSON",
		``:                                                       "no JSON",
		strings.Repeat("[", 20000) + strings.Repeat("]", 20000): "no JSON",
		`["sub"]`: "no JSON object",
		`null`:    "no JSON object",
	} {
		s, err := claims.Decode([]byte(text))
		if (err == nil) != (want == "") || err != nil && (s != nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
		var again claims.Set
		if unmarshalled := json.Unmarshal([]byte(text), &again); (unmarshalled == nil) != (err == nil) && want != "UTF-8" {
			t.Errorf("%.60s: as part of a document: %v", text, unmarshalled)
		}
	}
}

func TestScopes(t *testing.T) {
	many := strings.TrimSpace(strings.Repeat("s ", 10)) + strings.Repeat("x", 1025)
	for text, want := range map[string][]string{
		`{"scope":"a b a","scp":["b","c d"]}`:              {"a", "b", "c", "d"},
		`{"scp":"x y"}`:                                    {"x", "y"},
		`{"scope":["x"],"scp":7}`:                          {"x"},
		`{"scope":["x",7]}`:                                nil,
		`{"scope":"a\tb \"c\" d \\ \u0000 é ","scp":null}`: {"d"},
		`{"scope":"Orders:Read"}`:                          {"Orders:Read"},
		`{"scope":"` + many + `"}`:                         {"s"},
		`{}`:                                               nil,
	} {
		if got := set(t, text).Scopes(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestTimesTextsAndLists(t *testing.T) {
	s := set(t, `{"t":1.5,"null":null,"ms":99999999999999,"huge":1e999,"minus":-1,"text":"7","list":["a","b"],"mixed":["a",7]}`)
	for name, want := range map[string]int64{"t": 1500, "null": -62135596800000, "absent": -62135596800000} {
		if got, err := s.Time(name); err != nil || got.UnixMilli() != want {
			t.Errorf("%s: got %d, %v, want %d", name, got.UnixMilli(), err, want)
		}
	}
	for _, name := range []string{"ms", "huge", "minus", "text", "list"} {
		if got, err := s.Time(name); err == nil {
			t.Errorf("%s is the time %s", name, got)
		}
	}
	for name, want := range map[string][]string{"text": {"7"}, "list": {"a", "b"}, "null": nil} {
		if got, err := s.Texts(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"mixed", "t"} {
		if got, err := s.Texts(name); err == nil {
			t.Errorf("%s is the list %q", name, got)
		}
		if got, err := s.Text(name); err == nil {
			t.Errorf("%s is the text %q", name, got)
		}
	}
}

func TestComplete(t *testing.T) {
	m := claims.Mapping{Groups: "realm_access.roles"}.Filled("username")
	for text, want := range map[string]bool{
		`{"username":"a","email":"b","name":"c","realm_access":{"roles":[]}}`:    true,
		`{"username":"a","email":"b","name":"c","realm_access.roles":[]}`:        true,
		`{"username":"a","email":"b","name":"c","realm_access":{}}`:              false,
		`{"username":"a","email":"b","name":null,"realm_access":{"roles":[]}}`:   false,
		`{"username":"a","email":"b","name":"c","realm_access":"roles"}`:         false,
		`{"username":"a","email":"b","name":"c","realm_access.roles":null}`:      false,
		`{"username":"a","email":"b","realm_access":{"roles":[]},"names":["c"]}`: false,
	} {
		if got := m.Complete(set(t, text)); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}
