-- Keeps what a worker says of itself, for a time.
--
-- ARGV after the first two: the worker, its record, and how many ms it is kept.
--
-- <prefix>:announced         a sorted set: who has a record, by the time in ms at which it ends; expires with the last
-- <prefix>:record:<worker>   the record; expires

local announced, worker, lasts = prefix .. ':announced', ARGV[3], tonumber(ARGV[5])
call('ZREMRANGEBYSCORE', announced, '-inf', now)
call('ZADD', announced, now + lasts, worker)
call('PEXPIRE', announced, lasts)
call('SET', prefix .. ':record:' .. worker, ARGV[4], 'PX', lasts)
return 0
