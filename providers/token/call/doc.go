// Package call makes the few calls that checking a token needs: one question,
// one bounded answer, no redirects, every one of them told to the metrics. It
// owns the line between "was answered" and "could not be asked", and knows
// nothing of what is asked.
package call
