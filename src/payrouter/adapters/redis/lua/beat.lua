-- KEYS: dispatchers      ARGV: instance, group, how long a heartbeat lasts in ms
-- Returns how many dispatchers are alive, nil when this one was taken over and must join anew.
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
redis.call('ZADD', KEYS[1], 'XX', now_ms() + tonumber(ARGV[3]), ARGV[1])
return redis.call('ZCOUNT', KEYS[1], now_ms(), '+inf')
