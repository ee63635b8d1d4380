package redis

import (
	"errors"
	"net"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/store/redis/dial"
)

// Options are the settings of New. Either URL or Addresses say where Redis is.
type Options struct {
	// URL is redis://host:port/db, rediss://host:port/db (with TLS) or
	// unix:///path?db=n. It holds no password.
	URL string
	// Addresses are host:port of all sentinels, with Sentinel: a primary is
	// believed that most of them name. Else of some nodes of a Cluster, or of
	// the one server.
	Addresses []string
	// Username and Password authenticate at Redis; without Username it is the
	// default user. Password is asked whenever the client is made anew.
	Username string
	Password func() ([]byte, error)
	// Sentinel says that Addresses are sentinels.
	Sentinel *Sentinel
	// TLS encrypts connections, those to sentinels too.
	TLS *dial.TLS
	// Prefix begins every name in Redis; "akprox:" by default.
	Prefix string
	// Keys seal what is stored: 32 bytes each, the first writes, all read.
	Keys [][]byte
	// Timeout bounds a call, a connection and how long an unanswered PING may
	// take; 1 second by default.
	Timeout time.Duration
	// CountEvery is how long a Count is good for; 5 seconds by default.
	CountEvery time.Duration

	remember time.Duration // how long a deletion is repeated
}

// Sentinel is a primary that sentinels watch.
type Sentinel struct {
	Master   string // the name that the sentinels have for it
	Username string
	Password func() ([]byte, error)
}

// Check answers what can never work: a wrong URL, a file that cannot be read.
// It asks nobody.
func (o Options) Check() error {
	_, err := o.filled().clientOption()
	return err
}

func (o Options) filled() Options {
	if o.Prefix == "" {
		o.Prefix = "akprox:"
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Second
	}
	if o.CountEvery <= 0 {
		o.CountEvery = 5 * time.Second
	}
	if o.remember <= 0 {
		o.remember = 30 * time.Second
	}
	return o
}

// clientOption makes the library's settings, and reads passwords and files.
func (o Options) clientOption() (rueidis.ClientOption, error) {
	c := rueidis.ClientOption{
		InitAddress: o.Addresses, Username: o.Username, ClientName: "akprox",
		Dialer:                net.Dialer{Timeout: o.Timeout, KeepAlive: o.Timeout},
		ConnWriteTimeout:      o.Timeout,
		ClientTrackingOptions: []string{}, // every read, not those alone that ask for it
		PipelineMultiplex:     -1,         // one connection to a node is enough, and in order
		ReadBufferEachConn:    64 << 10, WriteBufferEachConn: 64 << 10,
		ClusterOption: rueidis.ClusterOption{ShardsRefreshInterval: 5 * time.Second, MaxMovedRedirections: 8},
		RetryDelay:    func(int, rueidis.Completed, error) time.Duration { return 20 * time.Millisecond },
		DialCtxFn:     dial.Connect,
	}
	withTLS := o.TLS != nil
	if o.URL != "" {
		t, err := dial.ParseURL(o.URL)
		if err != nil {
			return c, err
		}
		c.InitAddress, c.SelectDB = []string{t.Address}, t.Database
		withTLS = withTLS || t.TLS
	}
	if len(c.InitAddress) == 0 {
		return c, errors.New("redis: no address")
	}
	var err error
	if withTLS {
		if c.TLSConfig, err = o.TLS.Config(); err != nil {
			return c, err
		}
	}
	if c.Password, err = read(o.Password); err != nil {
		return c, err
	}
	if s := o.Sentinel; s != nil {
		password, err := read(s.Password)
		if err != nil {
			return c, err
		}
		c.Sentinel = rueidis.SentinelOption{
			MasterSet: s.Master, Username: s.Username, Password: password, ClientName: "akprox",
			Dialer: c.Dialer, TLSConfig: c.TLSConfig, TopologyRefreshInterval: time.Second,
		}
		o.agree(&c)
	}
	return c, nil
}

func read(secret func() ([]byte, error)) (string, error) {
	if secret == nil {
		return "", nil
	}
	value, err := secret()
	return string(value), err
}
