-- Let go of payments that are in the ledger, whoever holds them, and remember them for a while.
-- KEYS: queue, payments, again, dead, orphans, failures, meta, known, known-before
-- ARGV: group, how many to remember, then the ids
-- Returns how many were let go.
local queue, payments, again, dead, orphans, failures, meta, known, known_before =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local group, remembered = ARGV[1], tonumber(ARGV[2])
local ids, entries, amounts, waited = {}, {}, {}, 0
for i = 3, #ARGV do
  local id = ARGV[i]
  local record = redis.call('HGET', payments, id)
  if record then
    local state, amount, entry = string.match(record, '^(%a);(%d+);%d+;([%d-]+);')
    ids[#ids + 1] = id
    entries[#entries + 1] = entry
    amounts[#amounts + 1] = id
    amounts[#amounts + 1] = amount
    if state == 'Q' then
      waited = waited + 1
    end
    -- Attempting is held by somebody and nowhere else; the other states may stand in a set.
    if state ~= 'A' then
      local place = member(entry, id)
      redis.call('ZREM', again, place)
      redis.call('ZREM', dead, place)
    end
    redis.call('ZREM', orphans, member(entry, id))
  end
end
if #ids == 0 then
  return 0
end
in_chunks(ids, 500, function(...)
  redis.call('HDEL', payments, ...)
  redis.call('HDEL', failures, ...)
end)
in_chunks(entries, 500, function(...)
  redis.call('XACK', queue, group, ...)
  redis.call('XDEL', queue, ...)
end)
in_chunks(amounts, 1000, function(...)
  redis.call('HSET', known, ...)
end)
if waited > 0 then
  redis.call('HINCRBY', meta, 'waiting', -waited)
end
-- Two generations: memory stays bounded, and at least half of what is to be remembered always is.
if redis.call('HLEN', known) * 2 >= remembered then
  if redis.call('UNLINK', known_before) == 1 then
    redis.call('HSET', meta, 'forgot', '1')
  end
  redis.call('RENAME', known, known_before)
end
return #ids
