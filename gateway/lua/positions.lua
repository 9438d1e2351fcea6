-- Where streams are. ARGV after the first two: groups. Returns {the epoch, seqs, the packets of the last messages}; nil
-- for a group that never had a message.

local seqs, retained, epoch, known = {}, {}, nil, nil
for from = 3, #ARGV, CHUNK do
  local to = math.min(from + CHUNK - 1, #ARGV)
  epoch, known = place(ARGV, from, to)
  local packets = redis.call('HMGET', prefix .. ':retained:' .. epoch, unpack(ARGV, from, to))
  for i = 1, to - from + 1 do
    seqs[#seqs + 1] = known[i + 1] or false
    retained[#retained + 1] = packets[i]
  end
end
return {epoch, seqs, retained}
