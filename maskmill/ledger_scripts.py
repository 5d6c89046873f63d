"""The ledger's atomic scripts, in Lua for Redis.

Keys of a job: `…:meta` (hash: out, shards, images, next, messages on their way, counters), `…:done` (bitmap),
`…:claims` (hash: shard → owner), `…:open` (sorted set: shard → deadline in ms, of its lease when claimed, else of its
announcement), `…:attempts` (hash: shard → claims so far).
"""

from __future__ import annotations

NOW = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

# KEYS of every job script: meta, done, claims, open, attempts.
CLAIM = (
    NOW
    + """
local shard, owner, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
if tonumber(shard) >= tonumber(redis.call('HGET', KEYS[1], 'shards') or 0) then return {'unknown', 0} end
if tonumber(redis.call('HGET', KEYS[1], 'messages') or 0) > 0 then redis.call('HINCRBY', KEYS[1], 'messages', -1) end
if redis.call('GETBIT', KEYS[2], shard) == 1 then return {'done', 0} end
local held = redis.call('HGET', KEYS[3], shard)
if held and tonumber(redis.call('ZSCORE', KEYS[4], shard) or 0) > now then return {'held', 0} end
redis.call('HSET', KEYS[3], shard, owner)
redis.call('ZADD', KEYS[4], now + lease, shard)
return {'claimed', redis.call('HINCRBY', KEYS[5], shard, 1)}
"""
)

# An announced shard that nobody has begun comes first: its message will find it taken. Else one not announced yet.
NEXT = (
    NOW
    + """
local owner, lease, shard = ARGV[1], tonumber(ARGV[2]), nil
for _, each in ipairs(redis.call('ZRANGE', KEYS[4], 0, ARGV[3] - 1)) do
  if redis.call('HEXISTS', KEYS[5], each) == 0 then shard = each break end
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
if not shard then return {-1, 0} end
redis.call('HSET', KEYS[3], shard, owner)
redis.call('ZADD', KEYS[4], now + lease, shard)
return {tonumber(shard), redis.call('HINCRBY', KEYS[5], shard, 1)}
"""
)

RENEW = (
    NOW
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[4], 'XX', now + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)

RELEASE = (
    NOW
    + """
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[3]), ARGV[1])
if ARGV[4] == '0' then redis.call('HINCRBY', KEYS[5], ARGV[1], -1) end
return 1
"""
)

COMMIT = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local first = redis.call('SETBIT', KEYS[2], ARGV[1], 1) == 0
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
if not first then return 0 end
redis.call('HINCRBY', KEYS[1], 'shards_done', 1)
for i = 2, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
"""

ADMIT = (
    NOW
    + """
local window, hint, result = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
if redis.call('EXISTS', KEYS[1]) == 0 then return result end
local total = tonumber(redis.call('HGET', KEYS[1], 'shards'))
local next = tonumber(redis.call('HGET', KEYS[1], 'next') or 0)
local waiting = redis.call('ZCARD', KEYS[4]) - redis.call('HLEN', KEYS[3])
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
    "commit": COMMIT,
    "admit": ADMIT,
    "reap": REAP,
}
