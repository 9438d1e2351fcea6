-- Where streams are. ARGV after the first two: groups. Returns the epoch of those that have not begun, and the packet of
-- each one's last message, which names its epoch, or nil.

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
