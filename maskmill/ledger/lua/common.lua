-- Put before every script. ARGV[1] is the prefix of the queue's keys, 'maskmill:QUEUE'.
-- Times are milliseconds of the server's clock. Shard numbers stay integers: %.17g writes them without an exponent.
local call, queue = redis.call, ARGV[1]
local JOBS, OPEN, CLOSING = queue .. ':jobs', queue .. ':open', queue .. ':closing'
local RUNNABLE, DUE, CLOCK = queue .. ':runnable', queue .. ':due', queue .. ':clock'

local PRIORITY_SECONDS = 1e11 -- between the scores of two priorities: more than all workers will ever spend
local HEAD_START_SECONDS = 0.01 -- a new job goes before its equals
local LOOKED_AT = 8 -- due jobs that one claim looks at, and old ones that a new one does
local IN_FLIGHT = {'owners', 'charges', 'leases', 'waiting', 'attempts', 'excused', 'notes', 'in_hand'}

local function key(job, part) return queue .. ':' .. job .. ':' .. part end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- The fields of a job that decide who works on it; nil when the ledger has no such job.
local function read(job)
  local meta = call('HMGET', key(job, 'meta'), 'shards', 'shards_done', 'next', 'priority', 'vtime', 'average',
                    'model', 'round', 'halted', 'closed', 'out', 'floor')
  if not meta[1] then return nil end
  return {
    name = job, shards = tonumber(meta[1]), done = tonumber(meta[2] or 0), next = tonumber(meta[3] or 0),
    priority = tonumber(meta[4] or 0), vtime = tonumber(meta[5] or 0), average = tonumber(meta[6] or 1),
    model = meta[7] or '', round = tonumber(meta[8] or 0), halted = meta[9], closed = meta[10], out = meta[11] or '',
    floor = tonumber(meta[12] or 0),
  }
end

-- The member whose time has come first, or nil.
local function first_due(zset) return call('ZRANGEBYSCORE', zset, '-inf', now, 'LIMIT', 0, 1)[1] end

-- When the time of the next member comes that is still ahead.
local function next_time(zset)
  return tonumber(call('ZRANGEBYSCORE', zset, '(' .. string.format('%.0f', now), '+inf', 'LIMIT', 0, 1, 'WITHSCORES')[2])
end

-- Counts the shards that are leased, that were given back, and that were never begun: all that are none of these.
local function count(job)
  job.leased, job.waiting = call('ZCARD', key(job.name, 'leases')), call('ZCARD', key(job.name, 'waiting'))
  job.fresh = job.shards - job.done - job.leased - job.waiting
end

-- A shard that was given back and can be claimed, else one whose lease is over.
local function free_again(job)
  return job.waiting > 0 and first_due(key(job.name, 'waiting')) or job.leased > 0 and first_due(key(job.name, 'leases'))
end

local function has_free(job)
  if job.halted or job.closed then return false end
  if not job.fresh then count(job) end
  return job.fresh > 0 or free_again(job) and true or false
end

local function score(job) return job.vtime - job.priority * PRIORITY_SECONDS end

-- The vtime that was last served among the jobs of a priority: who comes (back) starts there.
local function clock(priority)
  local served = call('HGET', CLOCK, priority)
  if served then return tonumber(served) end
  local base = -priority * PRIORITY_SECONDS
  local first = call('ZRANGEBYSCORE', RUNNABLE, base - PRIORITY_SECONDS / 2, base + PRIORITY_SECONDS / 2, 'LIMIT', 0, 1)[1]
  return first and tonumber(call('HGET', key(first, 'meta'), 'vtime') or 0) or 0
end

-- Puts the job among the runnable ones at this vtime. What it gets back for earlier shards takes it no lower.
local function enter(job, vtime)
  job.vtime, job.floor = vtime, vtime
  call('HSET', key(job.name, 'meta'), 'vtime', vtime, 'floor', vtime)
  call('ZADD', RUNNABLE, score(job), job.name)
end

