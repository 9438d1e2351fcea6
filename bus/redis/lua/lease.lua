-- Shares out what has a limit between the workers that want some of it, for a time.
--
-- ARGV after the first two: the worker, how many ms a lease lasts; and for each lease its name, the limit, how much the
-- worker wants, and '1' if it may have more than that where there is some to spare.
--
-- <prefix>:workers        a sorted set: who has asked lately, by the time in ms
-- <prefix>:lease:<name>   a hash: each worker's wish, lease, and the time in ms at which it ends
--
-- Returns how many workers there are, and the leases. At no time are the leases of a name together more than its limit.

local worker, lasts = ARGV[3], tonumber(ARGV[4])
local workers = prefix .. ':workers'
call('ZREMRANGEBYSCORE', workers, '-inf', now - lasts)
call('ZADD', workers, now, worker)
call('PEXPIRE', workers, lasts)

-- Who wants less than an equal part gets what it wants; the rest is shared out equally, or, where all have what they
-- want, what is left.
local function fair(limit, wishes, mine)
  table.sort(wishes)
  for i, wish in ipairs(wishes) do
    local part = limit / (#wishes - i + 1)
    if wish > part then
      return math.min(mine, part)
    end
    limit = limit - wish
  end
  return mine + limit / #wishes
end

local answer = {call('ZCARD', workers)}
for i = 5, #ARGV, 4 do
  local key, limit, mine = prefix .. ':lease:' .. ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local held = call('HGETALL', key)
  local wishes, leased = {mine}, 0
  for j = 1, #held, 2 do
    if held[j] ~= worker then
      local wish, lease, till = struct.unpack('>I8I8I8', held[j + 1])
      if till <= now then
        call('HDEL', key, held[j])
      else
        wishes[#wishes + 1] = wish
        leased = leased + lease
      end
    end
  end
  local lease = ARGV[i + 3] == '1' and fair(limit, wishes, mine) or mine
  lease = math.max(0, math.floor(math.min(lease, limit - leased)))
  call('HSET', key, worker, struct.pack('>I8I8I8', mine, lease, now + lasts))
  call('PEXPIRE', key, lasts)
  answer[#answer + 1] = lease
end
return answer
