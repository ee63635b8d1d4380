package knock

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBody bounds the body of a knock, in bytes.
const maxBody = 4096

// integer is how JSON writes a whole number.
var integer = regexp.MustCompile(`^-?[0-9]+$`)

// readAsk reads the body; Failed means that nothing is wrong with it.
func readAsk(w http.ResponseWriter, r *http.Request) (Ask, Outcome) {
	if r.ContentLength > maxBody {
		unread(w, r)
		return Ask{}, TooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return Ask{}, TooLarge
	case err != nil:
		return Ask{}, Malformed
	case len(body) == 0:
		return Ask{}, Failed
	case !saysJSON(r.Header["Content-Type"]):
		return Ask{}, NotJSON
	}
	return parseAsk(body)
}

func saysJSON(types []string) bool {
	if len(types) != 1 {
		return false
	}
	name, _, _ := strings.Cut(types[0], ";")
	return strings.EqualFold(strings.TrimSpace(name), "application/json")
}

// parseAsk is strict: exact keys, whole numbers, strings; null is not given.
func parseAsk(body []byte) (Ask, Outcome) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return Ask{}, Malformed
	}
	var keys map[string]json.RawMessage
	if json.Unmarshal(body, &keys) != nil || keys == nil {
		return Ask{}, NotObject
	}
	var ask Ask
	if raw, ok := keys["ttl"]; ok && string(raw) != "null" {
		n, ok := whole(string(raw))
		if !ok || n <= 0 {
			return Ask{}, BadTTL
		}
		ask.TTL = &n
	}
	if raw, ok := keys["ip_address"]; ok && string(raw) != "null" {
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return Ask{}, BadAddress
		}
		ask.Address = &s
	}
	for key := range keys {
		if key != "ttl" && key != "ip_address" {
			return Ask{}, UnknownField
		}
	}
	return ask, Failed
}

// whole reads a whole number; one beyond int64 is the nearest int64.
func whole(raw string) (int64, bool) {
	if !integer.MatchString(raw) {
		return 0, false
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		n = math.MaxInt64
		if raw[0] == '-' {
			n = math.MinInt64
		}
	}
	return n, true
}
