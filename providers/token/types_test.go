package token_test

import (
	"slices"
	"testing"

	"github.com/akprox/akprox/outpost"
)

type identity = outpost.Identity

func wantList(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
