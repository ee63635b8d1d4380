package telemetry

import (
	"context"
	"time"

	"github.com/akprox/akprox/outpost/limit"
)

// Tallier answers t with its calls timed.
func (m *Metrics) Tallier(t limit.Tallier) limit.Tallier {
	return measuredTallier{t, measuredStore{m: m}}
}

// measuredTallier times the calls to a store that counts.
type measuredTallier struct {
	limit.Tallier
	measured measuredStore
}

// Tally implements limit.Tallier.
func (t measuredTallier) Tally(ctx context.Context, what limit.Tally) (got limit.Tallied, err error) {
	defer func(start time.Time) { t.measured.done("tally", start, err) }(time.Now())
	return t.Tallier.Tally(ctx, what)
}
