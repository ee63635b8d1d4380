// Package knocker makes an akprox.yaml of a knocker.yaml, so that Knocker's
// users move without writing anything anew, and says what it changed.
package knocker
