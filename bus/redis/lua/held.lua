-- What is held. ARGV[3]: how many streams are looked at. Returns how many streams there are, how many idempotency keys
-- came in this stretch of time and the one before it (ARGV[4] ms each), and about how many bytes the streams take.

place({}, 1, 0)
local total, most, kept = call('ZCARD', names), tonumber(ARGV[3]), tonumber(ARGV[4])
local stretch = math.floor(now / kept)
local keys = 0
for _, count in ipairs(call('MGET', prefix .. ':keys:' .. stretch, prefix .. ':keys:' .. stretch - 1)) do
  keys = keys + (tonumber(count) or 0)
end

local function size(key)
  local answer = redis.pcall('MEMORY', 'USAGE', key)
  return type(answer) == 'number' and answer or 0
end

local sampled, bytes = 0, 0
for i = 0, math.min(most, total) - 1 do
  local rank = math.floor(i * total / most)
  local group = call('ZRANGE', names, rank, rank)[1]
  local packet = group and call('HGET', streams, group)
  if packet then
    sampled = sampled + 1
    bytes = bytes + size(prefix .. ':history:' .. string.sub(packet, OWN, OWN_END) .. ':' .. group)
  end
end
return {total, keys, math.floor(size(streams) + size(names) + (sampled > 0 and bytes / sampled * total or 0))}
