-- Free deliveries that this instance does not know of: the answer that brought them never came.
-- KEYS: dispatchers, queue, payments, again, orphans       ARGV: instance, group, ids
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
for i = 3, #ARGV do
  local id = ARGV[i]
  local record = redis.call('HGET', KEYS[3], id)
  if record then
    local entry, state = entry_of(record), string.sub(record, 1, 1)
    if redis.call('XACK', KEYS[2], ARGV[2], entry) == 1 then
      if state == 'Q' then
        redis.call('ZADD', KEYS[4], 0, member(entry, id))
      elseif state == 'A' or state == 'P' then
        redis.call('ZADD', KEYS[5], 0, member(entry, id))
      end
    end
  end
end
return #ARGV - 2
