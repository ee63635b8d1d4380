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
	if len(batch) > 0 {
		client.DoMulti(ctx, batch...)
	}
}

// DeleteTagged removes every item that carries tag and says how many. It works
// in steps; an error may leave a part of the items.
func (s *Store) DeleteTagged(ctx context.Context, tag string) (int, error) {
	total := 0
	for _, secret := range *s.ring.Load() {
		digest := secret.Digest(tag)
		for cursor, more := uint64(0), true; more; more = cursor != 0 {
			n, next, err := s.dropTagged(ctx, digest, cursor)
			total += n
			if err != nil {
				return total, fail("delete tagged", err)
			}
			cursor = next
		}
	}
	return total, nil
}

// dropTagged does one step, at cursor, and answers where to go on; 0 at the
// end.
func (s *Store) dropTagged(ctx context.Context, digest record.Digest, cursor uint64) (n int, next uint64, err error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer cancel()
	found, err := client.Do(ctx, client.B().Zscan().Key(s.indexOf(digest)).Cursor(cursor).Count(page).Build()).AsScanEntry()
	if err != nil {
		return 0, 0, err
	}
	for some := range slices.Chunk(found.Elements, 4*page) { // member, score, member, score…
		live, err := s.dropMembers(ctx, client, digest, some)
		n += live
		if err != nil {
			return n, 0, err
		}
	}
	return n, found.Cursor, nil
}

// dropMembers deletes the items of an index's entries, where they carry the
// tag, and then their entries in all indexes. An entry whose item does not is
// left: it may be of a Put under way, which its expiry ends otherwise.
func (s *Store) dropMembers(ctx context.Context, client rueidis.Client, digest record.Digest, scored []string) (n int, err error) {
	var keys []string
	var calls []call
	for i := 0; i < len(scored); i += 2 {
		if member := scored[i]; len(member) > record.TokenSize {
			key := member[record.TokenSize:]
			keys = append(keys, key)
			calls = append(calls, call{s.name(key), []string{"tag", string(digest[:])}})
		}
	}
	if len(calls) == 0 {
		return 0, nil
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
			s.ended.note(keys[i], h.Token)
			gone = append(gone, entries(keys[i], h)...)
		}
	}
	s.dropEntries(ctx, client, gone)
	return n, err
}
