-- What all scripts begin with: the streams, and the epoch they are in.
--
-- <prefix>:streams                   a hash: each group's last message, as a packet of its own, which has its seq; and in
--                                    the field '' the epoch of streams that begin now, a space, and the run_id of the
--                                    Redis that began it. One key, so that no part of it can be lost without the rest
-- <prefix>:idempotency:<key>         the digest of the batch that was published under a key; expires
-- <prefix>:keys:<stretch>            how many keys came in a stretch of time that is as long as they are kept; expires
-- <prefix>:names                     a sorted set: the groups in the hash, in the order of their names
-- <prefix>:history:<epoch>:<group>   a list: the group's last packets
--
-- A Redis that has forgotten the epoch, or was started again (perhaps from a file that lacks the last ticks), begins a
-- new one, with nothing in it. Old histories end by their expiry. A stream is in the epoch that its last packet names:
-- after streams were dropped (retain.lua) that is an older one than of those that have begun since.

local call = redis.call
local prefix, run_id = ARGV[1], ARGV[2]
local streams, names = prefix .. ':streams', prefix .. ':names'
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local CHUNK = 1000 -- unpack takes some 8,000 at most

-- Where the fields of a packet's header begin (bus/redis/packing.py).
local TIME, SEQ = 16, 24
local EPOCH_SIZE = 13
local OWN, OWN_END = 3, 15

-- The epoch of streams that begin now, and a table with the last packet of the first group at 2, of the next at 3, and so on; nil or false if it
-- has none.
local function place(groups, from, to)
  local known = call('HMGET', streams, '', unpack(groups, from, to))
  local held = known[1]
  if held and string.sub(held, EPOCH_SIZE + 2) == run_id then
    return string.sub(held, 1, EPOCH_SIZE), known
  end
  call('UNLINK', streams, names)
  local epoch = string.format('%08x%05x', time[1], time[2])
  call('HSET', streams, '', epoch .. ' ' .. run_id)
  return epoch, {}
end
