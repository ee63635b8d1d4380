package main

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/akprox/akprox/outpost/store/disk"
)

const (
	paceConnections = 32
	paceTime        = 2 * time.Second
)

// tail compares latencies at half of the rate that akprox can answer.
func tail(l *lab, t trial) ([]row, error) {
	ours, floor, err := l.pair(&cpuTrial{document: edit(smallDocument, refusedOnly, allLogged), path: traefikPath, headers: signedIn, status: 200})
	if err != nil {
		return nil, err
	}
	defer ours.kill()
	defer floor.kill()
	var rates []float64
	for range 3 {
		r, err := ours.at.rate(ours.asking, paceConnections, time.Second)
		if err != nil {
			return nil, err
		}
		rates = append(rates, r)
	}
	half := median(rates) / 2
	var worst [2][]float64
	var all [2][]time.Duration
	for range l.rounds {
		for i, c := range []contestant{floor, ours} {
			took, err := c.at.pace(c.asking, half, paceConnections, paceTime)
			if err != nil {
				return nil, err
			}
			worst[i] = append(worst[i], percentile(took, .99).Seconds())
			all[i] = append(all[i], took...)
		}
	}
	cell := func(i int) string {
		return fmt.Sprintf("%.2f ms (median %s)", median(worst[i])*1000, millis(percentile(all[i], .5)))
	}
	r := row{name: fmt.Sprintf("%s at half of saturation, %s requests a second, all logged", t.name, thousands(int(half))), floor: cell(0), akprox: cell(1)}
	return []row{atMost(r, median(worst[1])/median(worst[0]), 2)}, nil
}

// steady is a rate that every machine can answer beside other work.
const steady = 2000

// spells tells how long answers took at a steady rate.
func (c contestant) spell(d time.Duration) (string, time.Duration, error) {
	took, err := c.at.pace(c.asking, steady, paceConnections, d)
	if err != nil {
		return "", 0, err
	}
	p99 := percentile(took, .99)
	return fmt.Sprintf("%s (longest %s)", millis(p99), millis(percentile(took, 1))), p99, nil
}

// whileReloading compares latencies with and without a reload of a large
// document.
func whileReloading(l *lab, t trial) ([]row, error) {
	folder := l.file("store")
	if err := generate(folder, 1000); err != nil {
		return nil, err
	}
	c, err := l.people(large(edit(peopleDocument, memoryStore, diskStore(folder)), manyApplications, manyRules), folder, 1)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	if _, _, err := c.spell(time.Second); err != nil {
		return nil, err
	}
	quiet, before, err := c.spell(4 * time.Second)
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	go func() {
		for {
			_ = syscall.Kill(c.pid(), syscall.SIGHUP)
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Second):
			}
		}
	}()
	busy, during, err := c.spell(4 * time.Second)
	close(stop)
	name := fmt.Sprintf("%s with %s applications, 99th percentile at %s a second (beside a quiet time)", t.name, thousands(manyApplications), thousands(steady))
	return []row{
		{name: name, floor: quiet + " (quiet)", akprox: busy, ratio: fmt.Sprintf("%.2f", during.Seconds()/before.Seconds()), target: "≤ 20 ms", value: during.Seconds(), limit: 0.02},
		{name: "start with " + thousands(manyApplications) + " applications", akprox: c.up.Round(time.Millisecond).String(), target: "≤ 2 s", value: c.up.Seconds(), limit: 2},
	}, err
}

// whileSweeping compares latencies while many items of a large store expire and
// are swept with those after it.
func whileSweeping(l *lab, t trial) ([]row, error) {
	const short, life = 50_000, 30 * time.Second
	kept, err := l.largeStore()
	if err != nil {
		return nil, err
	}
	folder := l.file("store")
	if err := copyStore(kept, folder); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	st, err := disk.Open(folder, disk.Options{})
	if err != nil {
		return nil, err
	}
	if err := signInMany(st, short, life, func(string) error { return nil }); err != nil {
		return nil, err
	}
	if err := st.Close(); err != nil {
		return nil, err
	}
	c, err := l.people(edit(peopleDocument, memoryStore, diskStore(folder)), folder, max(1, l.sessions/100_000))
	if err != nil {
		return nil, err
	}
	defer c.kill()
	busy, during, err := c.spell(life + 5*time.Second)
	if err != nil {
		return nil, err
	}
	quiet, after, err := c.spell(10 * time.Second)
	name := fmt.Sprintf("%s %s of %s sessions, 99th percentile at %s a second (beside the time after it)", t.name, thousands(short), thousands(l.sessions+short), thousands(steady))
	return []row{atMost(row{name: name, floor: quiet + " (quiet)", akprox: busy}, during.Seconds()/after.Seconds(), 2)}, err
}
