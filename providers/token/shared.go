package token

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/akprox/akprox/outpost/store"
	"github.com/akprox/akprox/providers/token/recent"
)

// Shared is a store in which several outposts keep what they were told about
// tokens.
type Shared interface {
	store.Store
	store.Claimer
}

const (
	sharedPrefix = "introspection:"
	storeWait    = 500 * time.Millisecond // for one call to the store, at most
	storePause   = 2 * time.Second        // nobody asks a store that did not answer
	firstLook    = 5 * time.Millisecond
	lastLook     = 100 * time.Millisecond
	claimed      = "claim"            // at the end of a key: somebody is asking
	claimMargin  = time.Second        // a claim outlives the question by this
	maxShared    = store.MaxValue / 2 // bytes of an answer that is shared
)

// sharing looks in the store before the issuer is asked, and lets one outpost
// ask for all. The store is a help and no more: while it does not answer,
// everybody asks the issuer.
type sharing struct {
	store  Shared
	now    func() time.Time
	wait   time.Duration // how long to wait for what another outpost is asking
	silent atomic.Int64  // until when the store is left alone, in Unix nanoseconds
}

// told is what is kept about a token: what its issuer answered, to be judged
// anew by everybody, or why it is refused.
type told struct {
	Observed int64           `json:"observed"` // when the issuer was asked, in Unix milliseconds
	Answer   json.RawMessage `json:"answer,omitempty"`
	Refused  string          `json:"refused,omitempty"`
}

func sharedKey(key recent.Digest) string { return sharedPrefix + hex.EncodeToString(key[:]) }

// find answers what is kept under key; nil when there is nothing that can be
// used.
func (s *sharing) find(ctx context.Context, key recent.Digest) *told {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	item, err := s.store.Get(ctx, sharedKey(key))
	if err != nil {
		s.heard(err)
		return nil
	}
	t := new(told)
	if json.Unmarshal(item.Value, t) != nil || (t.Refused == "") == (t.Answer == nil) {
		return nil // of another version, or damaged: it is asked anew
	}
	return t
}

// answers reports whether the store is worth asking.
func (s *sharing) answers() bool { return s.now().UnixNano() >= s.silent.Load() }

// heard leaves a store alone for a while that did not answer.
func (s *sharing) heard(err error) {
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.silent.Store(s.now().Add(storePause).UnixNano())
	}
}

// await answers what is kept under key, at once or as soon as another outpost
// has put it there. When it answers nil, the caller is to ask the issuer, and
// then to call keep or release: it alone of all outposts, unless the store
// does not answer, or the one whom everybody waits for takes too long.
func (s *sharing) await(ctx context.Context, key recent.Digest) *told {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	for pause := firstLook; s.answers(); pause = min(2*pause, lastLook) {
		if t := s.find(ctx, key); t != nil {
			return t
		}
		if !s.answers() || s.claim(ctx, key) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	return nil
}

func (s *sharing) claim(ctx context.Context, key recent.Digest) bool {
	ctx, cancel := context.WithTimeout(ctx, storeWait)
	defer cancel()
	mine, err := s.store.Claim(ctx, sharedKey(key)+claimed, store.Item{Expires: s.now().Add(s.wait + claimMargin)})
	s.heard(err)
	return mine
}

// keep shares what was told about a token. The claim stands for as long as the
// answer at most, and is not given up before: who has looked in vain and claims
// only now would ask again.
func (s *sharing) keep(key recent.Digest, token string, t told, until time.Time) {
	left := until.Sub(s.now())
	value := t.value(token)
	if left <= 0 || value == nil {
		s.release(key)
		return
	}
	if !s.answers() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	err := s.store.Put(ctx, sharedKey(key), store.Item{Value: value, Expires: until})
	if err == nil && left < s.wait+claimMargin {
		err = s.store.Put(ctx, sharedKey(key)+claimed, store.Item{Expires: until})
	}
	s.heard(err)
}

// release lets another outpost ask.
func (s *sharing) release(key recent.Digest) {
	if !s.answers() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	s.heard(s.store.Delete(ctx, sharedKey(key)+claimed))
}

// value answers what is stored of t; nil when it must not be: an answer that
// holds the token, or is too large.
func (t told) value(token string) []byte {
	if len(t.Answer) > maxShared || holds(string(t.Answer), token) {
		return nil
	}
	value, err := json.Marshal(t)
	if err != nil || len(value) > store.MaxValue {
		return nil
	}
	return value
}

// holds reports whether an answer repeats the token, as it is written or with
// its slashes escaped.
func holds(answer, token string) bool {
	return strings.Contains(answer, token) || strings.Contains(strings.ReplaceAll(answer, `\/`, "/"), token)
}
