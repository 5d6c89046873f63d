-- Makes the owner the one holder of an office of the queue, or keeps it so. ARGV: prefix, owner, ms, office.
-- Answer: 1 if it is.
-- Example. reconciler 'a'; call owner b; answer 0. When a's time is over: answer 1, reconciler 'b' for that many ms.
local chosen = queue .. ':' .. ARGV[4]
if call('GET', chosen) == ARGV[2] then return call('PEXPIRE', chosen, ARGV[3]) end
return call('SET', chosen, ARGV[2], 'NX', 'PX', ARGV[3]) and 1 or 0
