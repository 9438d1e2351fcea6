-- A page of the groups that have had a message in this epoch, by name. ARGV after the first two: the name it begins
-- behind, or '' and then how many groups come before it; and how many groups it has at most. Returns how many groups
-- there are, and the page. What it costs does not depend on how many there are.

place({}, 1, 0)
local after, first, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local page = {}
if most > 0 and after ~= '' then
  page = call('ZRANGEBYLEX', names, '(' .. after, '+', 'LIMIT', 0, most)
elseif most > 0 then
  page = call('ZRANGE', names, first, first + most - 1)
end
return {call('ZCARD', names), page}
