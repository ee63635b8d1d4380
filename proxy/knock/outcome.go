package knock

import "net/http"

// Outcome is what became of a knock. Its zero value is a failure of ours.
type Outcome int

// The outcomes.
const (
	Failed       Outcome = iota // the lease could not be kept
	Opened                      // the address is admitted
	NoClient                    // the client's address is not known
	BadKey                      // no key, or none of ours
	TooLarge                    // a body of more than 4096 bytes
	NotJSON                     // a body of another type
	Malformed                   // a body that is no JSON
	NotObject                   // a body that is no JSON object
	BadTTL                      // a time that is no positive whole number
	TTLTooLong                  // more than ten years
	AddressLong                 // longer than any address
	BadAddress                  // neither an address nor a range
	UnknownField                // the body has a field that means nothing
	NoRemote                    // the key may admit its own address alone
	TooBroad                    // a range that is too wide
	Reserved                    // a range that nobody may be given
	Full                        // as many leases as there may be
	Limited                     // too many knocks
)

// words answers the status and the text that Knocker's documents give. They
// give none for Reserved, which Knocker admits.
func (o Outcome) words() (status int, text string) {
	switch o {
	case NoClient:
		return http.StatusBadRequest, "Could not determine client IP."
	case BadKey:
		return http.StatusUnauthorized, "Invalid or missing API key."
	case TooLarge:
		return http.StatusRequestEntityTooLarge, "Request body too large."
	case NotJSON:
		return http.StatusUnsupportedMediaType, "Request body must be JSON."
	case Malformed:
		return http.StatusBadRequest, "Malformed JSON request body."
	case NotObject:
		return http.StatusBadRequest, "Request body must be a JSON object."
	case BadTTL:
		return http.StatusBadRequest, "Invalid TTL specified. Must be a positive integer."
	case TTLTooLong:
		return http.StatusBadRequest, "TTL too large. Maximum allowed is 315360000 seconds (10 years)."
	case AddressLong:
		return http.StatusBadRequest, "IP address or CIDR notation too long."
	case BadAddress:
		return http.StatusBadRequest, "Invalid IP address or CIDR notation in request body."
	case UnknownField:
		return http.StatusBadRequest, "Invalid request data."
	case NoRemote:
		return http.StatusForbidden, "API key lacks remote whitelist permission."
	case TooBroad:
		return http.StatusBadRequest, "CIDR range too broad. Maximum 65536 addresses allowed."
	case Reserved:
		return http.StatusBadRequest, "IP address or CIDR range cannot be whitelisted."
	case Full:
		return http.StatusServiceUnavailable, "Whitelist is at capacity. Try again later."
	case Limited:
		return http.StatusTooManyRequests, "Too many knock attempts."
	}
	return http.StatusInternalServerError, "Internal server error: whitelist persistence or firewall configuration failed."
}
