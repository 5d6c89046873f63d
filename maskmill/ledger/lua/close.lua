-- Takes a job that has its manifest off all lists of open ones; what it leaves expires.
--
-- ARGV: prefix, job, keep ms.
-- Example. open {j}, closing {j}; call keep 86400000; after: open {}, closing {}; meta and done expire in a day; jobs {j}.
local name = ARGV[2]
leave(name)
call('SREM', OPEN, name)
call('SREM', CLOSING, name)
for _, part in ipairs(IN_FLIGHT) do call('DEL', key(name, part)) end
if not read(name) then return 0 end
call('HSET', key(name, 'meta'), 'closed', 1, 'shards_excused', 0, 'shards_noted', 0)
call('PEXPIRE', key(name, 'meta'), ARGV[3])
call('PEXPIRE', key(name, 'done'), ARGV[3])
return 1
