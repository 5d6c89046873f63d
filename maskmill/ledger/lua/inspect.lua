-- Whether all keys of a job are there and agree, as they do unless a server evicted or lost some.
--
-- ARGV: prefix, job. Answer: {round, 1 or 0}; nothing when no key of the job is there and it is not open.
-- Example. shards_done 3, but `done` was evicted: {0, 0}.
local name, parts = ARGV[2], 0
for _, part in ipairs(IN_FLIGHT) do parts = parts + call('EXISTS', key(name, part)) end
local job = read(name)
if not job then
  if parts + call('EXISTS', key(name, 'done')) + call('SISMEMBER', OPEN, name) == 0 then return nil end
  return {0, 0}
end

local function size(part) return call('HLEN', key(name, part)) end
local leased, waiting = call('ZCARD', key(name, 'leases')), call('ZCARD', key(name, 'waiting'))
local counted = call('HMGET', key(name, 'meta'), 'shards_excused', 'shards_noted')
local agree = call('BITCOUNT', key(name, 'done')) == job.done
  and size('owners') == leased and size('charges') == leased and size('attempts') == leased + waiting
  and size('excused') == tonumber(counted[1] or 0) and size('notes') == tonumber(counted[2] or 0)

-- Whether those who look for work find it.
local function is_found()
  if job.closed then return true end
  if job.halted or job.done >= job.shards then return call('SISMEMBER', CLOSING, name) == 1 end
  local due = tonumber(call('ZSCORE', DUE, name) or math.huge)
  local ahead = math.min(next_time(key(name, 'waiting')) or math.huge, next_time(key(name, 'leases')) or math.huge)
  if due > ahead then return false end
  return due <= now or not has_free(job) or call('ZSCORE', RUNNABLE, name) ~= false
end

return {job.round, agree and is_found() and 1 or 0}
