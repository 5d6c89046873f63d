-- How many shards could be claimed now, over all jobs, counted up to a limit.
--
-- ARGV: prefix, limit.
-- Example. runnable {a, b}; a has 3 shards that nobody began, b one that was given back; call 10; answer 4; call 2; answer 2.
local limit, found = tonumber(ARGV[2]), 0
while visit_due(LOOKED_AT) > 0 do end
for _, name in ipairs(call('ZRANGE', RUNNABLE, 0, limit - 1)) do
  local job = read(name)
  if job and not job.halted and not job.closed then
    local over = string.format('%.0f', now)
    count(job)
    found = found + job.fresh + call('ZCOUNT', key(name, 'waiting'), '-inf', over)
            + call('ZCOUNT', key(name, 'leases'), '-inf', over)
  end
  if found >= limit then return limit end
end
return found
