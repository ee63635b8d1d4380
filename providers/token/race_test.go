//go:build race

package token_test

const manyBad = 10_000 // each takes ten times as long under the race detector
