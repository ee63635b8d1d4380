package heap

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestCollectAtLeavesHeadroom(t *testing.T) {
	for _, live := range []uint64{0, 1 << 20, 4 << 20, 64 << 20, 4 << 30} {
		percent := collectAt(live)
		goal := live + live*uint64(percent)/100
		if most := 2*live + headroom; percent < 100 || goal > most {
			t.Errorf("%d bytes live: GOGC %d lets the heap grow to %d, want %d at most", live, percent, goal, most)
		}
	}
	if got := collectAt(4 << 20); got != 500 {
		t.Errorf("4 MiB live: GOGC %d, want 500", got)
	}
}

// TestTheCollectorIsPaced: what lives now decides when the next collection is.
func TestTheCollectorIsPaced(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	Pace()
	percent := func(good func(int) bool) (last int) {
		for range 500 {
			runtime.GC()
			last = debug.SetGCPercent(100)
			debug.SetGCPercent(last)
			if good(last) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		return last
	}
	small := percent(func(p int) bool { return p > 100 })
	if small <= 100 {
		t.Fatalf("GOGC is %d", small)
	}
	live := make([]byte, 512<<20)
	if large := percent(func(p int) bool { return p <= 110 }); large > 110 {
		t.Errorf("with 512 MiB live GOGC is %d", large)
	}
	runtime.KeepAlive(live)
}
