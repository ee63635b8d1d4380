package password

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/providers/password/hash"
)

// Times are not measured, since that would be a matter of luck: what is
// counted is the hashes computed, of which there is one whoever is asked for.
func TestE10AnUnknownUserCostsTheSameWorkAsAKnownOne(t *testing.T) {
	right, err := Hash("right")
	if err != nil {
		t.Fatal(err)
	}
	u, err := New(Options{Users: []User{
		{Username: "john", Password: right},
		{Username: "disabled", Password: right, Disabled: true},
		{Username: "service"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for i, login := range []string{"john", "disabled", "service", "nobody"} {
		before := u.pool.Checked()
		_, err := u.Check(context.Background(), login, "wrong", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}))
		if !errors.Is(err, ErrRefused) {
			t.Fatalf("%s: %v", login, err)
		}
		if n := u.pool.Checked() - before; n != 1 {
			t.Fatalf("%s: %d hashes", login, n)
		}
		if said = append(said, err.Error()); said[i] != said[0] {
			t.Fatalf("%s: %q is not %q", login, said[i], said[0])
		}
	}
}

func TestE10MadeUpUsersCostTheMixtureThatUsersCost(t *testing.T) {
	const cheapHash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
	const dearHash = "$argon2id$v=19$m=16,t=3,p=2$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"
	u, err := New(Options{Users: []User{{Username: "a", Password: cheapHash}, {Username: "b", Password: dearHash}}})
	if err != nil {
		t.Fatal(err)
	}
	decoys := map[*hash.Hash]int{}
	for i := range 1000 {
		a := u.attempt(fmt.Sprint("nobody", i), "x", netip.Addr{})
		h, enabled := a.hash()
		if again, _ := a.hash(); enabled || again != h {
			t.Fatal("a decoy lets in, or changes from one attempt to the next")
		}
		decoys[h]++
	}
	if len(decoys) != 2 {
		t.Fatalf("%d costs, not those of the two users", len(decoys))
	}
	for _, n := range decoys {
		if n < 350 {
			t.Fatalf("they are not mixed: %v", decoys)
		}
	}
}

func TestARightPasswordIsCheckedOnce(t *testing.T) {
	right, err := Hash("right")
	if err != nil {
		t.Fatal(err)
	}
	var now clockAt
	u, err := New(Options{Users: []User{{Username: "john", Email: "j@example.com", Password: right}}, Now: now.now})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr("192.0.2.1")
	var all sync.WaitGroup
	var ids [50]*outpost.Identity
	for i := range ids {
		all.Go(func() {
			id, err := u.Check(context.Background(), "john", "right", at)
			if err != nil {
				t.Error(err)
			}
			ids[i] = id
		})
	}
	all.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("not always the same identity")
		}
	}
	for _, login := range []string{"john", "JOHN", "j@example.com"} {
		if _, err := u.Check(context.Background(), login, "right", at); err != nil {
			t.Fatal(err)
		}
	}
	if n := u.pool.Checked(); n != 1 {
		t.Fatalf("%d hashes for 53 requests", n)
	}
	now.forward(verifiedFor)
	if _, err := u.Check(context.Background(), "john", "right", at); err != nil || u.pool.Checked() != 2 {
		t.Fatalf("%d hashes after it was forgotten, %v", u.pool.Checked(), err)
	}
	if _, err := u.Check(context.Background(), "john", "wrong", at); !errors.Is(err, ErrRefused) || u.pool.Checked() != 3 {
		t.Fatalf("a wrong password beside a remembered one: %v", err)
	}
}

func TestWhoIsThrottledCostsNoWork(t *testing.T) {
	u, err := New(Options{Users: []User{{Username: "john"}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, err = u.Check(context.Background(), "john", "x", netip.MustParseAddr("192.0.2.1"))
	}
	var limited *ThrottledError
	if n := u.pool.Checked(); n != 5 || !errors.As(err, &limited) {
		t.Fatalf("%d hashes, %v", n, err)
	}
}

func TestAFullPoolIsUnavailableAndNoFailure(t *testing.T) {
	u, err := New(Options{Users: []User{{Username: "john"}}, Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := u.pool.Enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var limited *ThrottledError
	for i := range 10 {
		_, err := u.Check(ctx, "john", fmt.Sprint(i), netip.MustParseAddr("192.0.2.1"))
		if !errors.Is(err, outpost.ErrUnavailable) || !errors.Is(err, context.Canceled) || errors.As(err, &limited) || errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	u.pool.Leave()
}

func TestWhoHangsUpHasGuessedAllTheSame(t *testing.T) {
	u, err := New(Options{Users: []User{{Username: "john"}}, Parallel: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for i := range 5 {
		_, _ = u.Check(ctx, "john", fmt.Sprint("guess", i), netip.MustParseAddr("192.0.2.1"))
	}
	for u.pool.Checked() < 5 {
		time.Sleep(time.Millisecond)
	}
	if err := u.pool.Enter(context.Background()); err != nil { // the fifth has left
		t.Fatal(err)
	}
	u.pool.Leave()
	var limited *ThrottledError
	if _, err := u.Check(context.Background(), "john", "x", netip.MustParseAddr("198.51.100.7")); !errors.As(err, &limited) {
		t.Fatalf("guesses whose client left were free: %v", err)
	}
}
