package main

import (
	"fmt"
	"strings"
)

// contestant is a server and what it is asked.
type contestant struct {
	*server
	asking
}

// costs answers CPU microseconds per request of each contestant, by round, the
// contestants in turn.
func (l *lab) costs(all ...contestant) ([][]float64, error) {
	for _, c := range all {
		if err := c.at.drive(c.asking, l.requests/5); err != nil {
			return nil, err
		}
	}
	costs := make([][]float64, len(all))
	for range l.rounds {
		for i, c := range all {
			before, err := cpu(c.pid())
			if err != nil {
				return nil, err
			}
			if err := c.at.drive(c.asking, l.requests); err != nil {
				return nil, err
			}
			after, err := cpu(c.pid())
			if err != nil {
				return nil, err
			}
			costs[i] = append(costs[i], float64((after-before).Nanoseconds())/1000/float64(l.requests/connections*connections))
		}
	}
	return costs, nil
}

// ratio is the median of a over b, round by round.
func ratio(a, b []float64) float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return median(all)
}

// cpuTrial compares akprox with the floor.
type cpuTrial struct {
	document string
	path     string
	headers  []string // COOKIE stands for a session
	status   int
	limit    float64
	unix     bool
	arrange  func(l *lab, s *server, c *cpuTrial) error // before anything is asked
}

func measureCPU(l *lab, t trial) ([]row, error) {
	c := *t.cpu
	ours, floor, err := l.pair(&c)
	if err != nil {
		return nil, err
	}
	defer ours.kill()
	defer floor.kill()
	costs, err := l.costs(floor, ours)
	if err != nil {
		return nil, err
	}
	r := row{name: t.name, floor: micros(median(costs[0])), akprox: micros(median(costs[1]))}
	return []row{atMost(r, ratio(costs[1], costs[0]), c.limit)}, l.profile(t.name, ours)
}

// pair starts akprox, and a floor that repeats its answer.
func (l *lab) pair(c *cpuTrial) (ours, floor contestant, err error) {
	var here, there target
	if c.unix {
		here, there = target("unix:"+l.file("akprox.sock")), target("unix:"+l.file("floor.sock"))
	}
	if ours, err = l.ours(c, here); err != nil {
		return ours, floor, err
	}
	heard, err := ours.heard(ours.requests[0])
	if err == nil && heard.Status != c.status {
		err = fmt.Errorf("akprox answered %d, want %d: %v %s", heard.Status, c.status, heard.Header, heard.Body)
	}
	if err == nil {
		floor.asking = ours.asking
		floor.server, err = l.startFloor(heard, there)
	}
	if err != nil {
		ours.kill()
	}
	return ours, floor, err
}

// ours starts akprox and makes the requests of c.
func (l *lab) ours(c *cpuTrial, at target) (contestant, error) {
	if c.document == "" {
		c.document = smallDocument
	}
	s, err := l.startAkprox(c.document, at)
	if err != nil {
		return contestant{}, err
	}
	if c.arrange != nil {
		err = c.arrange(l, s, c)
	}
	lines := strings.Join(c.headers, "\r\n")
	if err == nil && strings.Contains(lines, "COOKIE") {
		var session string
		session, err = l.issuer.signIn(s.at, "/akprox/start?rd=/")
		lines = strings.ReplaceAll(lines, "COOKIE", session)
	}
	if err != nil {
		s.kill()
		return contestant{}, err
	}
	return contestant{s, asking{[][]byte{request(c.path, lines)}, c.status}}, nil
}
