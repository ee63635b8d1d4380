package redis

import (
	"context"
	"crypto/sha1" // #nosec G505 -- the name that Redis gives a script
	"encoding/hex"

	"github.com/redis/rueidis"
)

// Each script touches one key, the one that it is given, so that it may run in
// a Cluster. What it does happens at once.

// putScript writes the record ARGV[1], which expires at ARGV[2], where ARGV[3]
// ("put", "replace", "claim") lets it; one that replaces another has its id. It
// answers the head of what stood there, or nil when it wrote nothing.
const putScript = `
local head = redis.call('GETRANGE', KEYS[1], 0, 157)
local record = ARGV[1]
if ARGV[3] == 'claim' and head ~= '' then return false end
if ARGV[3] == 'replace' then
  if head == '' then return false end
  if string.byte(head) ~= 2 or #head < 30 then return redis.error_reply('UNREADABLE no record of ours') end
  record = string.sub(record, 1, 21) .. string.sub(head, 22, 29) .. string.sub(record, 30)
end
redis.call('SET', KEYS[1], record, 'PXAT', ARGV[2])
return head`

// dropScript deletes the record: any with ARGV[1] "any", the one with the token
// or the id ARGV[2], or one that carries a tag whose digest ARGV[2] or one
// behind it is. It answers the head of what it deleted, or nil.
const dropScript = `
local head = redis.call('GETRANGE', KEYS[1], 0, 157)
if head == '' then return false end
local fits = ARGV[1] == 'any'
if string.byte(head) == 2 and #head >= 30 then
  if ARGV[1] == 'token' then
    fits = string.sub(head, 6, 13) == ARGV[2]
  elseif ARGV[1] == 'id' then
    fits = string.sub(head, 22, 29) == ARGV[2]
  elseif ARGV[1] == 'tag' then
    for i = 0, string.byte(head, 30) - 1 do
      for n = 2, #ARGV do
        if string.sub(head, 31 + 16 * i, 46 + 16 * i) == ARGV[n] then fits = true end
      end
    end
  end
end
if not fits then return false end
redis.call('DEL', KEYS[1])
return head`

// touchScript moves the expiry of the record with the token ARGV[1] from
// ARGV[2] to ARGV[3], both as the record has it, which is ARGV[4] in
// milliseconds. It answers 1, 0 when another record stands there, and -1 when
// none does.
const touchScript = `
local head = redis.call('GETRANGE', KEYS[1], 0, 20)
if head == '' then return -1 end
if string.sub(head, 6, 13) ~= ARGV[1] or string.sub(head, 14, 21) ~= ARGV[2] then return 0 end
redis.call('SETRANGE', KEYS[1], 13, ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1`

// indexScript adds the entry ARGV[1] to a tag's index until ARGV[2], and drops
// some of those whose time is over: more than one each time, so that they
// become fewer. The index goes with its last entry.
const indexScript = `
local time = redis.call('TIME')
local now = string.format('(%.0f', time[1] * 1000)
local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 16)
if #over > 0 then redis.call('ZREM', KEYS[1], unpack(over)) end
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
if redis.call('PEXPIREAT', KEYS[1], ARGV[2], 'NX') == 0 then
  redis.call('PEXPIREAT', KEYS[1], ARGV[2], 'GT')
end
return 1`

// script is one that every server learns when it meets it first.
type script struct{ text, sha string }

func newScript(text string) script {
	sum := sha1.Sum([]byte(text)) // #nosec G401 -- the name that Redis gives it
	return script{text, hex.EncodeToString(sum[:])}
}

// call is one run of a script.
type call struct {
	key  string
	args []string
}

// run runs the script for each of the calls, in one round trip where the
// servers know it, and answers what came of each.
func (s script) run(ctx context.Context, client rueidis.Client, calls ...call) []rueidis.RedisResult {
	batch := make([]rueidis.Completed, len(calls))
	for i, c := range calls {
		batch[i] = client.B().Evalsha().Sha1(s.sha).Numkeys(1).Key(c.key).Arg(c.args...).Build()
	}
	results := client.DoMulti(ctx, batch...)
	for i, c := range calls {
		if e, ok := rueidis.IsRedisErr(results[i].Error()); ok && e.IsNoScript() {
			results[i] = client.Do(ctx, client.B().Eval().Script(s.text).Numkeys(1).Key(c.key).Arg(c.args...).Build())
		}
	}
	return results
}

// scripts are those of a store.
type scripts struct {
	put, drop, touch, index script
	tally                   *rueidis.Lua
}

func newScripts() scripts {
	return scripts{
		put: newScript(putScript), drop: newScript(dropScript),
		touch: newScript(touchScript), index: newScript(indexScript), tally: newTally(),
	}
}
