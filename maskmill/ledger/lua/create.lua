-- Enters a job, or leaves it as it is when it is there; in both cases it can be found again by those who look for work.
--
-- ARGV: prefix, job, created seconds, fields of meta with values…
-- Example. clock {0: 40.0}; call job 'j', shards 4, priority 0; after: meta {shards 4, vtime 39.99, …},
--   runnable {j: 39.99}, open {j}, jobs {j: created}; of the oldest jobs those whose keys have expired are off the list
local name, meta = ARGV[2], key(ARGV[2], 'meta')
local new = call('HEXISTS', meta, 'shards') == 0
if new then call('HSET', meta, 'next', 0, 'shards_done', 0, 'average', 1, 'vtime', 0, 'floor', 0, unpack(ARGV, 4)) end
local job = read(name)
if job.closed then return 0 end
call('ZADD', JOBS, 'NX', ARGV[3], name)
for _, old in ipairs(call('ZRANGE', JOBS, 0, LOOKED_AT - 1)) do is_gone(old) end
call('SADD', OPEN, name)
if job.halted or job.done >= job.shards then
  call('SADD', CLOSING, name)
elseif new then
  make_first(job)
else
  visit(name)
end
return new and 1 or 0
