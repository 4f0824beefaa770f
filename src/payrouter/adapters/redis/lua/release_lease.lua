-- Give the lease up, and tell those who wait for it.
-- KEYS: leader      ARGV: node, token, channel, what to say there
-- Returns whether it was ours.
if not leads(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'until_us', '0')
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
