-- Notes a fact of a job that the ledger has: trouble (book.lua takes it back) or files. ARGV: prefix, job, field, text.
local meta = key(ARGV[2], 'meta')
if call('EXISTS', meta) == 1 then call('HSET', meta, ARGV[3], ARGV[4]) end
return 1
