-- Lets nobody begin a shard of the job any more. ARGV: prefix, job. Answer: 0 when there is no such job.
-- Example. runnable {j: 3}, due {j: …}; after: halted 1, runnable {}, due {}, closing {j}.
local job = read(ARGV[2])
if not job then return 0 end
if not job.closed then halt(ARGV[2]) end
return 1
