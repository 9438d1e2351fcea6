-- The groups that have had a message in this epoch.

place({}, 1, 0)
local groups = {}
for _, group in ipairs(call('HKEYS', streams)) do
  if group ~= '' then
    groups[#groups + 1] = group
  end
end
return groups
