package redis

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/store/redis/record"
)

const (
	// page is about how many keys one step asks for.
	page = 256
	// slack is how long an entry of an index outlives its item: the clocks of
	// two nodes may differ by so much.
	slack = time.Minute
)

func stamp(ms int64) string { return string(binary.BigEndian.AppendUint64(nil, uint64(ms))) }

// indexOf answers where the index of the tag with that digest stands.
func (s *Store) indexOf(digest record.Digest) string { return s.own("tag", digest.String()) }

// enlist adds the record that h is the head of to the indexes of its tags.
func (s *Store) enlist(ctx context.Context, client rueidis.Client, key string, h record.Head) error {
	if len(h.Tags) == 0 {
		return nil
	}
	until := strconv.FormatInt(h.Expires+slack.Milliseconds(), 10)
	calls := make([]call, len(h.Tags))
	for i, d := range h.Tags {
		calls[i] = call{s.indexOf(d), []string{h.Token + key, until}}
	}
	for _, result := range s.scripts.index.run(ctx, client, calls...) {
		if err := result.Error(); err != nil {
			return err
		}
	}
	return nil
}

// entry is what a record has in the index of one of its tags.
type entry struct {
	digest record.Digest
	member string
}

func entries(key string, h record.Head) []entry {
	all := make([]entry, len(h.Tags))
	for i, d := range h.Tags {
		all[i] = entry{d, h.Token + key}
	}
	return all
}

// delist removes the entries of a record that has gone, by its own token: never
// those of another record under the same key. One that stays, for whatever
// error, is dropped once its time is over.
func (s *Store) delist(ctx context.Context, client rueidis.Client, key string, h record.Head) {
	s.dropEntries(ctx, client, entries(key, h))
}

func (s *Store) dropEntries(ctx context.Context, client rueidis.Client, all []entry) {
	members := map[record.Digest][]string{}
	for _, e := range all {
		members[e.digest] = append(members[e.digest], e.member)
	}
	var batch []rueidis.Completed
	for digest, some := range members {
		batch = append(batch, client.B().Zrem().Key(s.indexOf(digest)).Member(some...).Build())
	}
	client.DoMulti(ctx, batch...)
}

// DeleteTagged removes every item that carries tag and says how many. It works
// in steps; an error may leave a part of the items.
func (s *Store) DeleteTagged(ctx context.Context, tag string) (int, error) {
	fit, indexes := []string{"tag"}, []string(nil)
	for _, secret := range *s.ring.Load() {
		digest := secret.Digest(tag)
		fit, indexes = append(fit, string(digest[:])), append(indexes, s.indexOf(digest))
	}
	// From the oldest secret to the newest and back: an item that is replaced
	// meanwhile may move to another secret's index, either way while the
	// instances change their order one after the other.
	back := slices.Clone(indexes[1:])
	slices.Reverse(indexes)
	total := 0
	for _, index := range append(indexes, back...) {
		n, err := s.dropIndex(ctx, index, fit)
		total += n
		if err != nil {
			return total, fail("delete tagged", err)
		}
	}
	return total, nil
}

// dropIndex deletes the items of an index's entries that fit, a page after the
// other. A single page is the whole index at one moment. A scan of more may miss
// an item that is replaced meanwhile, if its new entry comes behind the cursor
// and its old one goes before the cursor gets there: so what is left after it
// is read at one moment too. That is little, and in it is every item that was
// there before and still is.
func (s *Store) dropIndex(ctx context.Context, index string, fit []string) (total int, err error) {
	drop := func(members []string, err error) error {
		if err != nil {
			return err
		}
		n, err := s.dropMembers(ctx, members, fit)
		total += n
		return err
	}
	members, cursor, err := s.scanIndex(ctx, index, 0)
	if err = drop(members, err); err != nil || cursor == 0 {
		return total, err
	}
	for cursor != 0 {
		members, cursor, err = s.scanIndex(ctx, index, cursor)
		if err = drop(members, err); err != nil {
			return total, err
		}
	}
	err = drop(s.wholeIndex(ctx, index))
	return total, err
}

// scanIndex answers a page of an index's entries, and where to go on; 0 at the
// end.
func (s *Store) scanIndex(ctx context.Context, index string, cursor uint64) (members []string, next uint64, err error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer cancel()
	found, err := client.Do(ctx, client.B().Zscan().Key(index).Cursor(cursor).Count(page).Build()).AsScanEntry()
	for i := 0; i < len(found.Elements); i += 2 { // member, score, member, score…
		members = append(members, found.Elements[i])
	}
	return members, found.Cursor, err
}

// wholeIndex answers an index's entries as they are at one moment.
func (s *Store) wholeIndex(ctx context.Context, index string) ([]string, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	return client.Do(ctx, client.B().Zrange().Key(index).Min("0").Max("-1").Build()).AsStrSlice()
}

// dropMembers deletes the items of an index's entries where they fit, and then
// their entries in all indexes. The entry of one that does not is left: it may
// be of a Put under way, which its expiry ends otherwise.
func (s *Store) dropMembers(ctx context.Context, members, fit []string) (n int, err error) {
	for some := range slices.Chunk(members, 2*page) {
		live, err := s.dropSome(ctx, some, fit)
		if n += live; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (s *Store) dropSome(ctx context.Context, members, fit []string) (n int, err error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	var keys []string
	var calls []call
	for _, member := range members {
		if len(member) > record.TokenSize {
			key := member[record.TokenSize:]
			keys = append(keys, key)
			calls = append(calls, call{s.name(key), fit})
		}
	}
	var gone []entry
	for i, result := range s.scripts.drop.run(ctx, client, calls...) {
		raw, e := result.AsBytes()
		switch {
		case rueidis.IsRedisNil(e):
			continue
		case e != nil:
			err = e
			continue
		}
		n++
		if h, _, e := record.ParseHead(raw); e == nil {
			s.ended.note(keys[i], h.ID)
			gone = append(gone, entries(keys[i], h)...)
		}
	}
	s.dropEntries(ctx, client, gone)
	return n, err
}
