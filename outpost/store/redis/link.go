package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// errClosed is the cause in every error of a store that was closed.
var errClosed = errors.New("the store is closed")

// errConnecting is it before the first connection.
var errConnecting = errors.New("not connected yet")

// pulse is how often the link looks at the nodes.
const pulse = time.Second

// link is the client, made as soon as Redis answers and anew when it does not
// for long, and what the client tells of lost connections.
type link struct {
	options Options
	changed func(name string)
	lost    func() // connections were lost, and there are new ones
	watcher atomic.Pointer[func(string)]

	now   atomic.Pointer[connected]
	tried chan struct{} // closed once there was a first attempt

	closing sync.Once
	stop    chan struct{}
	stopped chan struct{}
	cuts    chan struct{} // holds one when connections were lost
}

// connected is a client, or why there is none.
type connected struct {
	client rueidis.Client
	err    error
}

func newLink(o Options, changed func(string), lost func()) (*link, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	l := &link{
		options: o, changed: changed, lost: lost,
		stop: make(chan struct{}), stopped: make(chan struct{}), tried: make(chan struct{}), cuts: make(chan struct{}, 1),
	}
	l.now.Store(&connected{err: errConnecting})
	return l, nil
}

func (l *link) begin() { go l.keep() }

// client answers the client, or why there is none. Before the first attempt has
// ended it waits for that, as long as a call may take.
func (l *link) client(ctx context.Context) (rueidis.Client, error) {
	c := l.now.Load()
	if c.err == nil || !errors.Is(c.err, errConnecting) {
		return c.client, c.err
	}
	timer := time.NewTimer(l.options.Timeout)
	defer timer.Stop()
	select {
	case <-l.tried:
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c = l.now.Load()
	return c.client, c.err
}

func (l *link) close() {
	l.closing.Do(func() { close(l.stop) })
	<-l.stopped
}

// connect makes a client. It takes as long as the addresses take, each at most
// Timeout for every step.
func (l *link) connect() (rueidis.Client, error) {
	o, err := l.options.clientOption()
	if err != nil {
		return nil, err
	}
	o.OnInvalidations = l.told
	return rueidis.NewClient(o)
}

// told hears what the servers say of keys, in order, on the connection's own
// goroutine; nil means that the connection has ended or a database is empty.
func (l *link) told(names []rueidis.RedisMessage) {
	if names == nil {
		l.changed("")
		select {
		case l.cuts <- struct{}{}:
		default:
		}
	}
	for i := range names {
		if name, err := names[i].ToString(); err == nil {
			l.changed(name)
		}
	}
}

// keep makes the client, looks each second how the nodes are, and makes it anew
// when Redis has not answered for some time: addresses, passwords and
// certificates may be others by then.
func (l *link) keep() {
	defer close(l.stopped)
	tick := time.NewTicker(min(pulse, l.options.Timeout))
	defer tick.Stop()
	l.replace(l.now.Load())
	close(l.tried)
	var primaries []string
	good, next := time.Now(), time.Now() // when Redis last answered, and when to look
	for {
		c := l.now.Load()
		if c.client != nil && !time.Now().Before(next) {
			next = time.Now().Add(pulse)
			now, well, err := l.look(c.client)
			if err != nil || !slices.Equal(now, primaries) {
				l.told(nil)
			}
			if primaries = now; well > 0 {
				good = time.Now()
			}
		}
		if c.client == nil || time.Since(good) > 3*l.options.Timeout+2*pulse {
			l.replace(c)
			good = time.Now()
		}
		select {
		case <-l.stop:
			l.swap(l.now.Load(), &connected{err: errClosed})
			return
		case <-l.cuts:
			l.lost()
		case <-tick.C:
		}
	}
}

// replace makes a client in the place of old, which stays if that fails.
func (l *link) replace(old *connected) {
	client, err := l.connect()
	switch {
	case err == nil:
		l.swap(old, &connected{client: client})
		l.told(nil)
	case old.client == nil:
		l.now.Store(&connected{err: err})
	}
}

func (l *link) swap(old, now *connected) {
	l.now.Store(now)
	if old.client != nil {
		go old.client.Close() // waits for calls under way
	}
}

// look asks every node for its role, and for a key that is not there: a Cluster
// that lost its majority, or a server that is loading, refuses that. It answers
// which nodes are primaries, how many nodes are well, and what ails another.
func (l *link) look(client rueidis.Client) (primaries []string, well int, ailing error) {
	ctx, cancel := context.WithTimeout(context.Background(), l.options.Timeout)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for address, node := range client.Nodes() {
		wg.Go(func() {
			answers := node.DoMulti(ctx, node.B().Role().Build(), node.B().Exists().Key(l.options.Prefix+"~pulse").Build())
			err := answers[1].Error()
			if e, ok := rueidis.IsRedisErr(err); ok {
				if _, moved := e.IsMoved(); moved {
					err = nil
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if primary(answers[0]) {
				primaries = append(primaries, address)
			}
			if err != nil {
				ailing = err
			} else {
				well++
			}
		})
	}
	wg.Wait()
	slices.Sort(primaries)
	return primaries, well, ailing
}

// primary reads the answer of ROLE; who may not ask is not told.
func primary(answer rueidis.RedisResult) bool {
	role, err := answer.ToArray()
	if err != nil || len(role) == 0 {
		e, refused := rueidis.IsRedisErr(err)
		return refused && strings.HasPrefix(e.Error(), "NOPERM")
	}
	word, err := role[0].ToString()
	return err == nil && word == "master"
}

// primaries answers a client for each node that holds items.
func primaries(ctx context.Context, client rueidis.Client) ([]rueidis.Client, error) {
	var some []rueidis.Client
	for _, node := range client.Nodes() {
		answer := node.Do(ctx, node.B().Role().Build())
		if err := answer.NonRedisError(); err != nil {
			return nil, err
		}
		if primary(answer) {
			some = append(some, node)
		}
	}
	if len(some) == 0 {
		return nil, errors.New("no primary answers")
	}
	return some, nil
}

// ended remembers deletions for a while, so that a failover that lost one does
// not bring the item back.
type ended struct {
	keep time.Duration

	mu   sync.Mutex
	list []deletion // oldest first
}

type deletion struct {
	key, id string
	at      time.Time
}

// maxEnded bounds what is remembered: some MiB.
const maxEnded = 1 << 14

func (e *ended) note(key, id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) >= maxEnded {
		e.list = slices.Delete(e.list, 0, maxEnded/2)
	}
	e.list = append(e.list, deletion{key, id, time.Now()})
}

func (e *ended) recent() []deletion {
	e.mu.Lock()
	defer e.mu.Unlock()
	fresh := slices.IndexFunc(e.list, func(d deletion) bool { return time.Since(d.at) < e.keep })
	if fresh < 0 {
		fresh = len(e.list)
	}
	e.list = slices.Delete(e.list, 0, fresh)
	return slices.Clone(e.list)
}

// endAgain deletes anew what was deleted lately. By its id a record is deleted
// that a failover brought back, also as it was before it was replaced, and none
// that was put since.
func (s *Store) endAgain() {
	for batch := range slices.Chunk(s.ended.recent(), page) {
		calls := make([]call, len(batch))
		for i, d := range batch {
			calls[i] = call{s.name(d.key), []string{"id", d.id}}
		}
		ctx, cancel, client, err := s.start(context.Background())
		if err == nil {
			for _, result := range s.scripts.drop.run(ctx, client, calls...) {
				if e := result.Error(); e != nil && !rueidis.IsRedisNil(e) {
					err = e
				}
			}
			cancel()
		}
		if err != nil { // the next look comes back to it
			s.link.again()
			return
		}
	}
}

// again makes the link call lost once more, after a while.
func (l *link) again() {
	time.AfterFunc(pulse/4, func() {
		select {
		case l.cuts <- struct{}{}:
		default:
		}
	})
}
