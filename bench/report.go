package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// row is one line of the table; a cell that says nothing is "". A row has a
// target and its limit, or says why it has none.
type row struct {
	name, floor, akprox, peer, ratio, target string
	value, limit                             float64 // limit 0: a figure without a target
	why                                      string  // there is no target
	missing                                  string  // why there are no figures
}

func (r row) met() string {
	switch {
	case r.missing != "":
		return "?"
	case r.limit == 0:
		return ""
	case r.value <= r.limit:
		return "yes"
	}
	return "**no**"
}

const tableHead = "| what | floor | akprox | oauth2-proxy | ratio | target | met |\n|---|---|---|---|---|---|---|"

func (r row) String() string {
	if r.missing != "" {
		return fmt.Sprintf("| %s | | %s | | | %s | ? |", r.name, r.missing, r.target)
	}
	target := r.target
	if r.limit == 0 {
		target = "none: " + r.why
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", r.name, r.floor, r.akprox, r.peer, r.ratio, target, r.met())
}

// atMost is a target on a ratio; limit 0 is none, for r.why.
func atMost(r row, ratio, limit float64) row {
	r.value, r.limit, r.ratio = ratio, limit, fmt.Sprintf("%.2f", ratio)
	if r.target == "" {
		r.target = fmt.Sprintf("≤ %.2f", limit)
	}
	return r
}

func micros(v float64) string { return fmt.Sprintf("%.1f µs", v) }

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	if len(list)%2 == 0 {
		return (list[len(list)/2-1] + list[len(list)/2]) / 2
	}
	return list[len(list)/2]
}

// percentile answers the p-th (0 to 1) of the times.
func percentile(list []time.Duration, p float64) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[min(int(float64(len(list))*p), len(list)-1)]
}

func thousands(n int) string {
	s := fmt.Sprint(n)
	var parts []string
	for len(s) > 3 {
		parts, s = append(parts, s[len(s)-3:]), s[:len(s)-3]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return strings.Join(parts, ",")
}
