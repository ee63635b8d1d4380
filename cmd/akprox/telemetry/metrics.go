// Package telemetry is what an operator sees of a running outpost beside its
// decisions: the metrics, and the log's sink.
package telemetry

import (
	"context"
	"errors"
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/akprox/akprox/outpost/session"
	"github.com/akprox/akprox/outpost/store"
)

// Metrics are those beside the decisions. Labels are names of the document
// and words of ours, never what a client sent.
type Metrics struct {
	Registry     *prometheus.Registry
	signIns      *prometheus.CounterVec
	refreshes    *prometheus.CounterVec
	issuerCalls  *prometheus.HistogramVec
	issuerErrors *prometheus.CounterVec
	storeCalls   *prometheus.HistogramVec
	storeErrors  *prometheus.CounterVec
	reloadOK     prometheus.Gauge
	reloadTime   prometheus.Gauge
}

// New registers the metrics of the program in this version.
func New(version, commit string) *Metrics {
	buckets := []float64{.0001, .0005, .001, .005, .01, .05, .1, .5, 1, 2.5, 5, 10}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	timed := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &Metrics{
		Registry:     prometheus.NewRegistry(),
		signIns:      vec("akprox_sign_ins_total", "Sign-ins by application and how they ended.", "application", "result"),
		refreshes:    vec("akprox_session_refreshes_total", "Sessions that were to be refreshed at their issuer, by what became of it.", "provider", "result"),
		issuerCalls:  timed("akprox_issuer_call_duration_seconds", "Calls to issuers.", "provider", "call"),
		issuerErrors: vec("akprox_issuer_call_errors_total", "Calls to issuers that failed.", "provider", "call"),
		storeCalls:   timed("akprox_store_call_duration_seconds", "Calls to the store.", "call"),
		storeErrors:  vec("akprox_store_call_errors_total", "Calls to the store that failed; what is not found is no failure.", "call"),
		reloadOK:     gauge("akprox_last_reload_success", "1 when the newest document is served, 0 when it was refused."),
		reloadTime:   gauge("akprox_last_reload_success_timestamp_seconds", "When a document was last taken over."),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "akprox_build_info", Help: "Always 1.", ConstLabels: prometheus.Labels{"version": version, "commit": commit},
	})
	build.Set(1)
	m.Registry.MustRegister(m.signIns, m.refreshes, m.issuerCalls, m.issuerErrors, m.storeCalls, m.storeErrors, m.reloadOK, m.reloadTime,
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{})
}

// Count adds the gauges of what the store holds, where it can count.
func (m *Metrics) Count(st store.Store) {
	counter, ok := st.(store.Counter)
	if !ok {
		return
	}
	for _, g := range [][3]string{
		{"akprox_sessions", "Sessions in the store.", session.Prefix},
		{"akprox_leases", "Leases in the store.", "lease:"},
	} {
		m.Registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g[0], Help: g[1]}, func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			n, err := counter.Count(ctx, g[2])
			if err != nil {
				return math.NaN()
			}
			return float64(n)
		}))
	}
}

// Caches is how a provider's caches of tokens stand.
type Caches struct {
	Hits, NegativeHits, Misses, Shared, Evicted uint64
	Entries, Negative                           int
}

// tokens tells the caches of all providers when it is scraped.
type tokens struct {
	looked, held *prometheus.Desc
	read         func() map[string]Caches
}

// Tokens adds the metrics of the token caches, which read answers by provider.
func (m *Metrics) Tokens(read func() map[string]Caches) {
	m.Registry.MustRegister(tokens{
		prometheus.NewDesc("akprox_token_cache_total", "Looks at the caches of tokens, by how they ended, and tokens dropped for want of room.", []string{"provider", "result"}, nil),
		prometheus.NewDesc("akprox_token_cache_entries", "Tokens remembered as good, and as bad.", []string{"provider", "kind"}, nil),
		read,
	})
}

// Describe implements prometheus.Collector.
func (t tokens) Describe(c chan<- *prometheus.Desc) { c <- t.looked; c <- t.held }

// Collect implements prometheus.Collector.
func (t tokens) Collect(c chan<- prometheus.Metric) {
	for provider, s := range t.read() {
		for result, n := range map[string]uint64{"hit": s.Hits, "negative_hit": s.NegativeHits, "miss": s.Misses, "shared": s.Shared, "evicted": s.Evicted} {
			c <- prometheus.MustNewConstMetric(t.looked, prometheus.CounterValue, float64(n), provider, result)
		}
		c <- prometheus.MustNewConstMetric(t.held, prometheus.GaugeValue, float64(s.Entries), provider, "good")
		c <- prometheus.MustNewConstMetric(t.held, prometheus.GaugeValue, float64(s.Negative), provider, "bad")
	}
}

