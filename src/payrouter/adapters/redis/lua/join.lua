-- A dispatcher registers under a name nobody had before, and sets free what the dead hold.
-- KEYS: dispatchers, queue, payments, again, orphans, meta
-- ARGV: a random name, group, how long its heartbeat lasts in ms, number of lanes
-- The name begins with its lane, the lowest that no living dispatcher has.
-- Returns the full name, and 1 when the installation was known, 0 when this is its first dispatcher ever.
local dispatchers, queue, payments, again, orphans, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
if redis.call('EXISTS', queue) == 0 or #redis.call('XINFO', 'GROUPS', queue) == 0 then
  redis.call('XGROUP', 'CREATE', queue, ARGV[2], '0', 'MKSTREAM')
end
set_expired_free(dispatchers, queue, payments, again, orphans, ARGV[2])
local taken = {}
for _, instance in ipairs(redis.call('ZRANGE', dispatchers, 0, -1)) do
  taken[tonumber(string.match(instance, '^%d+')) or -1] = true
end
local lane = 0
while taken[lane] do
  lane = lane + 1
end
local name = string.format('%d-%s', lane % tonumber(ARGV[4]), ARGV[1])
redis.call('ZADD', dispatchers, now_ms() + tonumber(ARGV[3]), name)
return { name, redis.call('HEXISTS', meta, 'born') }
