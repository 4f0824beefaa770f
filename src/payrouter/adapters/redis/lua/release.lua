-- Give deliveries back unsent. One whose intent may have been written, but was certainly not sent, loses it again.
-- KEYS: dispatchers, queue, payments, again, meta
-- ARGV: instance, group, then per payment its id, its record as claimed, and its record as begun ("" if never tried)
-- Returns how many are back, nil when the instance is fenced (then they are back already).
local dispatchers, queue, payments, again, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local instance, group = ARGV[1], ARGV[2]
if not registered(dispatchers, instance) then
  return nil
end
local released = 0
for i = 3, #ARGV, 3 do
  local id, claimed, begun = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local record = redis.call('HGET', payments, id)
  local unsent = begun ~= '' and record == begun
  if record == claimed or unsent then
    local entry = entry_of(claimed)
    -- A call that is repeated may find it in other hands, which may send what they found begun.
    if holds(queue, group, instance, entry) then
      if unsent then
        redis.call('HSET', payments, id, claimed)
        redis.call('HINCRBY', meta, 'waiting', 1)
      end
      redis.call('XACK', queue, group, entry)
      redis.call('ZADD', again, 0, member(entry, id))
      released = released + 1
    end
  end
end
return released
