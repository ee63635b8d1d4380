// Package recent remembers, in bounded memory and for a bounded time, what was
// found out about tokens, under digests of them. It knows nothing of tokens.
package recent