// IssuerCall counts a call to a provider.
func (m *Metrics) IssuerCall(provider, call string, took time.Duration, err error) {
	m.issuerCalls.WithLabelValues(provider, call).Observe(took.Seconds())
	if err != nil {
		m.issuerErrors.WithLabelValues(provider, call).Inc()
	}
}

// SignIn counts a sign-in of an application that ended, or did not end well.
func (m *Metrics) SignIn(application, result string) {
	m.signIns.WithLabelValues(application, result).Inc()
}

// Renewed counts a session that was to be refreshed at its issuer.
func (m *Metrics) Renewed(provider, result string) {
	m.refreshes.WithLabelValues(provider, result).Inc()
}

// Reloaded notes whether the newest document is served.
func (m *Metrics) Reloaded(ok bool) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.SetToCurrentTime()
}

// Store answers st with its calls timed. It is a store.Watcher only if st is;
// the other powers for items every store of ours has.
func (m *Metrics) Store(st store.Store) store.Store {
	measured := measuredStore{st, m}
	if w, ok := st.(store.Watcher); ok {
		return watchedStore{measured, w}
	}
	return measured
}

// watchedStore is a measuredStore that several processes share.
type watchedStore struct {
	measuredStore
	store.Watcher
}

// measuredStore times the calls to a store.
type measuredStore struct {
	store.Store
	m *Metrics
}

func (s measuredStore) done(call string, start time.Time, err error) {
	s.m.storeCalls.WithLabelValues(call).Observe(time.Since(start).Seconds())
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, context.Canceled) {
		s.m.storeErrors.WithLabelValues(call).Inc()
	}
}

// Get implements store.Store.
func (s measuredStore) Get(ctx context.Context, key string) (item store.Item, err error) {
	defer func(start time.Time) { s.done("get", start, err) }(time.Now())
	return s.Store.Get(ctx, key)
}

// Put implements store.Store.
func (s measuredStore) Put(ctx context.Context, key string, item store.Item) (err error) {
	defer func(start time.Time) { s.done("put", start, err) }(time.Now())
	return s.Store.Put(ctx, key, item)
}

// Take implements store.Store.
func (s measuredStore) Take(ctx context.Context, key string) (item store.Item, err error) {
	defer func(start time.Time) { s.done("take", start, err) }(time.Now())
	return s.Store.Take(ctx, key)
}

// Delete implements store.Store.
func (s measuredStore) Delete(ctx context.Context, key string) (err error) {
	defer func(start time.Time) { s.done("delete", start, err) }(time.Now())
	return s.Store.Delete(ctx, key)
}

// DeleteTagged implements store.Store.
func (s measuredStore) DeleteTagged(ctx context.Context, tag string) (n int, err error) {
	defer func(start time.Time) { s.done("delete_tagged", start, err) }(time.Now())
	return s.Store.DeleteTagged(ctx, tag)
}

// Replace implements store.Replacer, which every store of ours has.
func (s measuredStore) Replace(ctx context.Context, key string, item store.Item) (err error) {
	defer func(start time.Time) { s.done("replace", start, err) }(time.Now())
	return s.Store.(store.Replacer).Replace(ctx, key, item)
}

// Claim implements store.Claimer, which every store of ours has.
func (s measuredStore) Claim(ctx context.Context, key string, item store.Item) (mine bool, err error) {
	defer func(start time.Time) { s.done("claim", start, err) }(time.Now())
	return s.Store.(store.Claimer).Claim(ctx, key, item)
}

// Touch implements store.Toucher, which every store of ours has.
func (s measuredStore) Touch(ctx context.Context, key string, expires time.Time) (err error) {
	defer func(start time.Time) { s.done("touch", start, err) }(time.Now())
	return s.Store.(store.Toucher).Touch(ctx, key, expires)
}

// List implements store.Lister, which every store of ours has.
func (s measuredStore) List(ctx context.Context, prefix string, each func(key string, item store.Item) error) (err error) {
	defer func(start time.Time) { s.done("list", start, err) }(time.Now())
	return s.Store.(store.Lister).List(ctx, prefix, each)
}

// Count implements store.Counter, which every store of ours has.
func (s measuredStore) Count(ctx context.Context, prefix string) (int, error) {
	return s.Store.(store.Counter).Count(ctx, prefix)
}
