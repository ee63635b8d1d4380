// Package exam asks a guarded site through its real reverse proxy, as a
// browser and as an attacker would, and says what is wrong and how to mend it.
//
// It knows what can be seen from outside, and what its caller tells of the
// document. It does not judge requests: the words of package outpost that it
// reads are those that the outpost itself shows. It never prints a cookie, a
// token, a code or a state.
package exam
