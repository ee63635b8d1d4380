package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// held is a session as the ledger knows it.
type held struct {
	user, cookie string
	browser      *http.Client
	born         time.Time // its cookie had come
	ending       time.Time // somebody began to end it
	ended        time.Time // that was acknowledged
}

// ledger knows of each session whether it should live, and judges each answer.
type ledger struct {
	bound time.Duration // after an acknowledged end, until every instance refuses

	mu       sync.Mutex
	live     []*held
	ended    []*held // the last ones
	windows  []*window
	excuses  func(user string, at time.Time) bool // a refresh of user was cut then
	phase    string
	phases   []string
	counts   map[string]map[string]int // by phase and column
	seconds  map[string]time.Duration
	since    time.Time
	wrong    []string
	latest   time.Duration // a 2xx so long after an end
	excused  []string
	requests int
}

// window is a time in which something was out of order. Its end is zero while
// it lasts.
type window struct {
	what     string
	from, to time.Time
}

// What a window is about.
const (
	storeGone  = "store"
	issuerGone = "issuer"
	killed     = "killed"
)

// The columns of the table.
const (
	colLive      = "live: 200"
	colLive503   = "live: 503"
	colEnded     = "ended: refused"
	colForged    = "forged, none: refused"
	colPublic    = "public: 200"
	colIn        = "sign-ins"
	colInNot     = "sign-ins unavailable"
	colOut       = "ended"
	colOutNot    = "ends unavailable"
	colRefreshes = "refreshes"
	colReloads   = "reloads"
	colLost      = "lost as documented"
	colWrong     = "wrong"
)

func newLedger(bound time.Duration, excuses func(string, time.Time) bool) *ledger {
	return &ledger{bound: bound, excuses: excuses, counts: map[string]map[string]int{}, seconds: map[string]time.Duration{}, since: time.Now()}
}

// begin begins a phase.
func (l *ledger) begin(phase string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.phase != "" {
		l.seconds[l.phase] += time.Since(l.since)
	}
	l.since, l.phase = time.Now(), phase
	if l.counts[phase] == nil {
		l.phases = append(l.phases, phase)
		l.counts[phase] = map[string]int{}
	}
}

// open says that something is out of order until the answer is called.
func (l *ledger) open(what string) (closed func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &window{what: what, from: time.Now()}
	l.windows = append(l.windows, w)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		w.to = time.Now()
	}
}

// within reports whether something was out of order between two times.
func (l *ledger) within(what string, from, to time.Time) bool {
	return slices.ContainsFunc(l.windows, func(w *window) bool {
		return w.what == what && w.from.Before(to) && (w.to.IsZero() || w.to.After(from))
	})
}

func (l *ledger) count(column string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[l.phase][column]++
}

// fault notes a wrong answer.
func (l *ledger) fault(format string, args ...any) {
	if l.counts[l.phase][colWrong]++; l.counts[l.phase][colWrong] > 20 {
		return
	}
	l.wrong = append(l.wrong, time.Now().Format("15:04:05.000 ")+l.phase+": "+fmt.Sprintf(format, args...))
}

func (l *ledger) faultNow(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault(format, args...)
}

// pick answers a session: one that lives, or one that has ended.
func (l *ledger) pick(living bool) *held {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.ended
	if living {
		from = l.live
	}
	if len(from) == 0 {
		return nil
	}
	return from[rand.IntN(len(from))] // #nosec G404 -- any will do
}

// add takes sessions in whose cookies have come.
func (l *ledger) add(some ...*held) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range some {
		h.born = time.Now()
		l.live = append(l.live, h)
		l.counts[l.phase][colIn]++
	}
}

// end takes sessions out before they are ended: one, or with all those of its
// person. It answers none where somebody else ends them.
func (l *ledger) end(h *held, all bool) []*held {
	l.mu.Lock()
	defer l.mu.Unlock()
	var some []*held
	l.live = slices.DeleteFunc(l.live, func(other *held) bool {
		if other != h && (!all || other.user != h.user) {
			return false
		}
		other.ending = time.Now()
		some = append(some, other)
		return true
	})
	return some
}

// acknowledged says that they have ended; unknown ones are never judged again.
func (l *ledger) acknowledged(some []*held, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range some {
		if !done {
			l.counts[l.phase][colOutNot]++
			continue
		}
		h.ended = time.Now()
		l.counts[l.phase][colOut]++
		if l.ended = append(l.ended, h); len(l.ended) > 400 {
			l.ended = l.ended[200:]
		}
	}
}

