-- The newest jobs, newest first; those whose keys have expired leave the list.
--
-- ARGV: prefix, how many.
-- Example. jobs {old: 1, gone: 2, new: 3}, gone has expired; call 2; answer {new, old}; after: jobs {old: 1, new: 3}.
local wanted, from, found = tonumber(ARGV[2]), 0, {}
while #found < wanted do
  local page = call('ZREVRANGE', JOBS, from, from + wanted - 1)
  if #page == 0 then break end
  for _, name in ipairs(page) do
    if not is_gone(name) then
      from = from + 1
      if #found < wanted then found[#found + 1] = name end
    end
  end
end
return found
