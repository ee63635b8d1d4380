// Package backchannel makes the outpost's own HTTP calls to an OpenID issuer:
// to the right one of its two addresses, bounded in time and size, without
// redirects, and with every answer that is none turned into an error of the
// call. It knows no OpenID beyond the kinds of call there are.
package backchannel
