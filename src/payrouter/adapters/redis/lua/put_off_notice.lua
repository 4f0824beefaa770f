-- Make a claimed notice, of which a try failed, due later.
-- KEYS: notices, notices-since, notices-tries       ARGV: member, since when it waits, in how many us
if is_claimed(KEYS[2], ARGV[1], ARGV[2]) then
  redis.call('ZADD', KEYS[1], whole(now_us() + tonumber(ARGV[3])), ARGV[1])
  redis.call('HINCRBY', KEYS[3], ARGV[1], 1)
end
return 1
