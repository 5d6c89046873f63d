-- Claims one shard of a cancelled job, to write its report. A live lease is respected, a delay is not.
--
-- ARGV: prefix, job, shard, owner, lease ms.
-- Example. job halted; waiting {3: tomorrow}, attempts {3: 1}.
--   call    shard 3, owner 'reconciler', lease 60000
--   answer  {'claimed', job, out, 3, 2, 0, 0, ''}
--   after   waiting {}, leases {3: now+60000}, owners {3: reconciler}, attempts {3: 2}; nothing is charged
local name, shard, owner, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local job = read(name)
if not job or tonumber(shard) >= job.shards then return {'unknown'} end
if job.closed or call('GETBIT', key(name, 'done'), shard) == 1 then return {'done'} end
if not job.halted then return {'held'} end
local deadline = call('ZSCORE', key(name, 'leases'), shard)
if deadline and tonumber(deadline) > now then return {'held'} end
return hold(job, shard, owner, lease, 0)
