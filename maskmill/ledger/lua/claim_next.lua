-- Claims the shard that is to be worked on next, of whichever job's turn it is.
--
-- ARGV: prefix, owner, lease ms, and where the worker is: job, model, stay with same model, with another one,
--   only this job; a token: the same one again gets the same answer; and jobs that are left to others, with spaces.
-- Example. runnable: {big: 12.0, small: 3.5}; small has shards 0 and 1 and an average of 2 s.
--   call    owner 'w1', lease 30000, no job
--   answer  {'claimed', 'small', 's3://b/out', 0, 1, 0, 0, ''}
--   after   small: leases {0: now+30000}, owners {0: w1}, charges {0: 2}, attempts {0: 1}, next 1, vtime 5.5;
--           runnable {big: 12.0, small: 5.5}; due {small: now+30000}; clock {0: 4.5}
local owner, lease = ARGV[2], tonumber(ARGV[3])
local at_job, at_model = ARGV[4], ARGV[5]
local stay_same, stay_other, only = ARGV[6] == '1', ARGV[7] == '1', ARGV[8] == '1'
local token, replies = ARGV[9], queue .. ':reply:' .. owner
local left = {}
for name in string.gmatch(ARGV[10] or '', '%S+') do left[name] = true end

-- The first shard from `next` on that nobody began. After a rebuild some behind `next` may be done, leased or waiting.
local function next_fresh(job)
  local done, shard = key(job.name, 'done'), job.next
  while shard < job.shards do
    if call('GETBIT', done, shard) == 1 then
      shard = shard % 8 == 0 and call('BITPOS', done, 0, shard / 8) or shard + 1
    elseif call('ZSCORE', key(job.name, 'leases'), shard)
        or job.waiting > 0 and call('ZSCORE', key(job.name, 'waiting'), shard) then
      shard = shard + 1
    else
      return shard
    end
  end
end

-- One that was given back, else one whose owner is gone, else a new one.
local function choose(job)
  local shard = free_again(job)
  if shard then return shard end
  shard = next_fresh(job)
  if shard then job.next = shard + 1 end
  return shard
end

-- What a job gets first costs each of n jobs an n-th of its turn: later new ones start so much later, else those that
-- never cease would keep an old job from its turn for good.
local function start_later(job, served)
  local base = -job.priority * PRIORITY_SECONDS
  local jobs = call('ZCOUNT', RUNNABLE, base - PRIORITY_SECONDS / 2, base + PRIORITY_SECONDS / 2)
  return jobs > 1 and served + job.average / jobs or served
end

local function take(job, first)
  local begins, shard = job.next == 0, choose(job)
  if not shard then return nil end
  local served = math.max(tonumber(call('HGET', CLOCK, job.priority) or first.vtime), first.vtime)
  call('HSET', CLOCK, job.priority, begins and start_later(job, served) or served)
  local answer = hold(job, shard, owner, lease, job.average)
  job.vtime = job.vtime + job.average
  call('HSET', key(job.name, 'meta'), 'vtime', job.vtime, 'next', job.next)
  job.fresh = job.fresh - 1 -- at least this many are left; if that is none, they are counted
  if job.fresh <= 0 then count(job) end
  if has_free(job) then call('ZADD', RUNNABLE, score(job), job.name) else call('ZREM', RUNNABLE, job.name) end
  look_again(job.name, now + lease)
  return answer
end

-- The job, if it is among the runnable ones and has a shard indeed; else it leaves them.
local function if_runnable(name)
  local job = read(name)
  if job and has_free(job) then return job end
  call('ZREM', RUNNABLE, name)
end

local function first_runnable()
  local passed = 0
  while true do
    local name = call('ZRANGE', RUNNABLE, passed, passed)[1]
    if not name then
      if visit_due(LOOKED_AT) == 0 then return nil end
      passed = 0
    elseif left[name] then
      passed = passed + 1
    else
      local job = if_runnable(name)
      if job then return job end
    end
  end
end

local function own(first)
  if at_job == '' or at_job == first.name then return at_job == first.name and first or nil end
  return call('ZSCORE', RUNNABLE, at_job) and if_runnable(at_job) or nil
end

local function stays(mine, first)
  if not mine then return false end
  if mine == first then return true end
  if mine.priority ~= first.priority then return false end
  if first.model == at_model then return stay_same end
  return stay_other
end

-- The answer is kept for as long as the lease: redis-py sends a command again whose answer was lost, and the shard
-- that was won the first time would have a lease that its owner knows nothing of.
local function remember(answer)
  call('SET', replies, cjson.encode({token, answer}), 'PX', math.max(1, lease))
  return answer
end

local before = call('GET', replies)
if before then
  local said, answer = unpack(cjson.decode(before))
  if said == token then return answer end
end

visit_due(LOOKED_AT)
while true do
  local first = first_runnable()
  if not first then return {'none'} end
  local mine = own(first)
  local chosen = stays(mine, first) and mine or first
  if only and chosen ~= mine then return {'yield'} end
  local answer = take(chosen, first)
  if answer then return remember(answer) end
  call('ZREM', RUNNABLE, chosen.name)
end
