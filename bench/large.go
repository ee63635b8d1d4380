package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/outpost/store/disk"
	"github.com/akprox/akprox/providers/knock"
)

func signedInDisk(l *lab, t trial) ([]row, error) {
	t.cpu = &cpuTrial{
		document: edit(smallDocument, memoryStore, diskStore(l.file("store"))),
		path:     traefikPath, headers: signedIn, status: http.StatusOK, limit: 1.2,
	}
	return measureCPU(l, t)
}

const manyApplications, manyRules = 10_000, 100

// largeSignedIn compares a small outpost with a large one, both asked by people
// whom they have seen before, and tells what others cost there.
func largeSignedIn(l *lab, t trial) ([]row, error) {
	folder, err := l.largeStore()
	if err != nil {
		return nil, err
	}
	small, err := l.fewPeople(1000)
	if err != nil {
		return nil, err
	}
	defer small.kill()
	big, err := l.people(large(edit(peopleDocument, memoryStore, diskStore(folder)), manyApplications, manyRules), folder, l.sessions/1000)
	if err != nil {
		return nil, err
	}
	defer big.kill()
	costs, err := l.costs(small, big)
	if err != nil {
		return nil, err
	}
	if err := l.profile(t.name, big); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s, %s applications, %d rules, %s sessions", t.name, thousands(manyApplications), manyRules, thousands(l.sessions))
	seen := atMost(row{
		name: name + " (beside one application, 2 rules, 1,000 sessions)", floor: micros(median(costs[0])) + " (small)", akprox: micros(median(costs[1])), target: "≤ 1.10",
	}, ratio(costs[1], costs[0]), 1.1)
	all := big
	if all.requests, err = requestsOf(folder, max(1, l.sessions/300_000)); err != nil {
		return nil, err
	}
	costs, err = l.costs(small, all)
	if err != nil {
		return nil, err
	}
	unseen := atMost(row{
		name: "the same, each time another of " + thousands(len(all.requests)) + " people, read from the disk store", floor: micros(median(costs[0])) + " (small)", akprox: micros(median(costs[1])),
		why: "each session is read from the file and decoded, since no more than 50,000 are held decoded",
	}, ratio(costs[1], costs[0]), 0)
	return []row{seen, unseen}, nil
}

// allLook compares rules that each have to look at a path with the floor, and
// with an outpost of two rules.
func allLook(l *lab, t trial) ([]row, error) {
	few, floor, err := l.pair(&cpuTrial{path: traefikPath, headers: signedIn, status: http.StatusOK})
	if err != nil {
		return nil, err
	}
	defer few.kill()
	defer floor.kill()
	many, err := l.ours(&cpuTrial{document: edit(smallDocument, "RULE", rulesThatLook(manyRules-2)), path: traefikPath, headers: signedIn, status: http.StatusOK}, "")
	if err != nil {
		return nil, err
	}
	defer many.kill()
	costs, err := l.costs(floor, few, many)
	if err != nil {
		return nil, err
	}
	floors, small, ours := micros(median(costs[0])), micros(median(costs[1])), micros(median(costs[2]))
	return []row{
		atMost(row{name: t.name, floor: floors, akprox: ours}, ratio(costs[2], costs[0]), 1.2),
		atMost(row{name: t.name + " (beside 2 rules)", floor: small + " (small)", akprox: ours}, ratio(costs[2], costs[1]), 1.1),
	}, l.profile(t.name, many)
}

// fewPeople starts akprox with one application and so many sessions.
func (l *lab) fewPeople(sessions int) (contestant, error) {
	folder := l.file("store")
	if err := generate(folder, sessions); err != nil {
		return contestant{}, err
	}
	return l.people(edit(peopleDocument, memoryStore, diskStore(folder)), folder, 1)
}

// people starts akprox over generated sessions and asks with every step-th.
func (l *lab) people(document, folder string, step int) (contestant, error) {
	s, err := l.startAkprox(document, "")
	if err != nil {
		return contestant{}, err
	}
	c := contestant{s, asking{status: http.StatusOK}}
	if c.requests, err = requestsOf(folder, step); err != nil {
		s.kill()
	}
	return c, err
}

func requestsOf(folder string, step int) ([][]byte, error) {
	cookies, err := readCookies(folder, step)
	requests := make([][]byte, len(cookies))
	for i, c := range cookies {
		requests[i] = request(traefikPath, with(traefikAsks, c)...)
	}
	return requests, err
}

