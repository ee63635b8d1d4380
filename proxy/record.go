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
)

// Recorder writes one log event and one metric for each decision.
type Recorder struct {
	log         *logrus.Logger
	refusedOnly bool
	decisions   *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	counters    *sync.Map // series → prometheus.Counter, so that no label is looked up twice
	ids         *ids
}

// series is one decision counter's labels.
type series struct{ application, dialect, outcome, reason string }

// NewRecorder registers its metrics with reg.
func NewRecorder(log *logrus.Logger, reg prometheus.Registerer) *Recorder {
	r := &Recorder{
		log: log,
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "akprox_decisions_total", Help: "Decisions by application, dialect, outcome and reason.",
		}, []string{"application", "dialect", "outcome", "reason"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "akprox_decision_duration_seconds", Help: "Time from reading a question to its decision.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .25, 1, 5},
		}, []string{"dialect"}),
		counters: &sync.Map{},
		ids:      newIDs(),
	}
	reg.MustRegister(r.decisions, r.durations)
	return r
}

// RefusedOnly answers a Recorder that logs refusals alone (log.decisions:
// refused) and counts with r.
func (r *Recorder) RefusedOnly(only bool) *Recorder {
	c := *r
	c.refusedOnly = only
	return &c
}

// NextID answers a request id: unique in this process and hard to mistake for
// one of another, but no secret.
func (r *Recorder) NextID() string { return r.ids.next() }

// decision records d and answers the request's id, which pages and the log
// line's message show.
func (r *Recorder) decision(dialect string, app *outpost.Application, req *outpost.Request, d *outpost.Decision, took time.Duration) string {
	e := event{dialect: dialect, decision: d, request: req, duration: took, id: r.ids.next()}
	if app != nil {
		e.application = app.Name
	}
	r.counter(series{e.application, dialect, d.Outcome.String(), string(d.Reason)}).Inc()
	r.durations.WithLabelValues(dialect).Observe(took.Seconds())
	if !r.refusedOnly || d.Outcome != outpost.Allow {
		r.log.WithField(eventKey, &e).Info(e.id)
	}
	if d.Err != nil {
		r.log.WithField("application", e.application).WithField("request", e.id).Warn(d.Err)
	}
	return e.id
}

func (r *Recorder) counter(s series) prometheus.Counter {
	if c, ok := r.counters.Load(s); ok {
		return c.(prometheus.Counter)
	}
	c := r.decisions.WithLabelValues(s.application, s.dialect, s.outcome, s.reason)
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
