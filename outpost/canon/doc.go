// Package canon makes the one canonical form of what a client asks for: host,
// scheme, method, and the path in every reading that some server gives it; and
// it matches path patterns against that form. Everything here is pure, and
// whatever is not surely well-formed is refused.
package canon

// Refused is the error of every function here: what no honest client or proxy
// sends. Reason is one of the constants below; Detail is for the log and
// repeats nothing of the input.
type Refused struct{ Reason, Detail string }

// Error answers the reason and the detail.
func (e *Refused) Error() string {
	if e.Detail == "" {
		return e.Reason
	}
	return e.Reason + ": " + e.Detail
}

// The reasons.
const (
	BadHost         = "bad_host"          // a host that is no host
	BadScheme       = "bad_scheme"        // neither http nor https
	BadMethod       = "bad_method"        // a method that is no token
	BadURI          = "bad_uri"           // not in origin form, or with a forbidden byte
	Oversized       = "oversized"         // longer than its bound
	TooManyReadings = "too_many_readings" // servers could read the path in too many ways
)

func refuse(reason, detail string) error { return &Refused{reason, detail} }
