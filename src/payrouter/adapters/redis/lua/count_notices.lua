-- KEYS: notices, notices-since
-- Returns how many notices there are, and since when the oldest waits unless there is none.
local reply = { redis.call('ZCARD', KEYS[1]) }
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
-- Of those that were never claimed the first is the oldest; all others are here.
local claimed = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
if first then
  reply[2] = whole(math.min(tonumber(first), tonumber(claimed or first)))
end
return reply
