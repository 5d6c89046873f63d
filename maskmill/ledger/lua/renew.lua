-- Extends the leases of these shards where the worker has them; one that ran out unclaimed is its own still.
--
-- ARGV: prefix, job, owner, lease ms, then shard and what the owner says of it by turns ('' leaves what it said).
-- Answer for each: 0 no longer its own (another's, booked, not known), 1 renewed, 2 renewed and job cancelled.
-- Example. owners {0: w1, 1: w2}.
--   call    owner w1, lease 30000, 0 '12 0 1', 1 '3 0 0'
--   answer  {1, 0}
--   after   leases {0: now+30000, 1: as before}, in_hand {0: '12 0 1'}
local name, owner, deadline, answers = ARGV[2], ARGV[3], now + tonumber(ARGV[4]), {}
local halted, any = call('HGET', key(name, 'meta'), 'halted'), false
for i = 5, #ARGV, 2 do
  if call('HGET', key(name, 'owners'), ARGV[i]) == owner then
    call('ZADD', key(name, 'leases'), deadline, ARGV[i])
    if ARGV[i + 1] ~= '' then call('HSET', key(name, 'in_hand'), ARGV[i], ARGV[i + 1]) end
    answers[#answers + 1], any = halted and 2 or 1, true
  else
    answers[#answers + 1] = 0
  end
end
-- Changes something only where a lease got shorter, or the job had none left to look at.
if any and not halted then look_again(name, deadline) end
return answers