// judge judges the answer to a session's cookie.
func (l *ledger) judge(h *held, asked time.Time, status int, user string, err error) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests++
	over := !h.ended.IsZero() && asked.After(h.ended)
	switch {
	case err != nil:
		l.fault("%s: %v", h.user, err)
	case status == http.StatusServiceUnavailable:
		l.unavailable(h, asked, now)
	case status == http.StatusOK && user != h.user:
		l.fault("%s is taken for %s", h.user, user)
	case status == http.StatusOK && over:
		l.lives(h, asked)
	case status == http.StatusOK:
		l.counts[l.phase][colLive]++
	case status == http.StatusUnauthorized && h.ending.IsZero():
		l.lost(h)
	case status == http.StatusUnauthorized:
		l.counts[l.phase][colEnded]++
	default:
		l.fault("%s: answered %d", h.user, status)
	}
}

// unavailable judges a 503. Somebody who is not signed in gets it also while
// nobody can sign in.
func (l *ledger) unavailable(h *held, asked, now time.Time) {
	switch {
	case !h.ending.IsZero() && l.within(issuerGone, asked, now):
		l.counts[l.phase][colEnded]++
	case l.within(storeGone, asked, now):
		l.counts[l.phase][colLive503]++
	case l.within(issuerGone, asked, now): // so whose session is lost gets it
		l.lost(h)
	default:
		l.fault("%s: 503 with a store that answers; signed in: %v", h.user, h.ending.IsZero())
	}
}

// lives judges a session that goes on after its end.
func (l *ledger) lives(h *held, asked time.Time) {
	late := asked.Sub(h.ended)
	if late <= l.bound {
		if l.latest = max(l.latest, late); late > 100*time.Millisecond {
			l.excused = append(l.excused, fmt.Sprintf("%s: %s lives %v after its end, at %v", l.phase, h.user, late, h.ended.Format("15:04:05.000")))
		}
		l.counts[l.phase][colLive]++
		return
	}
	// Redis answers before its replicas know: the end may be lost with the
	// primary, until the instance that ended it ends it again.
	if slices.ContainsFunc(l.windows, func(w *window) bool {
		return w.what == storeGone && h.ended.After(w.from.Add(-2*time.Second)) && (w.to.IsZero() || asked.Before(w.to.Add(2*time.Second)))
	}) {
		l.counts[l.phase][colLost]++
		l.excused = append(l.excused, fmt.Sprintf("%s: %s lives %v after its end, in a failover", l.phase, h.user, late))
		return
	}
	l.latest = max(l.latest, late)
	l.fault("%s lives %v after its end", h.user, late)
}

// lost judges a session that is refused and should live.
func (l *ledger) lost(h *held) {
	l.live = slices.DeleteFunc(l.live, func(other *held) bool { return other == h })
	h.ending = time.Now() // once is enough
	for _, w := range l.windows {
		switch {
		case w.what == storeGone && h.born.Before(w.from) && h.born.After(w.from.Add(-2*time.Second)):
			l.counts[l.phase][colLost]++
			l.excused = append(l.excused, fmt.Sprintf("%s: %s was made %v before the primary died", l.phase, h.user, w.from.Sub(h.born)))
			return
		case l.excuses(h.user, w.from):
			l.counts[l.phase][colLost]++
			l.excused = append(l.excused, fmt.Sprintf("%s: a refresh of %s was cut: %s", l.phase, h.user, w.what))
			return
		}
	}
	l.fault("%s is lost, %v after its sign-in", h.user, time.Since(h.born))
}

// table is what there was, as Markdown.
func (l *ledger) table() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	b.WriteString("| phase | seconds | signed in: 200 | 503 | ended: refused | forged, none: refused | public: 200 | sign-ins (unavailable) | ends (unavailable) | refreshes | documents | lost as documented | wrong |\n")
	b.WriteString("|---|" + strings.Repeat("--:|", 12) + "\n")
	row := func(phase string, took time.Duration, n map[string]int) {
		fmt.Fprintf(&b, "| %s | %.0f | %d | %d | %d | %d | %d | %d (%d) | %d (%d) | %d | %d | %d | %d |\n", phase, took.Seconds(),
			n[colLive], n[colLive503], n[colEnded], n[colForged], n[colPublic], n[colIn], n[colInNot], n[colOut], n[colOutNot],
			n[colRefreshes], n[colReloads], n[colLost], n[colWrong])
	}
	total := map[string]int{}
	var sum time.Duration
	for _, phase := range l.phases {
		row(phase, l.seconds[phase], l.counts[phase])
		for column, n := range l.counts[phase] {
			total[column] += n
		}
		sum += l.seconds[phase]
	}
	row("in all", sum, total)
	return b.String()
}
