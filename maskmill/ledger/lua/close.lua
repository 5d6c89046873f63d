-- Takes a job that has its manifest off all lists of open ones; what it leaves expires.
--
-- ARGV: prefix, job, round, keep ms. A job in a later round stays as it is: a retry began meanwhile.
-- Example. open {j}, closing {j}; call round 0, keep 86400000; after: open {}, closing {}; meta and done expire in a day.
local name = ARGV[2]
if tonumber(call('HGET', key(name, 'meta'), 'round') or 0) > tonumber(ARGV[3]) then return 0 end
leave(name)
call('SREM', OPEN, name)
call('SREM', CLOSING, name)
for _, part in ipairs(IN_FLIGHT) do call('DEL', key(name, part)) end
if not read(name) then return 0 end
call('HSET', key(name, 'meta'), 'closed', 1, 'shards_excused', 0, 'shards_noted', 0)
call('PEXPIRE', key(name, 'meta'), ARGV[4])
call('PEXPIRE', key(name, 'done'), ARGV[4])
return 1
