-- Go on under a fresh name: what was sent under an older one and is still on its way here has no effect any more.
-- KEYS: dispatchers      ARGV: the fresh name, how long a heartbeat lasts in ms, every name it may have now
-- Returns 1, or nil when it was taken over and must join anew.
if registered(KEYS[1], ARGV[1]) then
  return 1
end
if redis.call('ZREM', KEYS[1], unpack(ARGV, 3)) == 0 then
  return nil
end
redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[2]), ARGV[1])
return 1
