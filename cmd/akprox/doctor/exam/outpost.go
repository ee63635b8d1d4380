package exam

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/akprox/akprox/cmd/akprox/doctor/browser"
	"github.com/akprox/akprox/cmd/akprox/doctor/finding"
)

// maxSkew is how far clocks may be apart; tokens have a leeway of 30 s, and a
// Date header is rounded.
const maxSkew = time.Minute

// sample is how far somebody's clock is ahead of ours.
type sample struct {
	who   string
	ahead time.Duration
}

// sample reads the Date of an answer that has just come, once for each of whom.
func (e *exam) sample(who string, a browser.Answer) {
	date, err := http.ParseTime(a.Header.Get("Date"))
	if err == nil && !slices.ContainsFunc(e.skew, func(s sample) bool { return s.who == who }) {
		e.skew = append(e.skew, sample{who, date.Sub(e.Now()).Round(time.Second)})
	}
}

// clocks compares all clocks that were seen with this machine's, and with each
// other.
func (e *exam) clocks(context.Context) {
	if len(e.skew) == 0 {
		e.unknown("no answer has a Date")
		return
	}
	worst, seen := time.Duration(0), []string{}
	for i, s := range e.skew {
		seen = append(seen, fmt.Sprintf("the clock of %s is %s this machine's", s.who, ahead(s.ahead)))
		worst = max(worst, s.ahead.Abs())
		for _, other := range e.skew[:i] {
			worst = max(worst, (s.ahead - other.ahead).Abs())
		}
	}
	if worst > maxSkew {
		e.find("clock", seen...)
		return
	}
	e.good("%s", strings.Join(seen, "; "))
}

func ahead(d time.Duration) string {
	switch {
	case d.Abs() <= 2*time.Second:
		return "as"
	case d > 0:
		return d.String() + " ahead of"
	}
	return (-d).String() + " behind"
}

// readiness is what /readyz answers.
type readiness struct {
	Checks  map[string]string `json:"checks"`
	Issuers map[string]string `json:"issuers"`
}

func (e *exam) metrics(ctx context.Context, path string) (browser.Answer, error) {
	u, err := url.Parse(strings.TrimSuffix(e.Metrics, "/") + path)
	if err != nil {
		return browser.Answer{}, err
	}
	e.Allow(u)
	return e.Visitor().Send(ctx, http.MethodGet, u, http.Header{}, "")
}

// outpost asks akprox itself how it is, where its metrics listener is known.
func (e *exam) outpost(ctx context.Context) {
	if e.Metrics == "" {
		e.unknown("where akprox tells how it is was not said; give --metrics, or --config on its machine")
		return
	}
	a, err := e.metrics(ctx, "/readyz")
	var r readiness
	if err != nil || json.Unmarshal([]byte(a.Body), &r) != nil {
		e.unknown("%s does not answer from here", e.Metrics)
		return
	}
	e.sample("akprox", a)
	bad := r.bad()
	issuers := slices.ContainsFunc(slices.Collect(maps.Values(r.Issuers)), func(s string) bool { return s != "ok" })
	switch {
	case issuers:
		e.find("issuer-from-outpost", bad...)
	case len(bad) > 0:
		e.find("unavailable", bad...)
	default:
		e.good("akprox says that it is ready, and reaches %s", finding.Count(len(r.Issuers), "issuer"))
	}
}

func (r readiness) bad() []string {
	var list []string
	for what, all := range map[string]map[string]string{"": r.Checks, "issuer ": r.Issuers} {
		for name, text := range all {
			if text != "ok" {
				list = append(list, "akprox says, "+what+name+": "+text)
			}
		}
	}
	slices.Sort(list)
	return list
}

// notReady answers what akprox says is wrong, where it can be asked.
func (e *exam) notReady() []string {
	if e.Metrics == "" {
		return nil
	}
	a, err := e.metrics(context.Background(), "/readyz")
	var r readiness
	if err != nil || json.Unmarshal([]byte(a.Body), &r) != nil {
		return nil
	}
	return r.bad()
}

var (
	decisions = regexp.MustCompile(`(?m)^akprox_decisions_total\{([^}]*)\} (\S+)$`)
	label     = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// counted asks the page once more and answers the reason of the refusal that
// akprox counted meanwhile: nginx does not show one. "" when it is not known.
func (e *exam) counted(ctx context.Context) string {
	if e.Metrics == "" {
		return ""
	}
	before, err := e.refusals(ctx)
	if err != nil {
		return ""
	}
	if _, err = e.Visitor().Browse(ctx, e.asked); err != nil {
		return ""
	}
	after, err := e.refusals(ctx)
	if err != nil {
		return ""
	}
	found := ""
	for reason, n := range after {
		if n > before[reason] {
			if found != "" {
				return "" // others are asking, too
			}
			found = reason
		}
	}
	return found
}

// refusals answers how often akprox has refused, by reason.
func (e *exam) refusals(ctx context.Context) (map[string]float64, error) {
	all, by := map[string]float64{}, func(labels map[string]string) string {
		if labels["outcome"] == "allow" || labels["outcome"] == "sign_in" {
			return ""
		}
		return labels["reason"]
	}
	err := e.tally(ctx, all, by)
	return all, err
}

// dialect answers the one in which akprox has been asked, where it can be told.
func (e *exam) dialect(ctx context.Context) string {
	all := map[string]float64{}
	if e.Metrics == "" || e.tally(ctx, all, func(labels map[string]string) string { return labels["dialect"] }) != nil {
		return ""
	}
	delete(all, "direct")
	for name := range all {
		if len(all) == 1 {
			return name
		}
	}
	return ""
}

// tally adds akprox's counts of decisions, by what by answers; "" is left out.
func (e *exam) tally(ctx context.Context, all map[string]float64, by func(labels map[string]string) string) error {
	a, err := e.metrics(ctx, "/metrics")
	if err != nil {
		return err
	}
	for _, m := range decisions.FindAllStringSubmatch(a.Body, -1) {
		labels := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(m[1], -1) {
			labels[l[1]] = l[2]
		}
		if n, err := strconv.ParseFloat(m[2], 64); err == nil && by(labels) != "" {
			all[by(labels)] += n
		}
	}
	return nil
}
