"""The ledger's atomic scripts, in Lua for Redis.

Keys of a job: `…:meta` (hash: out, shards, images, next, round, halted, messages on their way, counters), `…:done`
(bitmap), `…:claims` (hash: shard → owner; `-` for nobody, while a shard waits before its next attempt), `…:open`
(sorted set: shard → deadline in ms, of its lease when claimed, else of its announcement), `…:attempts` (hash: shard →
claims so far), `…:notes` (hash: shard → what its worker noted about it, see `maskmill_worker.shards.crashes`).
"""

from __future__ import annotations

NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

WON = """
local function won(shard, owner, lease)
  redis.call('HSET', KEYS[3], shard, owner)
  redis.call('ZADD', KEYS[4], now + lease, shard)
  local round = redis.call('HGET', KEYS[1], 'round') or 0
  return {'claimed', tonumber(shard), redis.call('HINCRBY', KEYS[5], shard, 1), tonumber(round),
          redis.call('HGET', KEYS[6], shard) or ''}
end
"""

# KEYS of every job script: meta, done, claims, open, attempts, notes.
CLAIM = (
    NOW
    + WON
    + """
local shard, owner, lease, settle = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
if tonumber(shard) >= tonumber(redis.call('HGET', KEYS[1], 'shards') or 0) then return {'unknown'} end
if not settle and tonumber(redis.call('HGET', KEYS[1], 'messages') or 0) > 0 then
  redis.call('HINCRBY', KEYS[1], 'messages', -1)
end
if redis.call('GETBIT', KEYS[2], shard) == 1 then return {'done'} end
if (redis.call('HGET', KEYS[1], 'halted') and not settle) then return {'cancelled'} end
local held = redis.call('HGET', KEYS[3], shard)
if held and tonumber(redis.call('ZSCORE', KEYS[4], shard) or 0) > now then
  if not (settle and held == '-') then return {'held'} end
end
return won(shard, owner, lease)
"""
)

# First a shard whose claim has run out or was given up, or that is announced: its message will find it taken. Else one
# that is not announced yet.
NEXT = (
    NOW
    + WON
    + """
local owner, lease, shard = ARGV[1], tonumber(ARGV[2]), nil
if redis.call('HGET', KEYS[1], 'halted') then return {'cancelled'} end
local flying = redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1, 'WITHSCORES')
for i = 1, #flying, 2 do
  if tonumber(flying[i + 1]) <= now or redis.call('HEXISTS', KEYS[3], flying[i]) == 0 then shard = flying[i] break end
end
if not shard then
  local total = tonumber(redis.call('HGET', KEYS[1], 'shards') or 0)
  local next = tonumber(redis.call('HGET', KEYS[1], 'next') or 0)
  while next < total and (redis.call('GETBIT', KEYS[2], next) == 1 or redis.call('ZSCORE', KEYS[4], next)) do
    next = next + 1
  end
  if next < total then shard = next end
  if total > 0 then redis.call('HSET', KEYS[1], 'next', math.min(next + 1, total)) end
end
if not shard then return {'none'} end
return won(shard, owner, lease)
"""
)

# 0: another's by now; 1: renewed; 2: renewed, but the job is cancelled.
RENEW = (
    NOW
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[4], 'XX', now + tonumber(ARGV[3]), ARGV[1])
return redis.call('HGET', KEYS[1], 'halted') and 2 or 1
"""
)

# With a delay the shard is nobody's until it is over.
RELEASE = (
    NOW
    + """
local shard, delay = ARGV[1], tonumber(ARGV[3])
if redis.call('HGET', KEYS[3], shard) ~= ARGV[2] then return 0 end
if delay > 0 then redis.call('HSET', KEYS[3], shard, '-') else redis.call('HDEL', KEYS[3], shard) end
redis.call('ZADD', KEYS[4], now + delay, shard)
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[5], shard, -1) end
return 1
"""
)

NOTE = """
for i = 2, #ARGV, 2 do
  if redis.call('HGET', KEYS[3], ARGV[i]) == ARGV[1] then
    if ARGV[i + 1] == '' then redis.call('HDEL', KEYS[6], ARGV[i])
    else redis.call('HSET', KEYS[6], ARGV[i], ARGV[i + 1]) end
  end
end
return 1
"""

# 0: decided before, or of an earlier round; 1: booked; 2: booked, and the job has more failures than it may have.
COMMIT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if tonumber(redis.call('HGET', KEYS[1], 'round') or 0) ~= tonumber(ARGV[2]) then return 0 end
local first = redis.call('SETBIT', KEYS[2], ARGV[1], 1) == 0
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('HDEL', KEYS[6], ARGV[1])
if not first then return 0 end
redis.call('HINCRBY', KEYS[1], 'shards_done', 1)
for i = 3, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
local most = redis.call('HGET', KEYS[1], 'max_failures')
if not most or tonumber(redis.call('HGET', KEYS[1], 'failed') or 0) <= tonumber(most) then return 1 end
redis.call('HSET', KEYS[1], 'halted', 1)
return 2
"""

ADMIT = (
    NOW
    + """
local window, hint, result = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HGET', KEYS[1], 'halted') then return result end
local total = tonumber(redis.call('HGET', KEYS[1], 'shards'))
local next = tonumber(redis.call('HGET', KEYS[1], 'next') or 0)
local waiting = redis.call('ZCARD', KEYS[4])
for _, owner in ipairs(redis.call('HVALS', KEYS[3])) do
  if owner ~= '-' then waiting = waiting - 1 end
end
local room = window - math.max(waiting, tonumber(redis.call('HGET', KEYS[1], 'messages') or 0))
while room > 0 and next < total do
  if redis.call('GETBIT', KEYS[2], next) == 0 and not redis.call('ZSCORE', KEYS[4], next) then
    redis.call('ZADD', KEYS[4], now + hint, next)
    result[#result + 1] = next
    room = room - 1
  end
  next = next + 1
end
redis.call('HSET', KEYS[1], 'next', next)
redis.call('HINCRBY', KEYS[1], 'messages', #result)
return result
"""
)

REAP = (
    NOW
    + """
local late, result, room = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, ARGV[1]), {}, tonumber(ARGV[3])
if redis.call('HGET', KEYS[1], 'halted') then return {} end
for _, shard in ipairs(late) do
  local begun = redis.call('HEXISTS', KEYS[5], shard) == 1
  if begun or room > 0 then
    if not begun then room = room - 1 end
    redis.call('HDEL', KEYS[3], shard)
    redis.call('ZADD', KEYS[4], now + tonumber(ARGV[2]), shard)
    result[#result + 1] = shard
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  -- Lost messages are counted off as soon as fewer are in the whole queue.
  local messages = math.min(tonumber(redis.call('HGET', KEYS[1], 'messages') or 0), tonumber(ARGV[4]))
  redis.call('HSET', KEYS[1], 'messages', messages + #result)
end
return result
"""
)

SCRIPTS = {
    "claim": CLAIM,
    "next": NEXT,
    "renew": RENEW,
    "release": RELEASE,
    "note": NOTE,
    "commit": COMMIT,
    "admit": ADMIT,
    "reap": REAP,
}