-- A job that was away keeps no claim to the time in which it had nothing to do.
local function make_runnable(job)
  if call('ZSCORE', RUNNABLE, job.name) then return end
  local served = clock(job.priority)
  if job.vtime < served then return enter(job, served) end
  call('ZADD', RUNNABLE, score(job), job.name)
end

-- A new job, or one that begins anew, goes before its equals.
local function make_first(job) enter(job, clock(job.priority) - HEAD_START_SECONDS) end

-- Whether nothing is left of a job; then it leaves the list of jobs.
local function is_gone(name)
  if call('EXISTS', key(name, 'meta')) == 1 or call('SISMEMBER', OPEN, name) == 1 then return false end
  return call('ZREM', JOBS, name) == 1
end

-- Counts worker time for a job. The clock follows downwards, so that a new job still starts no later than this one.
local function charge(job, seconds)
  if seconds == 0 then return end
  job.vtime = math.max(job.vtime + seconds, job.floor)
  call('HSET', key(job.name, 'meta'), 'vtime', job.vtime)
  if not call('ZSCORE', RUNNABLE, job.name) then return end
  call('ZADD', RUNNABLE, score(job), job.name)
  if seconds < 0 and job.vtime < clock(job.priority) then call('HSET', CLOCK, job.priority, job.vtime) end
end

-- Nobody is to look at the job again for a shard.
local function leave(name)
  call('ZREM', RUNNABLE, name)
  call('ZREM', DUE, name)
end

local function halt(name)
  call('HSET', key(name, 'meta'), 'halted', 1)
  leave(name)
  call('SADD', CLOSING, name)
end

-- Notes when the job is to be looked at again.
local function look_again(name, at) call('ZADD', DUE, 'LT', at, name) end

-- Looks at a job whose time has come: is a lease over, or a delay? And when is the next?
local function visit(name)
  local job = read(name)
  if not job or job.halted or job.closed then return leave(name) end
  if has_free(job) then make_runnable(job) end
  local waiting, leases = next_time(key(name, 'waiting')), next_time(key(name, 'leases'))
  if waiting or leases then
    call('ZADD', DUE, math.min(waiting or math.huge, leases or math.huge), name)
  else
    call('ZREM', DUE, name)
  end
end

local function visit_due(limit)
  local due = call('ZRANGEBYSCORE', DUE, '-inf', now, 'LIMIT', 0, limit)
  for _, name in ipairs(due) do visit(name) end
  return #due
end

-- Gives the shard to an owner; `charged` are the worker seconds that the job was charged for it in advance.
local function hold(job, shard, owner, lease, charged)
  local name = job.name
  if job.waiting ~= 0 then call('ZREM', key(name, 'waiting'), shard) end
  call('ZADD', key(name, 'leases'), now + lease, shard)
  call('HSET', key(name, 'owners'), shard, owner)
  call('HSET', key(name, 'charges'), shard, charged)
  local attempt, excused, note = call('HINCRBY', key(name, 'attempts'), shard, 1), 0, ''
  if attempt > 1 then
    excused = tonumber(call('HGET', key(name, 'excused'), shard) or 0)
    note = call('HGET', key(name, 'notes'), shard) or ''
    call('HDEL', key(name, 'in_hand'), shard)
  end
  return {'claimed', name, job.out, tonumber(shard), attempt, excused, job.round, note}
end

-- Takes the shard from its owner; returns what was charged for it.
local function unhold(name, shard)
  local charged = tonumber(call('HGET', key(name, 'charges'), shard) or 0)
  call('HDEL', key(name, 'owners'), shard)
  call('HDEL', key(name, 'charges'), shard)
  call('HDEL', key(name, 'in_hand'), shard)
  call('ZREM', key(name, 'leases'), shard)
  return charged
end

-- An attempt that is not the shard's fault; never more than there were.
local function excuse(name, shard)
  local attempts = tonumber(call('HGET', key(name, 'attempts'), shard) or 0)
  if tonumber(call('HGET', key(name, 'excused'), shard) or 0) >= attempts then return end
  if call('HINCRBY', key(name, 'excused'), shard, 1) == 1 then
    call('HINCRBY', key(name, 'meta'), 'shards_excused', 1)
  end
end
