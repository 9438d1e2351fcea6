-- How packets reach those who listen in a cluster, where channels are of a slot and there are no patterns: to a channel
-- for each group, and, if anybody listens to it, to one for the whole bucket.
--
-- <prefix>__all__   a channel: the packets of a script, each with the name of its group before it, and the lengths of both

local all, parts = prefix .. '__all__', nil

local function send(channels, group, packet)
  call('SPUBLISH', channels .. group, packet)
  if parts == nil then
    parts = call('PUBSUB', 'SHARDNUMSUB', all)[2] > 0 and {}
  end
  if parts then
    parts[#parts + 1] = struct.pack('>I4I4', #group, #packet) .. group .. packet
  end
end

local function send_rest()
  if parts then
    call('SPUBLISH', all, table.concat(parts))
  end
end
