-- A dispatcher registers under a name nobody had before, and sets free what the dead hold.
-- KEYS: dispatchers, queue, payments, again, orphans, meta
-- ARGV: a random name, group, how long its heartbeat lasts in ms, number of lanes
-- The name begins with its lane: of those that the fewest living dispatchers have, the lowest.
-- Returns the full name, and 1 while nobody has looked whether payments were settled that are not known here.
local dispatchers, queue, payments, again, orphans, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local lasts_ms, lanes = tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('EXISTS', queue) == 0 or #redis.call('XINFO', 'GROUPS', queue) == 0 then
  redis.call('XGROUP', 'CREATE', queue, ARGV[2], '0', 'MKSTREAM')
end
set_expired_free(dispatchers, queue, payments, again, orphans, ARGV[2], lasts_ms)
local there = {}
for _, instance in ipairs(redis.call('ZRANGE', dispatchers, 0, -1)) do
  local lane = tonumber(string.match(instance, '^%d+')) or 0
  there[lane] = (there[lane] or 0) + 1
end
local lane = 0
for other = 1, lanes - 1 do
  if (there[other] or 0) < (there[lane] or 0) then
    lane = other
  end
end
local name = string.format('%d-%s', lane, ARGV[1])
redis.call('ZADD', dispatchers, now_ms() + lasts_ms, name)
if redis.call('HSETNX', meta, 'born', '1') == 1 then
  -- This Redis is new; perhaps the ledger is not.
  redis.call('HSET', meta, 'forgot', '?')
end
return { name, redis.call('HGET', meta, 'forgot') == '?' and 1 or 0 }
