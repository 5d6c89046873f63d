-- Forgives one attempt of a shard.
--
-- ARGV: prefix, job, shard.
-- Example. attempts {0: 2}; call shard 0; after: excused {0: 1}. A third call leaves it at 2.
if call('EXISTS', key(ARGV[2], 'meta')) == 1 then excuse(ARGV[2], ARGV[3]) end
return 1
