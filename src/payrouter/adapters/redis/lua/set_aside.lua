-- Put aside payments of this instance whose records turned out to be spoilt.
-- KEYS: dispatchers, queue, payments, poison, meta
-- ARGV: instance, group, 1 when they count as waiting, then id and record of each
if not registered(KEYS[1], ARGV[1]) then
  return nil
end
for i = 4, #ARGV, 2 do
  local id, record = ARGV[i], ARGV[i + 1]
  local entry = entry_of(record)
  if redis.call('HGET', KEYS[3], id) == record and holds(KEYS[2], ARGV[2], ARGV[1], entry) then
    set_aside(KEYS[2], ARGV[2], KEYS[4], KEYS[5], entry, id, record)
    if ARGV[3] == '1' then
      redis.call('HINCRBY', KEYS[5], 'waiting', -1)
    end
  end
end
return 1
