-- The records that workers keep of themselves (announce.lua), each behind the name of its worker.

local found = {}
for _, worker in ipairs(call('ZRANGE', prefix .. ':announced', 0, -1)) do
  local record = call('GET', prefix .. ':record:' .. worker)
  if record then
    found[#found + 1] = worker
    found[#found + 1] = record
  end
end
return found
