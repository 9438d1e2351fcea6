-- Publishes a batch: sequence, last value, history and broadcast, all or nothing.
--
-- ARGV after the first two: the time in ms after which it is too late; the prefix of groups' channels; how many ticks
-- and how many ms the history keeps; how many streams there may be, and how many idempotency keys may come while one is
-- kept; the idempotency key or '', its digest, how many ms it is kept; a note of the publisher; how many groups have a single message, and each
-- one's name and message; and for each of the others its name, its messages in one string, their count, and where in it
-- the last one begins.
--
-- Returns the time in ms and what became of the batch: 'late', 'repeated', 'reused', or 'streams' or 'keys' where there
-- are too many of them, if it was not published, else 'published', the epoch of those that begin now, and the last seq of
-- each group: first those with a single message, then the others. Behind them, for each group that is in another epoch,
-- which it is, counted from 0, and its epoch.

local latest, channels = tonumber(ARGV[3]), ARGV[4]
local history_ticks, history_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local max_streams, max_keys = tonumber(ARGV[7]), tonumber(ARGV[8])
local note, singles = ARGV[12], tonumber(ARGV[13])
local FIRST = 14

if now > latest then
  return {now, 'late'}
end

-- To be done with every tick both would cost too much. Trimming is done once in so many ticks, and a history's expiry set
-- for twice its time, by the first tick in each stretch of that length.
local stride = math.ceil(history_ticks / 4)
local stretch = history_ticks > 0 and now - now % history_ms or 0

-- Drops the packets of which the last history_ticks ticks have no part.
local function trim(key, size, newest)
  local low, high = 0, size - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local seq, count = struct.unpack('>I8I4', call('LINDEX', key, middle), SEQ)
    if seq + count > newest - history_ticks + 1 then
      high = middle
    else
      low = middle + 1
    end
  end
  if low > 0 then
    call('LTRIM', key, low, -1)
  end
end

local function keep(key, packet, before, newest, sent)
  local size = call('RPUSH', key, packet)
  if sent < stretch or size == 1 then
    call('PEXPIRE', key, 2 * history_ms)
  end
  if math.floor(before / stride) ~= math.floor(newest / stride) then
    trim(key, size, newest)
  end
end

local groups, at = {}, {}
for i = 1, singles do
  at[i] = FIRST + 2 * (i - 1)
  groups[i] = ARGV[at[i]]
end
for i = FIRST + 2 * singles, #ARGV, 4 do
  at[#at + 1] = i
  groups[#at] = ARGV[i]
end

local epoch, places, missing = nil, {}, 0
for from = 1, #groups, CHUNK do
  local to = math.min(from + CHUNK - 1, #groups)
  local known
  epoch, known = place(groups, from, to)
  for i = 2, to - from + 2 do
    if not known[i] then
      missing = missing + 1
    end
  end
  places[from] = known
end
if missing > 0 and call('ZCARD', names) + missing > max_streams then
  return {now, 'streams'}
end

if ARGV[9] ~= '' then
  local key, kept = prefix .. ':idempotency:' .. ARGV[9], tonumber(ARGV[11])
  if not call('SET', key, ARGV[10], 'NX', 'PX', kept) then
    return {now, call('GET', key) == ARGV[10] and 'repeated' or 'reused'}
  end
  local counter = prefix .. ':keys:' .. math.floor(now / kept)
  local count = call('INCR', counter)
  if count == 1 then
    call('PEXPIRE', counter, kept)
  end
  if count > max_keys then
    call('DEL', key)
    return {now, 'keys'}
  end
end

-- Packets begin, and histories are called, by the epoch of their stream: nearly always that of the one before.
local stamp, current, head, history = struct.pack('>I8', now), nil, nil, nil
local rest = struct.pack('>I2B', time[2] % 1000, #note) .. note
local function enter(own)
  current, head, history = own, '\193\2' .. own .. stamp, prefix .. ':history:' .. own .. ':'
end

local answer, others = {now, 'published', epoch or ''}, {}
for from = 1, #groups, CHUNK do
  local to = math.min(from + CHUNK - 1, #groups)
  local known = places[from]
  local retained, size = {}, 0
  local new, fresh = {}, 0
  for i = from, to do
    local group, body = groups[i], ARGV[at[i] + 1]
    local last = known[i - from + 2]
    local sent, before, newest, packet = 0, 0, nil, nil
    if last then
      sent, before = struct.unpack('>I8I8', last, TIME)
      local own = string.sub(last, OWN, OWN_END)
      if own ~= current then
        enter(own)
      end
      if own ~= epoch then
        others[#others + 1], others[#others + 2] = i - 1, own
      end
    else
      if epoch ~= current then
        enter(epoch)
      end
      new[fresh + 1], new[fresh + 2] = 0, group
      fresh = fresh + 2
    end
    if i <= singles then
      newest = before + 1
      packet = head .. struct.pack('>I8I4', newest, 1) .. rest .. body
      last = packet
    else
      newest = before + ARGV[at[i] + 2]
      packet = head .. struct.pack('>I8I4', before + 1, newest - before) .. rest .. body
      last = head .. struct.pack('>I8I4', newest, 1) .. rest .. string.sub(body, ARGV[at[i] + 3])
    end
    retained[size + 1], retained[size + 2] = group, last
    size = size + 2
    if history_ticks > 0 then
      keep(history .. group, packet, before, newest, sent)
    end
    call('PUBLISH', channels .. group, packet)
    answer[i + 3] = newest
  end
  call('HSET', streams, unpack(retained))
  if fresh > 0 then
    call('ZADD', names, unpack(new))
  end
end
for i = 1, #others do
  answer[#answer + 1] = others[i]
end
return answer
