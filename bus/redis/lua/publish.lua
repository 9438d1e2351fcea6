-- Publishes batches, each for itself all or nothing: sequence, last value, history and broadcast.
--
-- ARGV after the first two: the time in ms after which it is too late; the prefix of groups' channels; how many ticks
-- and how many ms the history keeps; how many streams there may be, and how many idempotency keys may come while one is
-- kept. Then of each batch: the idempotency key or '', its digest, how many ms it is kept; a note of the publisher; how
-- many groups have a single message, and how many have several; the name and the message of each of the former; and of
-- each of the latter its name, its messages in one string, their count, and where in it the last one begins.
--
-- Returns the time in ms, and 'late' if nothing was published, else what became of each batch: 'repeated', 'reused', or
-- 'streams' or 'keys' where there are too many of them; what Redis complained of; or, if it was published, the epoch of
-- those that begin now, and the last seq of each group. Behind them, for each group that is in another epoch, which it
-- is, counted from 0, and its epoch.

local latest, channels = tonumber(ARGV[3]), ARGV[4]
local history_ticks, history_ms = tonumber(ARGV[5]), tonumber(ARGV[6])
local max_streams, max_keys = tonumber(ARGV[7]), tonumber(ARGV[8])

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

-- Most calls bring a tick alone: one batch without a key, of one message. If its stream has begun it goes this way, since
-- the tables and functions that all other calls need cost it half as much again.
if #ARGV == 16 and ARGV[9] == '' then
  local note, group = ARGV[12], ARGV[15]
  local epoch, known = place(ARGV, 15, 15)
  local last = known[2]
  if last then
    local sent, before = struct.unpack('>I8I8', last, TIME)
    local own, newest = string.sub(last, OWN, OWN_END), before + 1
    local places = struct.pack('>I8I8I4I2B', now, newest, 1, time[2] % 1000, #note)
    local packet = '\193\2' .. own .. places .. note .. ARGV[16]
    if history_ticks > 0 then
      keep(prefix .. ':history:' .. own .. ':' .. group, packet, before, newest, sent)
    end
    send(channels, group, packet)
    call('HSET', streams, group, packet)
    send_rest()
    return {now, own == epoch and {epoch, newest} or {epoch, newest, 0, own}}
  end
end

-- The last packet of each group, false if it has none: as Redis has it, and then as the batches leave it.
local known, groups = {}, {}
local begins, at = {}, 9
while at <= #ARGV do
  begins[#begins + 1] = at
  local singles = at + 6 + 2 * ARGV[at + 4]
  local ending = singles + 4 * ARGV[at + 5]
  at = at + 6
  while at < ending do
    if known[ARGV[at]] == nil then
      known[ARGV[at]] = false
      groups[#groups + 1] = ARGV[at]
    end
    at = at + (at < singles and 2 or 4)
  end
end

local epoch, missing = '', 0
for from = 1, #groups, CHUNK do
  local to, last = math.min(from + CHUNK - 1, #groups), nil
  epoch, last = place(groups, from, to)
  for i = from, to do
    known[groups[i]] = last[i - from + 2] or false
    if not known[groups[i]] then
      missing = missing + 1
    end
  end
end

-- Why a batch is not published, if it is not.
local function refusal(at, first, singles, ending)
  if missing > 0 then
    local own, i = 0, first
    while i < ending do
      if not known[ARGV[i]] then
        own = own + 1
      end
      i = i + (i < singles and 2 or 4)
    end
    if own > 0 and call('ZCARD', names) + own > max_streams then
      return 'streams'
    end
  end
  if ARGV[at] ~= '' then
    local key, kept = prefix .. ':idempotency:' .. ARGV[at], tonumber(ARGV[at + 2])
    if not call('SET', key, ARGV[at + 1], 'NX', 'PX', kept) then
      return call('GET', key) == ARGV[at + 1] and 'repeated' or 'reused'
    end
    local counter = prefix .. ':keys:' .. math.floor(now / kept)
    local count = call('INCR', counter)
    if count == 1 then
      call('PEXPIRE', counter, kept)
    end
    if count > max_keys then
      call('DEL', key)
      return 'keys'
    end
  end
end

-- Packets begin, and histories are called, by the epoch of their stream: nearly always that of the one before.
local stamp, micros = struct.pack('>I8', now), time[2] % 1000
local current, head, history = nil, nil, nil
local function enter(own)
  current, head, history = own, '\193\2' .. own .. stamp, prefix .. ':history:' .. own .. ':'
end

local changed, is_changed = {}, {}

local function publish(at)
  local first = at + 6
  local singles = first + 2 * ARGV[at + 4]
  local ending = singles + 4 * ARGV[at + 5]
  local why = refusal(at, first, singles, ending)
  if why then
    return why
  end
  local rest = struct.pack('>I2B', micros, #ARGV[at + 3]) .. ARGV[at + 3]
  local answer, others = {epoch}, {}
  local i = first
  while i < ending do
    local group, body = ARGV[i], ARGV[i + 1]
    local last = known[group]
    local sent, before, newest, packet = 0, 0, nil, nil
    if last then
      sent, before = struct.unpack('>I8I8', last, TIME)
      local own = string.sub(last, OWN, OWN_END)
      if own ~= current then
        enter(own)
      end
      if own ~= epoch then
        others[#others + 1], others[#others + 2] = #answer - 1, own
      end
    else
      if epoch ~= current then
        enter(epoch)
      end
      call('ZADD', names, 0, group)
    end
    if i < singles then
      newest = before + 1
      packet = head .. struct.pack('>I8I4', newest, 1) .. rest .. body
      last = packet
      i = i + 2
    else
      newest = before + ARGV[i + 2]
      packet = head .. struct.pack('>I8I4', before + 1, newest - before) .. rest .. body
      last = head .. struct.pack('>I8I4', newest, 1) .. rest .. string.sub(body, ARGV[i + 3])
      i = i + 4
    end
    if history_ticks > 0 then
      keep(history .. group, packet, before, newest, sent)
    end
    send(channels, group, packet)
    known[group] = last
    if not is_changed[group] then
      is_changed[group] = true
      changed[#changed + 1] = group
    end
    answer[#answer + 1] = newest
  end
  for j = 1, #others do
    answer[#answer + 1] = others[j]
  end
  return answer
end

local outcomes = {now}
for i = 1, #begins do
  local is_done, outcome = pcall(publish, begins[i])
  if not is_done and type(outcome) ~= 'table' then
    outcome = redis.error_reply(outcome) -- before Redis 7 an error is a text
  end
  outcomes[i + 1] = outcome
end
for from = 1, #changed, CHUNK do
  local retained = {}
  for i = from, math.min(from + CHUNK - 1, #changed) do
    retained[#retained + 1], retained[#retained + 2] = changed[i], known[changed[i]]
  end
  call('HSET', streams, unpack(retained))
end
send_rest()
return outcomes
