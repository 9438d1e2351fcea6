-- Drops streams that have had no message for a time. Looks at a slice of them, and not again for a while, however many
-- gateways ask. ARGV after the first two: for how many ms a stream is kept, how many are looked at, after how many ms
-- again, and the prefix of groups' channels. Returns how many were dropped, -1 if another gateway has just done it.
--
-- <prefix>:retention   a hash: when a slice was looked at last, until when nothing is dropped, and the name behind which
--                      the next slice begins
--
-- The epoch of streams that begin from now on is a new one, so that a stream that was dropped and begins again is not
-- taken for the old one. Who follows a stream that is dropped is sent a packet of the new epoch, without messages.

local keep, most, rest, channels = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local state = prefix .. ':retention'
local held = call('HMGET', state, 'last', 'hold', 'after')
local last, hold, after = tonumber(held[1]) or now, tonumber(held[2]) or 0, held[3] or ''
if held[1] and now >= last and now - last < rest then
  return -1
end
-- If the clock has jumped, what seems to be old need not be. Nor is it known after a long time without gateways.
if now < last or now - last > math.max(keep / 2, 60000) then
  hold = now + keep / 2
end

place({}, 1, 0)
local groups = call('ZRANGEBYLEX', names, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, most)
local dropped = {}
if #groups > 0 and now >= hold then
  local known = call('HMGET', streams, unpack(groups))
  local epoch = string.format('%08x%05x', time[1], time[2])
  local ending = '\193\2' .. epoch .. struct.pack('>I8I8I4I2B', now, 0, 0, time[2] % 1000, 0)
  for i, group in ipairs(groups) do
    if known[i] and struct.unpack('>I8', known[i], TIME) < now - keep then
      dropped[#dropped + 1] = group
      call('UNLINK', prefix .. ':history:' .. string.sub(known[i], OWN, OWN_END) .. ':' .. group)
      send(channels, group, ending)
    end
  end
  if #dropped > 0 then -- first what takes away, as below
    call('HDEL', streams, unpack(dropped))
    call('ZREM', names, unpack(dropped))
    call('HSET', streams, '', epoch .. ' ' .. run_id)
  end
end
call('HDEL', state, 'after') -- a Redis that is out of memory lets a script add only after it has taken away
call('HSET', state, 'last', now, 'hold', hold, 'after', #groups == most and groups[most] or '')
send_rest()
return #dropped
