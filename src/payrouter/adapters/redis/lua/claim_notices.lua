-- Claim notices that are due, those due longest first: for a while they are due to nobody else.
-- KEYS: notices, notices-since, notices-tries       ARGV: limit, lease in us
-- Returns member, since when it waits, and failed tries of each.
local now = now_us()
local reply = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
for i = 1, #due, 2 do
  local member = due[i]
  local since = redis.call('ZSCORE', KEYS[2], member) or due[i + 1]
  redis.call('ZADD', KEYS[1], whole(now + tonumber(ARGV[2])), member)
  redis.call('ZADD', KEYS[2], since, member)
  reply[#reply + 1] = member
  reply[#reply + 1] = whole(tonumber(since))
  reply[#reply + 1] = redis.call('HGET', KEYS[3], member) or '0'
end
return reply
