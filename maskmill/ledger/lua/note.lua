-- Leaves a text with shards for whoever claims them next; '' removes it.
--
-- ARGV: prefix, job, owner, then shard and text by turns.
-- Example. owners {0: w1, 1: w2}; call owner w1, 0 'in model: a.jpg', 1 'x'; after: notes {0: 'in model: a.jpg'}.
local name, owner, more = ARGV[2], ARGV[3], 0
for i = 4, #ARGV, 2 do
  if call('HGET', key(name, 'owners'), ARGV[i]) == owner then
    if ARGV[i + 1] == '' then
      more = more - call('HDEL', key(name, 'notes'), ARGV[i])
    else
      more = more + call('HSET', key(name, 'notes'), ARGV[i], ARGV[i + 1])
    end
  end
end
if more ~= 0 then call('HINCRBY', key(name, 'meta'), 'shards_noted', more) end
return 1
