-- Takes an amount from what may be spent within a time that begins with the first amount.
--
-- ARGV after the first two: the account, the amount, the most, and how many ms the time has.
-- <prefix>:account:<name>   a counter; expires with the time
--
-- Returns 0 if it was taken, else in how many ms there is a new time.

local key, amount = prefix .. ':account:' .. ARGV[3], tonumber(ARGV[4])
local spent = tonumber(call('GET', key) or 0)
if spent + amount > tonumber(ARGV[5]) then
  return spent > 0 and call('PTTL', key) or tonumber(ARGV[6])
end
if call('INCRBY', key, amount) == amount then
  call('PEXPIRE', key, ARGV[6])
end
return 0
