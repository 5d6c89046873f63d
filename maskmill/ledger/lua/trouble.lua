-- Notes what keeps the workers from going on with a job; book.lua takes it back. ARGV: prefix, job, reason.
local meta = key(ARGV[2], 'meta')
if call('EXISTS', meta) == 1 then call('HSET', meta, 'trouble', ARGV[3]) end
return 1
