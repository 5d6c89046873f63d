-- Drops all that the ledger has of a job. ARGV: prefix, job.
local name = ARGV[2]
leave(name)
call('SREM', OPEN, name)
call('SREM', CLOSING, name)
call('ZREM', JOBS, name)
for _, part in ipairs(IN_FLIGHT) do call('DEL', key(name, part)) end
return call('DEL', key(name, 'meta'), key(name, 'done'))
