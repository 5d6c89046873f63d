-- Puts a ledger of the job that was built beside (`…:new:TOKEN:meta`, `…:done`) in the place of the old one.
--
-- What is in flight stays when the round is the same, and is made whole again if a key was lost; else it goes. Walks
-- through the shards in flight, the only script that does.
-- ARGV: prefix, job, token, created seconds. Answer: 0 when the ledger has a later round already.
-- Example. old: round 0, leases {4, 5}, waiting {2}, `owners` lost; new: round 0, done {0, 1, 5}.
--   answer  1
--   after   done {0, 1, 5}, shards_done 3, leases {}, waiting {2: as before, 4: now}, attempts {2, 4}, next 0
local name, new = ARGV[2], 'new:' .. ARGV[3] .. ':'
local meta, done = key(name, 'meta'), key(name, 'done')
local function beside(part) return key(name, new .. part) end

local old = read(name)
local round = tonumber(call('HGET', beside('meta'), 'round'))
if not round then return redis.error_reply('EXPIRED the ledger that was built beside') end
if old and old.round > round then
  call('DEL', beside('meta'), beside('done'))
  return 0
end
local same = not old or old.round == round

local HASHES = {'owners', 'charges', 'attempts', 'excused', 'notes', 'in_hand'}

-- Every shard that a key in flight speaks of.
local function in_flight()
  local shards = {}
  for _, part in ipairs(HASHES) do
    for _, shard in ipairs(call('HKEYS', key(name, part))) do shards[shard] = true end
  end
  for _, part in ipairs({'leases', 'waiting'}) do
    for _, shard in ipairs(call('ZRANGE', key(name, part), 0, -1)) do shards[shard] = true end
  end
  return shards
end

local function drop(shard)
  for _, part in ipairs(HASHES) do call('HDEL', key(name, part), shard) end
  for _, part in ipairs({'leases', 'waiting'}) do call('ZREM', key(name, part), shard) end
end

-- A shard is leased if both its owner and its deadline are known, else it waits for anybody.
local function mend(shard, average)
  if call('HEXISTS', key(name, 'owners'), shard) == 1 and call('ZSCORE', key(name, 'leases'), shard) then
    call('ZREM', key(name, 'waiting'), shard)
    call('HSETNX', key(name, 'charges'), shard, average)
  else
    unhold(name, shard)
    call('ZADD', key(name, 'waiting'), 'NX', now, shard)
  end
  local excused = tonumber(call('HGET', key(name, 'excused'), shard) or 0)
  call('HSETNX', key(name, 'attempts'), shard, excused + 1)
end

if same then
  for shard in pairs(in_flight()) do
    if call('GETBIT', beside('done'), shard) == 1 then drop(shard) else mend(shard, old and old.average or 1) end
  end
else
  for _, part in ipairs(IN_FLIGHT) do call('DEL', key(name, part)) end
end

call('RENAME', beside('meta'), meta)
call('PERSIST', meta)
call('DEL', done)
if call('EXISTS', beside('done')) == 1 then
  call('RENAME', beside('done'), done)
  call('PERSIST', done)
end
call('HSET', meta, 'rebuilt', 1, 'next', 0, 'shards_done', call('BITCOUNT', done), 'vtime', old and old.vtime or 0,
     'floor', old and old.floor or 0, 'average', old and old.average or 1, 'shards_excused', call('HLEN', key(name, 'excused')),
     'shards_noted', call('HLEN', key(name, 'notes')))

local most = call('HGET', meta, 'max_failures')
local over = most and tonumber(call('HGET', meta, 'failed') or 0) > tonumber(most)
call('ZADD', JOBS, 'NX', ARGV[4], name)
call('SADD', OPEN, name)
call('SREM', CLOSING, name)
leave(name)
local job = read(name)
if over or job.halted or (same and old and old.halted) then
  halt(name)
elseif job.done >= job.shards then
  call('SADD', CLOSING, name)
elseif same and old then
  visit(name)
else
  make_first(job)
  visit(name)
end
return 1
