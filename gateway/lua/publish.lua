-- Publishes a batch: sequence, last value, history and broadcast, all or nothing.
--
-- ARGV after the first two: the time in ms after which it is too late; the prefix of groups' channels; how many ticks
-- and how many ms the history keeps; the idempotency key or '', its digest, how many ms it is kept; and for each group
-- its name, its messages in one string, and '1' or, if there are several, how many and where the last one begins.
--
-- Returns the time in ms, or {why it was not published, the time in ms}.

local latest, channels = tonumber(ARGV[3]), ARGV[4]
local history_ticks, history_ms = tonumber(ARGV[5]), ARGV[6]
local FIRST = 10

if now > latest then
  return {'late', now}
end

if ARGV[7] ~= '' then
  local key = prefix .. ':idempotency:' .. ARGV[7]
  if not redis.call('SET', key, ARGV[8], 'NX', 'PX', ARGV[9]) then
    return {redis.call('GET', key) == ARGV[8] and 'repeated' or 'reused', now}
  end
end

-- Trimming takes some searching, so it is done once in so many ticks.
local stride = math.ceil(history_ticks / 4)

-- Drops the packets of which the last history_ticks ticks have no part.
local function trim(key, size, newest)
  local low, high = 0, size - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local seq, count = struct.unpack('>I8I4', redis.call('LINDEX', key, middle), 24)
    if seq + count > newest - history_ticks + 1 then
      high = middle
    else
      low = middle + 1
    end
  end
  if low > 0 then
    redis.call('LTRIM', key, low, -1)
  end
end

local groups = {}
for i = FIRST, #ARGV, 3 do
  groups[#groups + 1] = ARGV[i]
end

for from = 1, #groups, CHUNK do
  local to = math.min(from + CHUNK - 1, #groups)
  local epoch, known = place(groups, from, to)
  local history = prefix .. ':history:' .. epoch .. ':'
  local head = '\193\1' .. epoch .. struct.pack('>I8', now)
  local seqs, retained = {}, {}
  for i = from, to do
    local at = FIRST + 3 * (i - 1)
    local group, body, shape = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local before = tonumber(known[i - from + 2] or 0)
    local newest, packet, last = before + 1, nil, nil
    if shape == '1' then
      packet = head .. struct.pack('>I8I4', newest, 1) .. body
      last = packet
    else
      local count, tail = string.match(shape, '(%d+) (%d+)')
      newest = before + count
      packet = head .. struct.pack('>I8I4', before + 1, count) .. body
      last = head .. struct.pack('>I8I4', newest, 1) .. string.sub(body, tail)
    end
    seqs[#seqs + 1] = group
    seqs[#seqs + 1] = string.format('%.0f', newest)
    retained[#retained + 1] = group
    retained[#retained + 1] = last
    if history_ticks > 0 then
      local key = history .. group
      local size = redis.call('RPUSH', key, packet)
      redis.call('PEXPIRE', key, history_ms)
      if math.floor(before / stride) ~= math.floor(newest / stride) then
        trim(key, size, newest)
      end
    end
    redis.call('PUBLISH', channels .. group, packet)
  end
  redis.call('HSET', streams, unpack(seqs))
  redis.call('HSET', prefix .. ':retained:' .. epoch, unpack(retained))
end
return now
