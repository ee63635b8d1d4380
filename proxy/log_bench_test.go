package proxy

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/akprox/akprox/outpost"
	"github.com/akprox/akprox/outpost/canon"
)

// BenchmarkRecord is the stage between the decision and its answer: a metric,
// and a log line where one is due.
func BenchmarkRecord(b *testing.B) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	r := NewRecorder(log, prometheus.NewRegistry())
	app := &outpost.Application{Name: "wiki"}
	req := &outpost.Request{Method: "GET", Host: "wiki.example.com", Client: netip.MustParseAddr("198.51.100.7")}
	req.Path, _, _ = canon.SplitURI("/page/of/a/wiki?id=42")
	d := &outpost.Decision{Outcome: outpost.Allow, Reason: outpost.ReasonAllowed, Rule: "default", Identity: &outpost.Identity{Username: "alice"}}
	for name, recorder := range map[string]*Recorder{
		"metrics alone": r.As("json", true), "a line of JSON": r.As("json", false), "a line of text": r.As("text", false),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				recorder.decision("traefik", app, req, d, 12*time.Microsecond)
			}
		})
	}
}