// manyLeases compares a check behind a gate with one lease and with many.
func manyLeases(l *lab, t trial) ([]row, error) {
	const leases, phone = 100_000, "bench-phone-key-0123456789"
	gate := edit(smallDocument,
		"PROVIDER", `  - { name: door, kind: knock, max_leases: 200000, keys: [ { name: phone, key: { value: `+phone+` }, ttl: 86400, allow_remote_whitelist: true } ] }`+"\n",
		"OPTION", "    gate: [door]\n")
	start := func(n int) (contestant, error) {
		folder := l.file("store")
		if err := admitMany(folder, phone, n); err != nil {
			return contestant{}, err
		}
		return l.ours(&cpuTrial{document: edit(gate, memoryStore, diskStore(folder)), path: traefikPath, headers: signedIn}, "")
	}
	few, err := start(1)
	if err != nil {
		return nil, err
	}
	defer few.kill()
	many, err := start(leases)
	if err != nil {
		return nil, err
	}
	defer many.kill()
	few.status, many.status = http.StatusOK, http.StatusOK
	costs, err := l.costs(few, many)
	if err != nil {
		return nil, err
	}
	if err := l.profile(t.name, many); err != nil {
		return nil, err
	}
	r := row{name: t.name + ", a gate before the session (beside one lease)", floor: micros(median(costs[0])) + " (small)", akprox: micros(median(costs[1]))}
	r.why = "finding the lease costs the same; the difference is the collector, which walks over all"
	return []row{atMost(r, ratio(costs[1], costs[0]), 0)}, nil
}

// admitMany makes a store in which the client of all trials and others hold
// leases.
func admitMany(folder, phone string, leases int) error {
	st, err := disk.Open(folder, disk.Options{})
	if err != nil {
		return err
	}
	door, err := knock.New(knock.Options{Name: "door", MaxLeases: 2 * leases, Store: st, Keys: []knock.Key{{Name: "phone", Key: phone, TTL: 86400, AllowRemote: true}}})
	if err != nil {
		return errors.Join(err, st.Close())
	}
	const lanes = 500
	failures := make(chan error, lanes)
	for lane := range lanes {
		go func() {
			for n := lane; n < leases; n += lanes {
				a := netip.AddrFrom4([4]byte{198, 51, 100, 7})
				if n > 0 {
					a = netip.AddrFrom4([4]byte{20, byte(n >> 16), byte(n >> 8), byte(n)})
				}
				if _, err := door.Knock(context.Background(), a, phone, knock.Request{}); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range lanes {
		err = errors.Join(err, <-failures)
	}
	return errors.Join(err, st.Close())
}

// memoryAndStart measures what an idle outpost takes, what sessions add, and how
// soon it serves.
func memoryAndStart(l *lab, _ trial) ([]row, error) {
	idle, err := l.startAkprox(edit(smallDocument, memoryStore, diskStore(l.file("store"))), "")
	if err != nil {
		return nil, err
	}
	time.Sleep(3 * time.Second)
	alone, err := resident(idle)
	idle.kill()
	if err != nil {
		return nil, err
	}
	folder, err := l.largeStore()
	if err != nil {
		return nil, err
	}
	dropCaches(folder)
	c, err := l.people(edit(peopleDocument, memoryStore, diskStore(folder)), folder, 1)
	if err != nil {
		return nil, err
	}
	defer c.kill()
	start := row{name: "start with " + thousands(l.sessions) + " sessions on disk", akprox: c.up.Round(time.Millisecond).String(), target: "≤ 2 s", value: c.up.Seconds(), limit: 2}
	opened, err := resident(c.server)
	if err == nil {
		err = c.at.drive(c.asking, len(c.requests))
	}
	if err != nil {
		return nil, err
	}
	touched, err := resident(c.server)
	if err != nil {
		return nil, err
	}
	mapped, err := memory(c.server, "RssFile:")
	if err != nil {
		return nil, err
	}
	time.Sleep(12 * time.Second) // a sweep, and the runtime's own return of memory
	rested, err := resident(c.server)
	per := func(bytes int) float64 { return float64(bytes) / float64(l.sessions) }
	each := func(name string, now int) row {
		return row{name: name, akprox: fmt.Sprintf("%.0f bytes", per(now-alone)), target: "≤ 700 bytes", value: per(now - alone), limit: 700}
	}
	return []row{
		{name: "resident memory, idle", akprox: fmt.Sprintf("%.1f MiB", float64(alone)/(1<<20)), target: "≤ 25 MiB", value: float64(alone) / (1 << 20), limit: 25},
		each("resident memory for each of "+thousands(l.sessions)+" sessions, after the start", opened),
		{
			name: "the same, at once after each was asked for", akprox: fmt.Sprintf("%.0f bytes, %.0f of them pages of the file", per(touched-alone), per(mapped)),
			target: "≤ 700 bytes beside those pages", value: per(touched - alone - mapped), limit: 700,
		},
		each("the same, some seconds later", rested),
		start,
	}, err
}

// resident answers the resident memory of a server in bytes.
func resident(s *server) (int, error) { return memory(s, "VmRSS:") }

// memory answers what proc(5) says of a server's memory, in bytes.
func memory(s *server, what string) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), what)
	line, _, _ := strings.Cut(rest, "kB")
	kb, err := strconv.Atoi(strings.TrimSpace(line))
	return kb << 10, err
}

// dropCaches makes the system forget the store's file, as after a restart of
// the machine, where that may be asked for.
func dropCaches(folder string) {
	_ = exec.Command("dd", "of="+filepath.Join(folder, disk.FileName), "oflag=nocache", "conv=notrunc,fdatasync", "count=0").Run()
}
