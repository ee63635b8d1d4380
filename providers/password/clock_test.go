package password

import (
	"sync/atomic"
	"time"
)

// clockAt is a time that tests set.
type clockAt struct{ at atomic.Int64 }

func (c *clockAt) now() time.Time          { return time.Unix(1_800_000_000, c.at.Load()) }
func (c *clockAt) forward(d time.Duration) { c.at.Add(int64(d)) }
