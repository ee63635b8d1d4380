package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/store/redis/dial"
)

// errNotAgreed refuses a primary that most sentinels do not name.
var errNotAgreed = errors.New("redis: most of the sentinels do not name this primary")

// agree makes c connect to a primary only when most of the sentinels that the
// options list name it. One that has not heard of a failover would lead to the
// old primary, which may have been started again with what it had.
func (o Options) agree(c *rueidis.ClientOption) {
	asked := *c
	asked.Sentinel, asked.ForceSingleClient, asked.DisableCache, asked.DisableRetry = rueidis.SentinelOption{}, true, true, true
	asked.Username, asked.Password = c.Sentinel.Username, c.Sentinel.Password
	asked.SelectDB, asked.ClientTrackingOptions = 0, nil
	sentinels := &net.Resolver{} // in the dialer of those alone: so they are known
	c.Sentinel.Dialer.Resolver = sentinels
	master, listed := c.Sentinel.MasterSet, c.InitAddress
	c.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		if d.Resolver != sentinels && !agreed(ctx, asked, listed, master, address) {
			return nil, errNotAgreed
		}
		return dial.Connect(ctx, address, d, t)
	}
}

// agreed reports whether more than half of the sentinels name address.
func agreed(ctx context.Context, o rueidis.ClientOption, sentinels []string, master, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, o.Dialer.Timeout)
	defer cancel()
	var votes atomic.Int32
	var all sync.WaitGroup
	for _, sentinel := range sentinels {
		all.Go(func() {
			o := o
			o.InitAddress = []string{sentinel}
			client, err := rueidis.NewClient(o)
			if err != nil {
				return
			}
			defer client.Close()
			at, err := client.Do(ctx, client.B().SentinelGetMasterAddrByName().Master(master).Build()).AsStrSlice()
			if err == nil && len(at) == 2 && net.JoinHostPort(at[0], at[1]) == address {
				votes.Add(1)
			}
		})
	}
	all.Wait()
	return int(votes.Load()) > len(sentinels)/2
}
