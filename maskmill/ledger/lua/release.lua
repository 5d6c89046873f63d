-- Gives a shard back; it can be claimed once the delay is over.
--
-- ARGV: prefix, job, shard, owner, delay ms, counts as an attempt (0 or 1), worker seconds spent.
-- Example. owners {0: w1}, charges {0: 2}, attempts {0: 1}, vtime 5.5.
--   call    shard 0, owner w1, delay 1000, counts 0, seconds 0.5
--   answer  1
--   after   owners {}, leases {}, waiting {0: now+1000}, attempts {0: 1}, excused {0: 1}, vtime 4.0, due {job: now+1000}
local name, shard, delay = ARGV[2], ARGV[3], tonumber(ARGV[5])
if call('HGET', key(name, 'owners'), shard) ~= ARGV[4] then return 0 end
local charged = unhold(name, shard)
call('ZADD', key(name, 'waiting'), now + delay, shard)
if ARGV[6] == '0' then excuse(name, shard) end
local job = read(name)
if not job then return 1 end
charge(job, tonumber(ARGV[7]) - charged)
if job.halted then return 1 end
if delay > 0 then look_again(name, now + delay) else make_runnable(job) end
return 1
