// Package demo holds what `akprox demo` shows akprox with: a small OpenID
// issuer and a guarded web program. Both live in memory and are made for
// loopback. The issuer follows the rules of its trade (PKCE, one-time codes,
// exact redirect addresses, signed ID tokens), but it shows the passwords of
// its users on its sign-in page. Never put it on a network.
//
// The package knows nothing of akprox: where things listen and how akprox
// stands before them is the command's.
package demo
