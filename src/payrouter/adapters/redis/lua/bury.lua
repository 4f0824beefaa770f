-- Bury claimed payments that must not be sent: their id was settled long ago with another amount.
-- KEYS: dispatchers, queue, payments, dead, failures, meta, notices, notices-since, notices-tries
-- ARGV: instance, group, 1 when notices are to be written, then id, record, failure of each
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
local buried = {}
for i = 4, #ARGV, 3 do
  local id, record, failure = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('HGET', KEYS[3], id) == record then
    local entry = entry_of(record)
    redis.call('HSET', KEYS[3], id, 'D' .. string.sub(record, 2))
    redis.call('HSET', KEYS[5], id, failure)
    redis.call('ZADD', KEYS[4], 0, member(entry, id))
    redis.call('XACK', KEYS[2], ARGV[2], entry)
    redis.call('HINCRBY', KEYS[6], 'waiting', -1)
    buried[#buried + 1] = id
  end
end
if #buried > 0 and ARGV[3] == '1' then
  note(KEYS[7], KEYS[8], KEYS[9], '4', buried, now_us())
end
return #buried
