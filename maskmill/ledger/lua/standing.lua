-- What keeps a job from going on, as far as the ledger shows it. Changes nothing.
--
-- ARGV: prefix, job, ms in which a worker was heard of.
-- Answer: {leased now, workers there, of these starting, shards that wait out a pause, ms until the first of them may be
--   claimed, workers at other jobs, how many such jobs, the one with most of them}; the last three only when none is
--   leased. Workers that leave are not there.
-- Example. workers {a, b: now}, states {a: working, b: idle}; 'big' has leases {0: now+9000}, owners {0: a};
--   'small' has waiting {3: now+4000}.
--   call    small, 15000
--   answer  {0, 2, 0, 1, 4000, 1, 1, 'big'}
local name, since = ARGV[2], now - tonumber(ARGV[3])
local MOST_LEASES, MOST_JOBS = 10000, 100 -- looked at
local text = string.format('%.0f', now)

local function leased(job) return call('ZRANGEBYSCORE', key(job, 'leases'), '(' .. text, '+inf', 'LIMIT', 0, MOST_LEASES) end

local there, starting = 0, 0
for _, worker in ipairs(call('ZRANGEBYSCORE', queue .. ':workers', since, '+inf')) do
  local state = call('HGET', queue .. ':states', worker)
  if state ~= 'draining' then there = there + 1 end
  if state == 'starting' then starting = starting + 1 end
end

local paused = call('ZCOUNT', key(name, 'waiting'), '(' .. text, '+inf')
local first = next_time(key(name, 'waiting'))
local own = call('ZCOUNT', key(name, 'leases'), '(' .. text, '+inf')
local answer = {own, there, starting, paused, first and first - now or 0}
if own > 0 then return answer end

-- Every job with a lease is among those that are due one day, but for cancelled ones, which end within a batch.
local seen, busy, jobs, most, most_busy = {}, 0, 0, '', 0
for _, job in ipairs(call('ZRANGE', DUE, 0, MOST_JOBS - 1)) do
  local here = 0
  for _, shard in ipairs(leased(job)) do
    local owner = call('HGET', key(job, 'owners'), shard)
    if owner and not seen[owner] then seen[owner], here = true, here + 1 end
  end
  if here > 0 then busy, jobs = busy + here, jobs + 1 end
  if here > most_busy then most, most_busy = job, here end
end
answer[6], answer[7], answer[8] = busy, jobs, most
return answer
