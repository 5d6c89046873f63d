-- Books a shard whose report is in the bucket: marks it done and adds its counts, the first time in this round only.
--
-- ARGV: prefix, job, shard, round, worker seconds spent, n, then n fields with amounts, then fields with examples.
-- Answer: 0 ignored (booked before, another round, no such shard), 1 booked, 2 booked and over the failure budget.
-- Example. shards 2, shards_done 1, owners {1: w1}, charges {1: 2}, vtime 5.5, average 2.
--   call    shard 1, round 0, seconds 3, n 2: stored 9, failed 1, failed:timeout 1; example:timeout '{…}'
--   answer  1
--   after   done bit 1 set, shards_done 2, stored +9, failed +1, vtime 6.5, average 2.2; nothing of shard 1 in flight;
--           the job is in closing and neither in runnable nor due
local name, shard, seconds = ARGV[2], ARGV[3], tonumber(ARGV[5])
local meta, job = key(name, 'meta'), read(name)
if not job or job.closed or job.round ~= tonumber(ARGV[4]) or tonumber(shard) >= job.shards then return 0 end
if call('SETBIT', key(name, 'done'), shard, 1) == 1 then return 0 end

local charged = unhold(name, shard)
call('ZREM', key(name, 'waiting'), shard)
if call('HDEL', key(name, 'attempts'), shard) == 1 then
  if call('HDEL', key(name, 'excused'), shard) == 1 then call('HINCRBY', meta, 'shards_excused', -1) end
  if call('HDEL', key(name, 'notes'), shard) == 1 then call('HINCRBY', meta, 'shards_noted', -1) end
end

local first_example = 7 + 2 * ARGV[6]
for i = 7, first_example - 1, 2 do call('HINCRBY', meta, ARGV[i], ARGV[i + 1]) end
for i = first_example, #ARGV, 2 do call('HSETNX', meta, ARGV[i], ARGV[i + 1]) end
if seconds > 0 then
  local average = job.done == 0 and seconds or job.average + 0.2 * (seconds - job.average)
  call('HSET', meta, 'average', average)
end
charge(job, seconds - charged)
call('HDEL', meta, 'trouble')

if call('HINCRBY', meta, 'shards_done', 1) >= job.shards then
  leave(name)
  call('SADD', CLOSING, name)
end
local most = call('HGET', meta, 'max_failures')
if not most or tonumber(call('HGET', meta, 'failed') or 0) <= tonumber(most) then return 1 end
halt(name)
return 2
