-- Free deliveries that this instance does not know of: the answer that brought them never came.
-- KEYS: dispatchers, queue, payments, again, orphans       ARGV: instance, group, then id and entry of each
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
for i = 3, #ARGV, 2 do
  local id, entry = ARGV[i], ARGV[i + 1]
  if holds(KEYS[2], ARGV[2], ARGV[1], entry) then
    local record = redis.call('HGET', KEYS[3], id)
    if record then
      hand_on(KEYS[4], KEYS[5], record, entry, id)
    end
    redis.call('XACK', KEYS[2], ARGV[2], entry)
  end
end
return 1
