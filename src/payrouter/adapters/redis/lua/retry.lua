-- Send dead letters again. A pinned one goes to whoever adopts it next, and repeats its attempt.
-- KEYS: payments, again, dead, orphans, meta       ARGV: ids, or none for all
-- Returns how many.
local payments, again, dead, orphans, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local chosen = ARGV
if #ARGV == 0 then
  chosen = {}
  for _, text in ipairs(redis.call('ZRANGE', dead, 0, -1)) do
    chosen[#chosen + 1] = id_in(text)
  end
end
local retried = 0
for _, id in ipairs(chosen) do
  local record = redis.call('HGET', payments, id)
  -- Five parts: no attempt stands. More: the sixth names the processor where one is unresolved.
  local pinned = record and string.match(record, '^D;%d+;%d+;%d+%-%d+;%d+;[^;]+;%d+;')
  if pinned or (record and string.match(record, '^D;%d+;%d+;%d+%-%d+;%d+$')) then
    local place = member(entry_of(record), id)
    redis.call('ZREM', dead, place)
    redis.call('HSET', payments, id, (pinned and 'P' or 'Q') .. string.sub(record, 2))
    if pinned then
      redis.call('ZADD', orphans, 0, place)
    else
      redis.call('ZADD', again, 0, place)
      redis.call('HINCRBY', meta, 'waiting', 1)
    end
    retried = retried + 1
  end
end
return retried
