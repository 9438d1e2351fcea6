-- What streams had after a seq. ARGV after the first two: how many ms back the history may reach; and for each group its
-- name, an epoch and a seq. Returns, for each, the packets from the one with the next seq to the newest, or nil if the
-- history does not reach back to there.

local oldest = now - tonumber(ARGV[3])

local function missed(epoch, group, seq, newest)
  if seq > newest then
    return false
  end
  if seq == newest then
    return {}
  end
  -- No packet is empty, so there are at most as many as ticks.
  local packets = call('LRANGE', prefix .. ':history:' .. epoch .. ':' .. group, seq - newest, -1)
  local first = 0
  repeat
    first = first + 1
    if not packets[first] then
      return false
    end
    local sent, begins, count = struct.unpack('>I8I8I4', packets[first], TIME)
    if begins > seq + 1 or (begins + count > seq + 1 and sent < oldest) then
      return false
    end
  until begins + count > seq + 1
  if first == 1 then
    return packets
  end
  local rest = {}
  for i = first, #packets do
    rest[#rest + 1] = packets[i]
  end
  return rest
end

local answer = {}
for i = 4, #ARGV, 3 do
  local epoch, known = place(ARGV, i, i)
  local newest = 0
  if known[2] then
    epoch, newest = string.sub(known[2], OWN, OWN_END), struct.unpack('>I8', known[2], SEQ)
  end
  answer[#answer + 1] = epoch == ARGV[i + 1] and missed(epoch, ARGV[i], tonumber(ARGV[i + 2]), newest)
end
return answer
