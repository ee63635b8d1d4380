// Package heap decides how often the garbage collector runs.
package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// headroom is how many bytes are allocated between two collections beside as
// many as live. So little lives in an outpost that Go, left to itself, collects
// every four megabytes, and a fifth of the time of a request went there.
const headroom = 16 << 20

// Pace keeps the garbage collector at that. Who sets GOGC has decided
// otherwise.
func Pace() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := 100
	adjust := func() {
		metrics.Read(live)
		want := collectAt(live[0].Value.Uint64())
		if want < percent || want > percent+percent/8 {
			percent = want
			debug.SetGCPercent(want)
		}
	}
	var afterEach func(*[64]byte) // large enough to be collected by itself
	afterEach = func(b *[64]byte) {
		adjust()
		runtime.SetFinalizer(b, afterEach)
	}
	adjust()
	runtime.SetFinalizer(new([64]byte), afterEach)
}

// collectAt answers the GOGC that leaves headroom over so many live bytes.
func collectAt(live uint64) int {
	const least = 2 << 20 // nothing has been collected yet
	return 100 + int(headroom*100/max(live, least))
}
