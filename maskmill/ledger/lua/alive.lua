-- Notes that a worker is there, and how many were there of late. ARGV: prefix, worker ('' only asks), ms that count.
-- Example. workers {a: now-60000, b: now-1000}; call c, 30000; answer 2; after: workers {a, b, c: now}; a goes after ten times that.
local workers, late = queue .. ':workers', tonumber(ARGV[3])
if ARGV[2] ~= '' then
  call('ZADD', workers, now, ARGV[2])
  call('ZREMRANGEBYSCORE', workers, '-inf', now - 10 * late)
end
return call('ZCOUNT', workers, now - late, '+inf')
