package proxy

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/proxy/dialect"
)

// Recorder writes one log event and one metric for each decision.
type Recorder struct {
	log         *logrus.Logger
	lines       *decisionLog
	refusedOnly bool
	decisions   *prometheus.CounterVec
	durations   map[string]prometheus.Observer // by dialect
	counters    *sync.Map                      // series → prometheus.Counter, so that no label is looked up twice
	ids         *ids
}

// series is one decision counter's labels.
type series struct {
	application, dialect string
	outcome              outpost.Outcome
	reason               outpost.Reason
}

// NewRecorder registers its metrics with reg.
func NewRecorder(log *logrus.Logger, reg prometheus.Registerer) *Recorder {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "akprox_decision_duration_seconds", Help: "Time from reading a question to its decision.",
		Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 5},
	}, []string{"dialect"})
	r := &Recorder{
		log:   log,
		lines: newDecisionLog(log.Out, ""),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "akprox_decisions_total", Help: "Decisions by application, dialect, outcome and reason.",
		}, []string{"application", "dialect", "outcome", "reason"}),
		durations: map[string]prometheus.Observer{},
		counters:  &sync.Map{},
		ids:       newIDs(),
	}
	for _, d := range append(dialect.All(), dialect.Direct{}) {
		r.durations[d.Name()] = durations.WithLabelValues(d.Name())
	}
	reg.MustRegister(r.decisions, durations)
	return r
}

// As answers a Recorder that logs decisions as the document says: in format
// text or json, all of them or refusals alone. It counts with r.
func (r *Recorder) As(format string, refusedOnly bool) *Recorder {
	c := *r
	c.lines, c.refusedOnly = newDecisionLog(r.log.Out, format), refusedOnly
	return &c
}

// NextID answers a request id: unique in this process and hard to mistake for
// one of another, but no secret.
func (r *Recorder) NextID() string { return r.ids.next() }

// decision records d and answers the request's id, which pages and the log
// line's message show; "" where neither will.
func (r *Recorder) decision(dialect string, app *outpost.Application, req *outpost.Request, d *outpost.Decision, took time.Duration) string {
	name := ""
	if app != nil {
		name = app.Name
	}
	r.counter(series{name, dialect, d.Outcome, d.Reason}).Inc()
	r.durations[dialect].Observe(took.Seconds())
	if d.Outcome == outpost.Allow && r.refusedOnly {
		return ""
	}
	id := r.ids.next()
	if r.log.IsLevelEnabled(logrus.InfoLevel) {
		r.lines.write(&event{application: name, dialect: dialect, decision: d, request: req, took: took, id: id})
	}
	if d.Err != nil {
		r.log.WithField("application", name).WithField("request", id).Warn(d.Err)
	}
	return id
}

func (r *Recorder) counter(s series) prometheus.Counter {
	if c, ok := r.counters.Load(s); ok {
		return c.(prometheus.Counter)
	}
	c := r.decisions.WithLabelValues(s.application, s.dialect, s.outcome.String(), string(s.reason))
	r.counters.Store(s, c)
	return c
}

// panicked logs where a panic came from. Its value may hold anything, so only
// the runtime's own faults are quoted.
func (r *Recorder) panicked(req *http.Request, p any) {
	text := fmt.Sprintf("%T", p)
	if fault, ok := p.(runtime.Error); ok {
		text = fault.Error()
	}
	r.log.WithField("path", req.URL.Path).WithField("stack", string(debug.Stack())).Error("internal error: " + text)
}

// ids makes request ids: a random beginning for the process, and a number.
type ids struct {
	beginning string
	n         atomic.Uint64
}

func newIDs() *ids { return &ids{beginning: rand.Text()[:6] + "-"} }

func (i *ids) next() string {
	var buf [24]byte
	return string(strconv.AppendUint(append(buf[:0], i.beginning...), i.n.Add(1), 36))
}
