-- Where streams are. ARGV after the first two: groups. Returns the epoch, and the packet of each one's last message, nil
-- for a group that never had one.

local answer = {}
for from = 3, #ARGV, CHUNK do
  local to = math.min(from + CHUNK - 1, #ARGV)
  local epoch, known = place(ARGV, from, to)
  answer[1] = epoch
  for i = 1, to - from + 1 do
    answer[#answer + 1] = known[i + 1] or false
  end
end
return answer
