-- Notes what a worker does, and how many workers were there of late.
--
-- ARGV: prefix, worker ('' only asks), ms that count, state ('' takes the worker off the list).
-- Example. workers {a: now-60000, b: now-1000}; call c, 15000, idle; answer 2; after: workers {a, b, c: now},
--   states {…, c: idle}; a goes after ten times that.
local workers, states, late = queue .. ':workers', queue .. ':states', tonumber(ARGV[3])
if ARGV[2] ~= '' then
  if ARGV[4] == '' then
    call('ZREM', workers, ARGV[2])
    call('HDEL', states, ARGV[2])
  else
    call('ZADD', workers, now, ARGV[2])
    call('HSET', states, ARGV[2], ARGV[4])
  end
  for _, gone in ipairs(call('ZRANGEBYSCORE', workers, '-inf', now - 10 * late, 'LIMIT', 0, LOOKED_AT)) do
    call('ZREM', workers, gone)
    call('HDEL', states, gone)
  end
end
return call('ZCOUNT', workers, now - late, '+inf')
