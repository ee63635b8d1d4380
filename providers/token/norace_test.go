//go:build !race

package token_test

const manyBad = 100_000
