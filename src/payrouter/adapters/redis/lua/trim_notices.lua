-- Give up notices, those due longest first, until no more than some are left or enough was done in one call.
-- KEYS: notices, notices-since, notices-tries       ARGV: how many to keep, most to give up
-- Returns how many were given up.
local excess = math.min(redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[1]), tonumber(ARGV[2]))
if excess <= 0 then
  return 0
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, excess - 1)) do
  forget_notice(KEYS[1], KEYS[2], KEYS[3], member)
end
return excess
