package redis

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/akprox/akprox/outpost/limit"
)

// tally counts one key. What is kept of it is a list of numbers, in
// microseconds of the server's clock: until when it is banned, when the newest
// mark began, and then of each mark, oldest first, when the last of it was
// counted and how many it is. A call that counts nothing writes nothing. A key
// that holds anything else is an error.
//
// In arithmetic of 53 bits microseconds are exact until the year 2255.
const tally = `
local most, window, grain = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local ban, add = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local kept = {0, 0}
local raw = redis.call('GET', KEYS[1])
if raw then kept = cmsgpack.unpack(raw) end
if type(kept) ~= 'table' or #kept < 2 or #kept % 2 ~= 0 then
  return redis.error_reply('UNREADABLE what is kept here is no tally')
end

local now, size = clock, #kept
if size > 2 and kept[size-1] > now then now = kept[size-1] end -- a clock that goes back lets nobody in
local first, sum = 3, 0
while first < size and kept[first] <= now - window do first = first + 2 end
for i = first + 1, size, 2 do sum = sum + kept[i] end
local state = {kept[1], kept[2]}
for i = first, size do state[#state+1] = kept[i] end

local counted, banned = 0, ban > 0 and state[1] > clock
if add > 0 and not banned and sum < most then
  counted, sum = 1, sum + 1
  if ban > 0 and sum >= most then
    state, sum, banned = {clock + ban, 0}, 0, true
  elseif #state > 2 and now - state[2] < grain then
    state[#state-1], state[#state] = now, state[#state] + 1
  else
    state[2], state[#state+1], state[#state+2] = now, now, 1
  end
elseif add < 0 then
  while counted > add and #state > 2 do
    local n = math.min(state[#state], counted - add)
    counted, sum, state[#state] = counted - n, sum - n, state[#state] - n
    if state[#state] == 0 then
      state[#state], state[#state-1], state[2] = nil, nil, 0
    end
  end
end

if counted ~= 0 then
  local ends = 0
  if ban > 0 then ends = state[1] end
  if #state > 2 then ends = math.max(ends, state[#state-1] + window) end
  if ends > clock then
    redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', string.format('%.0f', math.ceil((ends - clock) / 1000)))
  else
    redis.call('DEL', KEYS[1])
  end
end
local reset, left = 0, 0
if #state > 2 then reset = state[3] + window - now end
if banned then left = state[1] - clock end
return {counted, sum, reset, left, clock}
`

// newTally makes the script that Tally runs.
func newTally() *rueidis.Lua { return rueidis.NewLuaScript(tally) }

var errTallied = errors.New("the script that counts answered something else than five numbers")

// Tally implements limit.Tallier. What is kept stands under a digest of the key
// under the first secret: instances whose first secrets differ count apart.
func (s *Store) Tally(ctx context.Context, t limit.Tally) (limit.Tallied, error) {
	ctx, cancel, client, err := s.start(ctx)
	if err != nil {
		return limit.Tallied{}, fail("tally", err)
	}
	defer cancel()
	name := s.own("tally", (*s.ring.Load())[0].Digest(t.Key).String())
	got, err := tallied(ctx, s.scripts.tally, client, name, t)
	if err != nil {
		return limit.Tallied{}, fail("tally", err)
	}
	return got, nil
}

// tallied runs the script for t under key.
func tallied(ctx context.Context, script *rueidis.Lua, client rueidis.Client, key string, t limit.Tally) (limit.Tallied, error) {
	grain := time.Duration(0)
	if t.Most > limit.Marks {
		grain = t.Window / limit.Marks
	}
	args := [5]string{
		strconv.Itoa(t.Most), micros(t.Window), micros(grain), micros(t.Ban), strconv.Itoa(t.Add),
	}
	n, err := script.Exec(ctx, client, []string{key}, args[:]).AsIntSlice()
	if err != nil {
		return limit.Tallied{}, err
	}
	if len(n) != 5 {
		return limit.Tallied{}, errTallied
	}
	return limit.Tallied{
		Counted: int(n[0]), Sum: int(n[1]), At: time.UnixMicro(n[4]),
		Reset: time.Duration(n[2]) * time.Microsecond, Banned: time.Duration(n[3]) * time.Microsecond,
	}, nil
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
